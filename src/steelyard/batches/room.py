"""Room for a fold's slices: in memory, or in a file mapped to it where they would take too much of it."""

from __future__ import annotations

import math
import os
import resource
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

LARGEST_SHARE = 0.5  # of the memory that is left: a fold and its held-out cases, and a network beside them
CGROUP = Path("/sys/fs/cgroup")
STATUS = Path("/proc/self/status")
MEMORY = Path("/proc/meminfo")


def room_for(shape: Sequence[int], dtype: torch.dtype, *, device: torch.device, overflow: Path) -> Tensor:
    """A tensor of that shape whose values are still to be written.

    On the CPU, one that would take more than half of the memory left lies in a file of the folder `overflow`, mapped
    to memory: the system reads and drops its pages as it must. The file has no name and goes when the tensor goes.

    Raises:
        OSError: no room on the disk either.
    """
    size = math.prod(shape) * dtype.itemsize
    if device.type != "cpu" or size <= LARGEST_SHARE * memory_left():
        return torch.empty(*shape, dtype=dtype, device=device)
    overflow.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=overflow, prefix="slices-") as file:
        os.posix_fallocate(file.fileno(), 0, size)  # a full disk is met here, not when a page is written
        return torch.from_file(file.name, shared=True, size=math.prod(shape), dtype=dtype).reshape(*shape)


def memory_left() -> float:
    """Bytes that this process may still take: what is free, and what its limits (cgroup, `ulimit -d`) leave.

    Infinity where the system does not tell.
    """
    return min(_free(), _left_by_cgroup(), _left_by_ulimit())


def _free() -> float:
    return _kilobytes(MEMORY, "MemAvailable:")


def _left_by_cgroup() -> float:
    try:
        most = (CGROUP / "memory.max").read_text().strip()
        return math.inf if most == "max" else int(most) - int((CGROUP / "memory.current").read_text())
    except (OSError, ValueError):
        return math.inf


def _left_by_ulimit() -> float:
    most, _ = resource.getrlimit(resource.RLIMIT_DATA)
    if most == resource.RLIM_INFINITY:
        return math.inf
    taken = _kilobytes(STATUS, "VmData:")
    return math.inf if math.isinf(taken) else most - taken


def _kilobytes(file: Path, field: str) -> float:
    try:
        line = next(line for line in file.read_text().splitlines() if line.startswith(field))
        return int(line.split()[1]) * 1024
    except (OSError, ValueError, StopIteration, IndexError):
        return math.inf

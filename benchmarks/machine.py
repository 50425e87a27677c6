"""What the machine can do at its best, measured here and now: bytes copied and exponentials taken per second."""

from __future__ import annotations

import functools
import platform
import time
from collections.abc import Callable
from pathlib import Path

MIB = 1 << 20
VERSIONS = (
    "steelyard",
    "torch",
    "numpy",
    "scipy",
    "monai",
    "nnunetv2",
    "segmentation-models-pytorch",
    "surface-distance",
    "highdicom",
    "pillow",
    "onnxruntime",
    "torchio",
    "MedPy",
    "batchgeneratorsv2",
)


@functools.cache
def copy_bytes_per_second() -> float:
    """Bytes read plus bytes written per second by torch's copy of an array that no cache holds, best of several."""
    import torch

    source = torch.empty(256 * MIB, dtype=torch.uint8)
    target = torch.empty_like(source)
    return 2 * source.numel() / _best(lambda: target.copy_(source))


@functools.cache
def exponentials_per_second() -> float:
    """float32 exponentials per second by torch's vectorised exp on an array that the cache holds, on all threads.

    Measured on one thread: where something else runs, two wait for each other longer than they work.
    """
    import torch

    numbers, threads = torch.randn(1 << 14), torch.get_num_threads()
    result = torch.empty_like(numbers)
    torch.set_num_threads(1)
    rate = numbers.numel() / _best(lambda: torch.exp(numbers, out=result), repeats=1000)
    torch.set_num_threads(threads)
    return threads * rate


@functools.cache
def operations_per_second(kind: str) -> float:
    """Multiplications and additions per second by torch's matrix product, of `bfloat16`, `float32` or `float64`."""
    import torch

    side = 2048
    left, right = (torch.randn(side, side).to(getattr(torch, kind)) for _ in range(2))
    return 2 * side**3 / _best(lambda: torch.mm(left, right))


@functools.cache
def seconds_to_start_python() -> float:
    """An interpreter that does nothing, without site packages."""
    import subprocess
    import sys

    return _best(lambda: subprocess.run([sys.executable, "-I", "-S", "-c", ""], check=True))


def describe() -> str:
    """Processor, cores, memory, Python and the GPU where there is one, in one line."""
    import os

    import torch

    info = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":", 1)[1].strip() for line in info if line.startswith("model name")), platform.machine())
    memory = next(int(line.split()[1]) for line in Path("/proc/meminfo").read_text().splitlines() if "MemTotal" in line)
    gpu = f"{torch.cuda.get_device_name()}, " if torch.cuda.is_available() else ""
    threads = os.cpu_count()
    return f"{gpu}{model}, {threads} hardware threads, {memory / MIB:.0f} GiB, Python {platform.python_version()}"


def _best(work: Callable[[], object], *, repeats: int = 9) -> float:
    work()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


def versions() -> dict[str, str]:
    """Of Steelyard, what it computes with, and the peers, where they are installed."""
    from importlib import metadata

    found = {}
    for name in VERSIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found

"""Soft counts by a small C function that the machine's own compiler makes once; without a compiler there is none.

The shared library lies in the user's cache, named by all that it depends on: source, flags and processor. It is tried
on a few pixels before it is trusted.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from steelyard.runstore import write_atomically

SOURCE = Path(__file__).with_name("soft_counts.c")
BLOCK = 512  # as in the source
PIECE = 1 << 16  # pixels that one thread takes at a time: enough to be worth it, and sums do not depend on the threads
COMPILERS = ("cc", "gcc", "clang")
STRICT = ("-O3", "-fPIC", "-shared", "-fno-math-errno", "-fno-trapping-math", "-fassociative-math", "-fno-signed-zeros")
OF_THIS_PROCESSOR = ("-march=native", "-mprefer-vector-width=512")
TARGETS = (torch.int64, torch.int32, torch.uint8)
COMPILE_SECONDS = 60.0


def is_native(logits: Tensor, target: Tensor) -> bool:
    """Whether `count` and `gradient` take these: float32 on the CPU, laid out by class or by pixel, and a compiler."""
    return (
        logits.device.type == target.device.type == "cpu"
        and logits.dtype == torch.float32
        and target.dtype in TARGETS
        and target.is_contiguous()
        and logits.numel() > 0
        and _steps(logits) is not None
        and _library() is not None
    )


def count(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """TP, Σ p and reference pixels, each (batch, class) float64; see `is_native` for what is taken."""
    library = _library()
    assert library is not None
    batch, classes = logits.shape[:2]
    pieces = list(_pieces(logits))
    counted = torch.empty(len(pieces), 3, classes, dtype=torch.float64)

    def one(index: int) -> None:
        scratch = torch.empty(classes * BLOCK)
        library.soft_counts(
            *_where(logits, target, *pieces[index]), scratch.data_ptr(), counted[index].data_ptr()
        )  # fmt: skip

    _in_threads(one, len(pieces))
    tp, prediction, reference = counted.reshape(batch, -1, 3, classes).sum(1).unbind(1)
    return tp, prediction, reference


def gradient(logits: Tensor, target: Tensor, by_tp: Tensor, by_prediction: Tensor) -> Tensor:
    """The logits' gradient, from those of TP and Σ p, each (batch, class)."""
    library = _library()
    assert library is not None
    pieces = list(_pieces(logits))
    result = torch.empty_like(logits)  # keeps the layout
    by_tp, by_prediction = by_tp.contiguous(), by_prediction.contiguous()

    def one(index: int) -> None:
        sample = pieces[index][0]
        scratch = torch.empty(logits.shape[1] * BLOCK)
        library.soft_counts_gradient(
            *_where(logits, target, *pieces[index]),
            scratch.data_ptr(),
            by_tp[sample].data_ptr(),
            by_prediction[sample].data_ptr(),
            result[sample].data_ptr(),
        )

    _in_threads(one, len(pieces))
    return result


def _steps(logits: Tensor) -> tuple[int, int] | None:
    """How far the next class and the next pixel lie, in numbers; None for any other layout."""
    classes, pixels = logits.shape[1], logits[0, 0].numel()
    if logits.is_contiguous():
        return pixels, 1
    last = logits.movedim(1, -1)
    return (1, classes) if last.is_contiguous() else None


def _pieces(logits: Tensor) -> Iterator[tuple[int, int, int]]:
    """(sample, first pixel, last pixel + 1), as many for every sample."""
    pixels = logits[0, 0].numel()
    for sample in range(len(logits)):
        for start in range(0, pixels, PIECE):
            yield sample, start, min(start + PIECE, pixels)


def _where(logits: Tensor, target: Tensor, sample: int, start: int, stop: int) -> tuple[int, ...]:
    steps = _steps(logits)
    assert steps is not None
    return (
        logits[sample].data_ptr(),
        target[sample].data_ptr(),
        target.element_size(),
        logits.shape[1],
        *steps,
        start,
        stop,
    )


def _in_threads(one: Callable[[int], None], number: int) -> None:
    threads = min(torch.get_num_threads(), number)
    if threads < 2:
        for index in range(number):
            one(index)
    else:
        list(_threads(threads, os.getpid()).map(one, range(number)))


@functools.lru_cache(maxsize=4)
def _threads(count: int, process: int) -> ThreadPoolExecutor:
    """Kept, since starting threads takes longer than counting; a forked process has none of its parent's."""
    return ThreadPoolExecutor(count, thread_name_prefix=f"soft counts {process}")


@functools.cache
def _library() -> ctypes.CDLL | None:
    """The compiled functions; None where they cannot be made, or do not count as they should."""
    compiler = next((found for name in COMPILERS if (found := shutil.which(name))), None)
    if compiler is None:
        return None
    for flags in ((*STRICT, *OF_THIS_PROCESSOR), STRICT):
        try:
            library = _declared(ctypes.CDLL(str(_compiled(compiler, flags))))
        except (OSError, RuntimeError, subprocess.SubprocessError, AttributeError):  # RuntimeError: no home folder
            continue
        if _counts_right(library):
            return library
    return None


def _compiled(compiler: str, flags: tuple[str, ...]) -> Path:
    described = "\n".join([SOURCE.read_text(encoding="utf-8"), compiler, *flags, _processor()])
    path = _cache_folder() / f"soft-counts-{hashlib.sha256(described.encode()).hexdigest()[:16]}.so"
    if not path.exists():

        def compile_to(temporary: Path) -> None:
            subprocess.run(
                [compiler, *flags, str(SOURCE), "-o", str(temporary)],
                check=True,
                capture_output=True,
                timeout=COMPILE_SECONDS,
            )

        write_atomically(path, compile_to)
    return path


def _processor() -> str:
    """What code for this very processor depends on: a home folder may be shared by machines of several kinds."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    told = [line for line in lines if line.startswith(("flags", "Features", "model name"))]
    return "\n".join([platform.machine(), platform.processor(), *sorted(set(told))])


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "steelyard"


def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    address: Any = ctypes.c_void_p
    number: Any = ctypes.c_int64
    place = [address, address, number, number, number, number, number, number, address]
    library.soft_counts.argtypes = [*place, address]
    library.soft_counts_gradient.argtypes = [*place, address, address, address]
    library.soft_counts.restype = library.soft_counts_gradient.restype = None
    return library


def _counts_right(library: ctypes.CDLL) -> bool:
    """Three pixels whose class 0 has 1/2, 1/5 and 3/4: a compiler that breaks arithmetic is not used."""
    logits = torch.tensor([[1.0, 1.0, 3.0], [1.0, 4.0, 1.0]]).log()
    target = torch.tensor([0, 1, 1])
    scratch, counted = torch.empty(2 * BLOCK), torch.empty(3, 2, dtype=torch.float64)
    library.soft_counts(logits.data_ptr(), target.data_ptr(), 8, 2, 3, 1, 0, 3, scratch.data_ptr(), counted.data_ptr())
    by_hand = [[0.5, 0.8 + 0.25], [0.5 + 0.2 + 0.75, 0.5 + 0.8 + 0.25], [1.0, 2.0]]
    return torch.allclose(counted, torch.tensor(by_hand, dtype=torch.float64), rtol=1e-6)

"""Soft counts and cross-entropy in C that the machine's own compiler makes once; without a compiler there is none."""

from __future__ import annotations

import ctypes
import functools
import math
from pathlib import Path

import torch
from torch import Tensor

from steelyard.compiled import compiled

SOURCE = Path(__file__).with_name("soft_counts.c")
TARGETS = (torch.int64, torch.int32, torch.uint8)


def takes(logits: Tensor, target: Tensor) -> bool:
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


def room(logits: Tensor) -> tuple[Tensor, ...]:
    """For the probabilities that `count` keeps for `gradient`, where computing them again would take longer."""
    library = _library()
    assert library is not None
    return (torch.empty_like(logits),) if library.soft_counts_keeps() and logits.is_contiguous() else ()


def count(logits: Tensor, target: Tensor, kept: Tensor | None = None) -> Tensor:
    """TP, Σ p and reference pixels: (3, batch, part, class) float64; see `takes` for what is taken."""
    return _counted(logits, target, charges=False, kept=kept)


def charge(logits: Tensor, target: Tensor) -> Tensor:
    """Σ −log p of their own class over each class's pixels, and their number: (2, batch, part, class) float64."""
    return _counted(logits, target, charges=True)[::2]


def gradient(
    logits: Tensor, target: Tensor, by_tp: Tensor, by_prediction: Tensor, kept: Tensor | None = None
) -> Tensor:
    """The logits' gradient, from those of TP and Σ p, each (batch, class); it takes the place of what was kept."""
    return _gradient(logits, target, by_tp.float().contiguous(), by_prediction.float().contiguous(), kept)


def charge_gradient(logits: Tensor, target: Tensor, by_charge: Tensor) -> Tensor:
    """The logits' gradient, from that of the charges, (batch, class)."""
    return _gradient(logits, target, by_charge.contiguous(), None)


def _counted(logits: Tensor, target: Tensor, *, charges: bool, kept: Tensor | None = None) -> Tensor:
    library = _library()
    assert library is not None
    batch, classes = logits.shape[:2]
    given, threads = _input(logits, target), torch.get_num_threads()
    counted = torch.empty(batch, library.soft_counts_pieces(given) // batch, 3, classes, dtype=torch.float64)
    scratch = _scratch(library, given, threads)
    library.soft_counts(given, charges, threads, scratch.data_ptr(), counted.data_ptr(), _address(kept))
    return counted.movedim(2, 0)


def _gradient(
    logits: Tensor, target: Tensor, by_tp: Tensor, by_prediction: Tensor | None, kept: Tensor | None = None
) -> Tensor:
    library = _library()
    assert library is not None
    given, threads = _input(logits if kept is None else kept, target), torch.get_num_threads()
    result = torch.empty_like(logits) if kept is None else kept  # either has the layout of the logits
    scratch = _scratch(library, given, threads)
    library.soft_counts_gradient(
        given,
        kept is not None,
        threads,
        scratch.data_ptr(),
        by_tp.data_ptr(),
        _address(by_prediction),
        result.data_ptr(),
    )
    return result


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


class _Input(ctypes.Structure):
    """As in the source."""

    _fields_ = (
        ("logits", ctypes.c_void_p),
        ("target", ctypes.c_void_p),
        ("target_bytes", ctypes.c_int64),
        ("classes", ctypes.c_int64),
        ("class_step", ctypes.c_int64),
        ("pixel_step", ctypes.c_int64),
        ("samples", ctypes.c_int64),
        ("pixels", ctypes.c_int64),
    )


def _input(logits: Tensor, target: Tensor) -> _Input:
    steps = _steps(logits)
    assert steps is not None
    return _Input(
        logits.data_ptr(), target.data_ptr(), target.element_size(), logits.shape[1], *steps, *target.flatten(1).shape
    )


def _scratch(library: ctypes.CDLL, given: _Input, threads: int) -> Tensor:
    """What the threads write their exponentials to; torch's memory begins at multiples of 64 bytes."""
    return torch.empty(threads * library.soft_counts_scratch(given))


def _steps(logits: Tensor) -> tuple[int, int] | None:
    """How far the next class and the next pixel lie, in numbers; None for any other layout."""
    classes, pixels = logits.shape[1], logits[0, 0].numel()
    if logits.is_contiguous():
        return pixels, 1
    last = logits.movedim(1, -1)
    return (1, classes) if last.is_contiguous() else None


@functools.cache
def _library() -> ctypes.CDLL | None:
    """The compiled functions; None where they cannot be made, or do not count as they should."""
    return compiled(SOURCE, declare=_declare, is_right=_counts_right)


def _declare(library: ctypes.CDLL) -> None:
    given, address = ctypes.POINTER(_Input), ctypes.c_void_p
    library.soft_counts_pieces.argtypes = library.soft_counts_scratch.argtypes = [given]
    library.soft_counts_pieces.restype = library.soft_counts_scratch.restype = ctypes.c_int64
    library.soft_counts_keeps.restype = ctypes.c_int
    library.soft_counts.argtypes = [given, ctypes.c_int, ctypes.c_int, address, address, address]
    library.soft_counts_gradient.argtypes = [given, ctypes.c_int, ctypes.c_int, address, address, address, address]
    library.soft_counts.restype = library.soft_counts_gradient.restype = None


def _counts_right(library: ctypes.CDLL) -> bool:
    """Three pixels whose class 0 has 1/2, 1/5 and 3/4: a compiler that breaks arithmetic is not used."""
    logits = torch.tensor([[1.0, 1.0, 3.0], [1.0, 4.0, 1.0]]).log()
    target = torch.tensor([0, 1, 1])
    given = _input(logits[None], target[None])
    scratch, counted = _scratch(library, given, 1), torch.empty(2, 3, 2, dtype=torch.float64)
    for charges in (False, True):
        library.soft_counts(given, charges, 1, scratch.data_ptr(), counted[int(charges)].data_ptr(), None)
    by_hand = [[0.5, 0.8 + 0.25], [0.5 + 0.2 + 0.75, 0.5 + 0.8 + 0.25], [1.0, 2.0]]
    charged = [[math.log(2), math.log(1 / 0.8 / 0.25)], [0.0, 0.0], [1.0, 2.0]]
    return torch.allclose(counted, torch.tensor([by_hand, charged], dtype=torch.float64), rtol=1e-6)

"""The gradient of a convolution's kernel in C, where torch's library takes two or three times as long for it.

That is in float32 on a processor with AVX2 and no longer vectors. With AVX-512 it has not been measured.
"""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

import torch
from torch import Tensor

from steelyard.compiled import compiled

SOURCE = Path(__file__).with_name("kernel_gradient.c")
TOGETHER = 16  # channels of the maps, of which whole groups are needed


def kernel_gradient(maps: Tensor, seen: Tensor, *, kernel: int, stride: int, padding: int, dilation: int) -> Tensor:
    """(width, channel, kernel, kernel): what F.conv2d gives its weight back. Only where `takes(maps)`.

    Args:
        maps: (batch, channel, row, column), what was convolved.
        seen: (batch, width, row, column), what came back to the maps that the convolution gave.
    """
    library = _library()
    assert library is not None
    return _by(library, maps, seen, (kernel, stride, padding, dilation))


def takes(maps: Tensor) -> bool:
    """Channels side by side, in whole groups, in float32."""
    return (
        maps.device.type == "cpu"
        and maps.dtype == torch.float32
        and maps.shape[1] % TOGETHER == 0
        and maps.movedim(1, -1).is_contiguous()
        and torch.backends.cpu.get_cpu_capability() == "AVX2"
        and _library() is not None
    )


class _Convolution(ctypes.Structure):
    """As in the source."""

    _fields_ = tuple(
        (name, ctypes.c_int64)
        for name in (
            *("images", "height", "width", "channels"),
            *("out_height", "out_width", "out_channels"),
            *("kernel", "stride", "padding", "dilation"),
        )
    )


def _by(library: ctypes.CDLL, maps: Tensor, seen: Tensor, how: tuple[int, int, int, int]) -> Tensor:
    seen = seen.contiguous(memory_format=torch.channels_last)
    images, channels, height, width = maps.shape
    given = _Convolution(images, height, width, channels, *seen.shape[2:], seen.shape[1], *how)
    threads = torch.get_num_threads()
    gradient = torch.empty(seen.shape[1], how[0], how[0], channels)
    scratch = torch.empty(library.kernel_gradient_scratch(given, threads))
    library.kernel_gradient(given, threads, *(array.data_ptr() for array in (scratch, maps, seen, gradient)))
    return gradient.permute(0, 3, 1, 2)


@functools.cache
def _library() -> ctypes.CDLL | None:
    """The compiled function; None where it cannot be made, or is wrong."""
    return compiled(SOURCE, declare=_declare, is_right=_is_right)


def _declare(library: ctypes.CDLL) -> None:
    given, address = ctypes.POINTER(_Convolution), ctypes.c_void_p
    library.kernel_gradient_scratch.argtypes = [given, ctypes.c_int]
    library.kernel_gradient_scratch.restype = ctypes.c_int64
    library.kernel_gradient.argtypes = [given, ctypes.c_int, *[address] * 4]
    library.kernel_gradient.restype = None


def _is_right(library: ctypes.CDLL) -> bool:
    """One row of three pixels, worked by hand: a compiler that breaks arithmetic is not used."""
    maps, seen = torch.zeros(1, TOGETHER, 1, 3), torch.tensor([1.0, 10.0, 100.0]).view(1, 1, 1, 3)
    maps[0, 1, 0] = torch.tensor([2.0, 3.0, 5.0])
    maps = maps.contiguous(memory_format=torch.channels_last)
    found = _by(library, maps, seen, (3, 1, 1, 1))
    by_hand = torch.zeros_like(found)
    by_hand[0, 1, 1] = torch.tensor([10.0 * 2 + 100 * 3, 2 + 10 * 3 + 100 * 5, 3 + 10 * 5])
    return torch.equal(found, by_hand)

"""Convolutions by kernels of 3×3 with a quarter of the multiplications, in C: faster than torch's library.

That is in float32 on a processor with AVX2 and no longer vectors. With AVX-512 it has not been measured.
"""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

import torch
from torch import Tensor

from steelyard.compiled import compiled

SOURCE = Path(__file__).with_name("winograd.c")
LANES, OUT = 8, 16  # channels that go in and that come out, of which whole groups are needed
FEW = 32  # channels: with fewer, what a tile costs beside its products is most of it
SIDE = 4  # pixels of a tile in a row
FULL = 1 / 2  # of the pixels of all tiles are the maps', at least; else torch's library multiplies nearly as little
MANY = 64  # tiles at least, to make up for the kernel's numbers, which are written anew for each call


def convolve(
    maps: Tensor, weight: Tensor, *, dilation: int, scale: Tensor | None, shift: Tensor | None, relu: bool
) -> Tensor:
    """F.conv2d(maps, weight, padding=dilation, dilation=dilation) · `scale` + `shift`, each of which has a number per
    channel, and ReLU if wanted. Only where `takes` says so.

    The sum is rounded otherwise: by about 1e-5 of the largest number, where torch's library is right to 3e-6.
    """
    library = _library()
    assert library is not None
    scale = torch.ones(len(weight)) if scale is None else scale
    shift = torch.zeros(len(weight)) if shift is None else shift
    return _by(library, maps, weight, dilation, scale.contiguous(), shift.contiguous(), relu)


def takes(
    maps: Tensor, weight: Tensor, stride: tuple[int, ...], padding: tuple[int, ...] | str, dilation: tuple[int, ...]
) -> bool:
    """Where autograd is not to see it, for channels side by side, in whole groups, in float32."""
    return (
        not torch.compiler.is_compiling()
        and not torch.is_grad_enabled()
        and maps.device.type == "cpu"
        and maps.dtype == weight.dtype == torch.float32
        and maps.ndim == 4
        and weight.shape[1:] == (maps.shape[1], 3, 3)
        and tuple(stride) == (1, 1)
        and padding == dilation == (dilation[0], dilation[0])
        and maps.shape[1] % LANES == 0
        and maps.shape[1] >= FEW
        and weight.shape[0] % OUT == 0
        and maps.movedim(1, -1).is_contiguous()
        and _is_worth_it(maps, dilation[0])
        and torch.backends.cpu.get_cpu_capability() == "AVX2"
        and not torch.is_autocast_enabled("cpu")  # which would make them shorter
        and _library() is not None
    )


def _is_worth_it(maps: Tensor, dilation: int) -> bool:
    """A dilated kernel has a grid of its own, and tiles, for each row and column that it starts from."""
    images, _, height, width = maps.shape
    down, across = (-(-size // (dilation * SIDE)) * dilation for size in (height, width))
    tiles = images * down * across
    return tiles >= MANY and images * height * width >= FULL * tiles * SIDE**2


class _Convolution(ctypes.Structure):
    """As in the source."""

    _fields_ = tuple(
        (name, ctypes.c_int64) for name in ("images", "height", "width", "channels", "out_channels", "dilation", "relu")
    )


_Strides = ctypes.c_int64 * 4  # of channels that come out and that go in, of rows and of columns


def _by(
    library: ctypes.CDLL, maps: Tensor, weight: Tensor, dilation: int, scale: Tensor, shift: Tensor, relu: bool
) -> Tensor:
    images, channels, height, width = maps.shape
    given = _Convolution(images, height, width, channels, len(weight), dilation, relu)
    threads = torch.get_num_threads()
    kernel = torch.empty(library.winograd_kernel_size(given))
    library.winograd_kernel(given, threads, _Strides(*weight.stride()), weight.data_ptr(), kernel.data_ptr())
    convolved = torch.empty(images, len(weight), height, width, memory_format=torch.channels_last)
    scratch = torch.empty(library.winograd_scratch(given, threads))
    arrays = (scratch, maps, kernel, scale, shift, convolved)
    library.winograd(given, threads, *(array.data_ptr() for array in arrays))
    return convolved  # no view, so that autograd lets it be added to


@functools.cache
def _library() -> ctypes.CDLL | None:
    """The compiled functions; None where they cannot be made, or are wrong."""
    return compiled(SOURCE, declare=_declare, is_right=_is_right)


def _declare(library: ctypes.CDLL) -> None:
    given, address = ctypes.POINTER(_Convolution), ctypes.c_void_p
    for size in (library.winograd_kernel_size, library.winograd_scratch):
        size.restype = ctypes.c_int64
    library.winograd_kernel_size.argtypes = [given]
    library.winograd_scratch.argtypes = [given, ctypes.c_int]
    library.winograd_kernel.argtypes = [given, ctypes.c_int, _Strides, address, address]
    library.winograd.argtypes = [given, ctypes.c_int, *[address] * 6]
    library.winograd_kernel.restype = library.winograd.restype = None


def _is_right(library: ctypes.CDLL) -> bool:
    """A row of five pixels, worked by hand: a compiler that breaks arithmetic is not used."""
    maps, weight = torch.zeros(1, 1, 5, LANES), torch.zeros(OUT, LANES, 3, 3)
    maps[0, 0, :, 1] = torch.tensor([7.0, 5.0, 3.0, 2.0, 1.0])
    weight[9, 1] = torch.tensor([[100.0, 100.0, 100.0], [1.0, 10.0, 100.0], [100.0, 100.0, 100.0]])
    scale, shift = torch.full((OUT,), 2.0), torch.full((OUT,), -100.0)
    found = _by(library, maps.permute(0, 3, 1, 2), weight, 1, scale, shift, True)
    by_hand = torch.zeros_like(found)
    summed = [70 + 500, 7 + 50 + 300, 5 + 30 + 200, 3 + 20 + 100, 2 + 10]
    by_hand[0, 9, 0] = torch.tensor([max(0.0, 2.0 * number - 100) for number in summed])
    return torch.allclose(found, by_hand, rtol=1e-4)

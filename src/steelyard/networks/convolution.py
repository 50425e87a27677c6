"""Convolutions and their gradients in less time than torch's library takes on a processor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

from steelyard.networks import winograd
from steelyard.networks.autocast import as_autocast
from steelyard.networks.kernel_gradient import kernel_gradient, takes

SMALL = 100  # pixels of a map that comes out; from 16 × 16 on a matrix product gains nothing


class Convolution3x3(nn.Conv2d):
    """nn.Conv2d(channels, width, 3, stride=…, padding=dilation, dilation=…, bias=…), and its numbers."""

    def __init__(self, channels: int, width: int, *, stride: int = 1, dilation: int = 1, bias: bool = False) -> None:
        super().__init__(channels, width, 3, stride=stride, padding=dilation, dilation=dilation, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        return conv2d(input, self.weight, self.bias, self.stride, self.padding, self.dilation)


def conv2d(
    maps: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: tuple[int, ...] = (1, 1),
    padding: tuple[int, ...] | str = (0, 0),
    dilation: tuple[int, ...] = (1, 1),
) -> Tensor:
    """F.conv2d, and its numbers.

    torch's library may take two or three times as long for the gradient of the kernel as for the convolution. There it
    is a C function's (`kernel_gradient`) or, of maps as small as at the end of an encoder, one matrix product. The
    convolution itself and the gradient of the maps may be a C function's that multiplies less (`winograd`).
    """
    if _trains(maps, weight) and not isinstance(padding, str):
        how = _How(stride, padding, dilation)
        by_weight = _by_weight(maps, weight, how)
        if by_weight is not None:
            added = None if bias is None else as_autocast(bias)[0]
            convolved: Tensor = _Convolution.apply(*as_autocast(maps, weight), added, how, by_weight)
            return convolved
    return _convolved(maps, weight, bias, stride, padding, dilation)


def _convolved(
    maps: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: tuple[int, ...],
    padding: tuple[int, ...] | str,
    dilation: tuple[int, ...],
) -> Tensor:
    if winograd.takes(maps, weight, stride, padding, dilation):
        return winograd.convolve(maps, weight, dilation=dilation[0], scale=None, shift=bias, relu=False)
    return F.conv2d(maps, weight, bias, stride, padding, dilation)


class _How(NamedTuple):
    """By rows and columns."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]


ByWeight = Callable[[Tensor, Tensor, int, _How], Tensor]  # of maps, what came back, the kernel's size, and how


def _trains(maps: Tensor, weight: Tensor) -> bool:
    return (
        torch.is_grad_enabled()
        and weight.requires_grad
        and maps.device.type == "cpu"
        and maps.ndim == 4
        and maps.shape[1] == weight.shape[1]
        and not torch.compiler.is_compiling()
    )


def _by_weight(maps: Tensor, weight: Tensor, how: _How) -> ByWeight | None:
    """How to find the gradient of the kernel; None where torch's library is at least as fast, or alone can."""
    kernel, (stride, padding, dilation) = weight.shape[2:], how
    if any(rows != columns for rows, columns in (kernel, *how)):
        return None
    if kernel[0] > 1 and takes(maps) and not torch.is_autocast_enabled("cpu"):  # which would make them shorter
        return _in_c
    is_small = maps.shape[2] * maps.shape[3] <= SMALL * stride[0] ** 2
    return _by_product if is_small and kernel[0] == 3 and padding == dilation == (1, 1) else None


def _in_c(maps: Tensor, seen: Tensor, kernel: int, how: _How) -> Tensor:
    stride, padding, dilation = (rows for rows, _ in how)
    return kernel_gradient(maps, seen, kernel=kernel, stride=stride, padding=padding, dilation=dilation)


def _by_product(maps: Tensor, seen: Tensor, kernel: int, how: _How) -> Tensor:
    columns = _columns(maps, how.stride[0], seen.shape[2:]).flatten(0, 2)
    product = seen.permute(0, 2, 3, 1).flatten(0, 2).T @ columns
    return product.view(seen.shape[1], kernel, kernel, -1).permute(0, 3, 1, 2)


def _columns(maps: Tensor, stride: int, size: torch.Size) -> Tensor:
    """(batch, row, column, 9 · channel): what each place of the kernel sees for each pixel that comes out."""
    padded = F.pad(maps.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
    height, width = ((n - 1) * stride + 1 for n in size)
    places = [(row, column) for row in range(3) for column in range(3)]
    return torch.cat([padded[:, r : r + height : stride, c : c + width : stride] for r, c in places], dim=-1)


class _Convolution(Function):
    @staticmethod
    def forward(
        context: Any, maps: Tensor, weight: Tensor, bias: Tensor | None, how: _How, by_weight: ByWeight
    ) -> Tensor:
        context.save_for_backward(maps, weight)
        context.how, context.by_weight = how, by_weight
        return _convolved(maps, weight, bias, *how)

    @staticmethod
    def backward(context: Any, seen: Tensor) -> tuple[Tensor | None, ...]:
        maps, weight = context.saved_tensors
        of_maps, of_weight, of_bias, *_ = context.needs_input_grad
        if torch.is_grad_enabled():  # a second derivative is wanted: torch must see every step
            by_maps, by_weight = _by_torch(maps, weight, seen, context.how, (of_maps, of_weight))
        else:
            by_maps = _by_maps(maps, weight, seen, context.how) if of_maps else None
            by_weight = context.by_weight(maps, seen, weight.shape[2], context.how) if of_weight else None
        return by_maps, by_weight, seen.sum((0, 2, 3)) if of_bias else None, None, None


def _by_maps(maps: Tensor, weight: Tensor, seen: Tensor, how: _How) -> Tensor | None:
    """The gradient of the maps: without a stride it is a convolution too, by the kernels turned round."""
    turned = weight.transpose(0, 1)
    if winograd.takes(seen, turned, *how):
        return _convolved(seen, turned.flip(2, 3), None, *how)
    return _by_torch(maps, weight, seen, how, (True, False))[0]


def _by_torch(
    maps: Tensor, weight: Tensor, seen: Tensor, how: _How, asked: tuple[bool, bool]
) -> tuple[Tensor | None, Tensor | None]:
    """The gradients of maps and kernel, where asked for."""
    by_maps, by_weight, _ = torch.ops.aten.convolution_backward(
        seen, maps, weight, None, *how, False, (0, 0), 1, (*asked, False)
    )
    return by_maps, by_weight

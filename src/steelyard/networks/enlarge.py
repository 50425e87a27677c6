"""Larger maps in less time than torch's own layers take on a processor, mostly by matrix products: the same numbers."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

from steelyard.networks.autocast import as_autocast
from steelyard.networks.kernel_gradient import kernel_gradient, takes

FEW = 64  # channels: to put so few into their places takes longer than torch's convolution


class Doubling(nn.ConvTranspose2d):
    """A transposed convolution of 2×2 with stride 2: each pixel becomes four, of `width` channels.

    Nothing overlaps, so it is one matrix product, whose results are put into their places. Where channels are few, a
    processor is faster by torch's convolution and its gradients of maps and weights; that of the bias, for which torch
    takes longer than for the others, is a sum.
    """

    bias: Tensor

    def __init__(self, channels: int, width: int) -> None:
        super().__init__(channels, width, 2, stride=2)

    def forward(self, maps: Tensor) -> Tensor:  # type: ignore[override]
        """(batch, channel, row, column) to (batch, width, 2 row, 2 column)."""
        if self.out_channels <= FEW and maps.device.type == "cpu" and not torch.compiler.is_compiling():
            return _Doubling.apply(*as_autocast(maps, self.weight, self.bias))
        batch, _, height, width = maps.shape
        kernel = self.weight.permute(2, 3, 1, 0).flatten(0, 2)
        four = F.linear(maps.permute(0, 2, 3, 1), kernel, self.bias.repeat(4)).view(batch, height, width, 2, 2, -1)
        return four.transpose(2, 3).reshape(batch, 2 * height, 2 * width, -1).permute(0, 3, 1, 2)


class _Doubling(Function):
    @staticmethod
    def forward(context: Any, maps: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        context.save_for_backward(maps, weight)
        return F.conv_transpose2d(maps, weight, bias, stride=2)

    @staticmethod
    def backward(context: Any, seen: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor]:
        maps, weight = context.saved_tensors
        of_maps, of_weight, _ = context.needs_input_grad
        own = of_weight and takes(seen) and not torch.is_grad_enabled()  # a second derivative is torch's
        asked = (of_maps, of_weight and not own, False)
        by_maps, by_weight, _ = torch.ops.aten.convolution_backward(
            seen, maps, weight, None, (2, 2), (0, 0), (1, 1), True, (0, 0), 1, asked
        )
        if own:  # what a convolution is to its maps, this is to what comes back: the two change places
            by_weight = kernel_gradient(seen, maps, kernel=2, stride=2, padding=0, dilation=1)
        return by_maps, by_weight, seen.sum((0, 2, 3))


def interpolate(maps: Tensor, *, factor: int) -> Tensor:
    """Bilinear interpolation to `factor` times the size, as F.interpolate with `align_corners=False`."""
    rows, columns = (_interpolation(size, factor, maps) for size in maps.shape[2:])
    return rows @ (maps.contiguous() @ columns.T)


def convolve_interpolated(maps: Tensor, weight: Tensor, *, factor: int, added: Tensor) -> Tensor:
    """`added` + the 3×3 convolution of `interpolate(maps)`, padded by one zero, without making that large map.

    Each place of the kernel is applied to the small map, as one matrix product for all nine; to interpolate its result
    and to shift it by a pixel is one more linear map of rows, and one of columns. This takes factor² times fewer
    multiplications by weights, and the same sum in another order.

    Args:
        maps: (batch, channel, row, column), small.
        weight: (width, channel, 3, 3).
        added: (batch, width, factor · row, factor · column), such as the convolution of other channels.
    """
    batch, channels, height, width = maps.shape
    rows, columns = (_shifted(_interpolation(size, factor, maps)) for size in (height, width))
    places = maps.permute(0, 2, 3, 1) @ weight.permute(1, 2, 3, 0).reshape(channels, -1)
    places = places.view(batch, height, width, 3, -1).permute(0, 3, 1, 2, 4).reshape(batch, 3 * height, -1)
    tall = torch.bmm(rows.expand(batch, -1, -1), places).view(batch * factor * height, width, 3, -1)
    tall = tall.transpose(1, 2).reshape(batch * factor * height, 3 * width, -1)
    other = added.permute(0, 2, 3, 1)
    wide = torch.baddbmm(other.flatten(0, 1), columns.expand(batch * factor * height, -1, -1), tall)
    return wide.view_as(other).permute(0, 3, 1, 2)


def _interpolation(size: int, factor: int, like: Tensor) -> Tensor:
    """(factor · size, size): how much each small pixel counts in each large one. torch itself is asked."""
    each = torch.eye(size, dtype=like.dtype, device=like.device)
    return F.interpolate(each[None], scale_factor=factor, mode="linear")[0].T


def _shifted(weights: Tensor) -> Tensor:
    """(large, 3 · small): what the pixel before, the pixel itself and the one after it take; nothing lies outside."""
    padded = F.pad(weights, (0, 0, 1, 1))
    return torch.cat([padded[place : place + len(weights)] for place in range(3)], dim=1)

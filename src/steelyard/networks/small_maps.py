"""3×3 convolutions of small maps, whose weights get their gradient from one matrix product."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn.grad import conv2d_input

from steelyard.networks.autocast import as_autocast

SMALL = 100  # pixels of a map that comes out; from 16 × 16 on nothing is gained


class Convolution3x3(nn.Conv2d):
    """nn.Conv2d(channels, width, 3, stride=…, padding=dilation, dilation=…, bias=False), and its numbers.

    On a processor, what torch's library does for the gradient of the weights takes three times as long as the
    convolution where maps are as small as at the end of an encoder. There it is a matrix product here.
    """

    def __init__(self, channels: int, width: int, *, stride: int = 1, dilation: int = 1) -> None:
        super().__init__(channels, width, 3, stride=stride, padding=dilation, dilation=dilation, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        if not self._takes(input):
            return super().forward(input)
        return _Convolution.apply(*as_autocast(input, self.weight), self.stride[0])

    def _takes(self, maps: Tensor) -> bool:
        return (
            self.training
            and maps.device.type == "cpu"
            and self.dilation == (1, 1)
            and maps.shape[2] * maps.shape[3] <= SMALL * self.stride[0] ** 2
            and not torch.compiler.is_compiling()
        )


class _Convolution(Function):
    @staticmethod
    def forward(context: Any, maps: Tensor, weight: Tensor, stride: int) -> Tensor:
        context.save_for_backward(maps, weight)
        context.stride = stride
        return F.conv2d(maps, weight, stride=stride, padding=1)

    @staticmethod
    def backward(context: Any, seen: Tensor) -> tuple[Tensor, Tensor, None]:
        maps, weight = context.saved_tensors
        by_maps = conv2d_input(maps.shape, weight, seen, stride=context.stride, padding=1)
        columns = _columns(maps, context.stride, seen.shape[2:]).flatten(0, 2)
        by_weight = seen.permute(0, 2, 3, 1).flatten(0, 2).T @ columns
        return by_maps, by_weight.view(len(weight), 3, 3, -1).permute(0, 3, 1, 2), None


def _columns(maps: Tensor, stride: int, size: torch.Size) -> Tensor:
    """(batch, row, column, 9 · channel): what each place of the kernel sees for each pixel that comes out."""
    padded = F.pad(maps.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
    height, width = ((n - 1) * stride + 1 for n in size)
    places = [(row, column) for row in range(3) for column in range(3)]
    return torch.cat([padded[:, r : r + height : stride, c : c + width : stride] for r, c in places], dim=-1)

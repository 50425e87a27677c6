"""Atrous spatial pyramid pooling: one place of the image is looked at with several reaches at once."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steelyard.networks.batch_norm import NormalisedConvolutions
from steelyard.networks.convolution import conv2d
from steelyard.networks.initialise import initialise

WIDTH = 256
DILATIONS = (6, 12, 18)  # in cells of 16 px: a reach of 96, 192 and 288 px to each side


class ASPP(nn.Module):
    """A 1×1 convolution and three 3×3 convolutions with `DILATIONS`, joined and projected to `WIDTH` channels.

    With `image_pooling` a fifth branch brings the mean over the whole image. It has a bias instead of batch
    normalisation: one pixel per image is too few to normalise over, and with a batch of one torch refuses to.

    Source: Chen et al., "Rethinking atrous convolution for semantic image segmentation", arXiv:1706.05587, section 3.3.
    """

    def __init__(self, channels: int, *, image_pooling: bool) -> None:
        super().__init__()
        branches = [convolve(channels, WIDTH, kernel=1)]
        branches += [convolve(channels, WIDTH, kernel=3, dilation=dilation) for dilation in DILATIONS]
        self.branches = nn.ModuleList(branches)
        self.pooled = nn.Conv2d(channels, WIDTH, 1) if image_pooling else None
        self.project = convolve((len(branches) + image_pooling) * WIDTH, WIDTH, kernel=1)
        initialise(self)

    def forward(self, maps: Tensor) -> Tensor:
        seen = [branch(maps) for branch in self.branches]
        if self.pooled is not None:
            mean = F.relu(self.pooled(maps.mean(dim=(2, 3), keepdim=True)))
            seen.append(mean.expand(-1, -1, *maps.shape[2:]))
        return self.project(torch.cat(seen, dim=1))


def convolve(channels: int, width: int, *, kernel: int, dilation: int = 1) -> NormalisedConvolutions:
    """A convolution that keeps the size, batch normalisation, ReLU."""
    padding = dilation * (kernel // 2)
    return NormalisedConvolutions(
        _Atrous(channels, width, kernel, padding=padding, dilation=dilation, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
    )


class _Atrous(nn.Conv2d):
    """A convolution that computes only its kernel's middle where all other places lie in the padding."""

    def forward(self, maps: Tensor) -> Tensor:
        middle = self.kernel_size[0] // 2
        if middle and min(self.dilation) >= max(maps.shape[2:]):
            return F.conv2d(maps, self.weight[:, :, middle : middle + 1, middle : middle + 1])
        return conv2d(maps, self.weight, None, self.stride, self.padding, self.dilation)

"""ResNet-18: an encoder whose parameters are named as in torchvision, so that its files load."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from steelyard.networks.batch_norm import convolve_normalised
from steelyard.networks.convolution import Convolution3x3
from steelyard.networks.initialise import initialise
from steelyard.networks.weights import Encoder

WIDTHS = (64, 64, 128, 256, 512)


class ResNet18(Encoder):
    """The convolutions of ResNet-18, without its classifier: 11,176,512 parameters for three channels.

    `output_stride` is the size of the last map's cells in image pixels. At 16 the last stage keeps its resolution, and
    its convolutions but the first look at every second pixel (dilation 2), so that they see as far as before.

    Source: He et al., "Deep residual learning for image recognition", CVPR 2016; dilation: Chen et al., "Rethinking
    atrous convolution for semantic image segmentation", arXiv:1706.05587, section 3.
    """

    imagenet_url = "https://download.pytorch.org/models/resnet18-f37072fd.pth"
    first_convolution = "conv1.weight"

    def __init__(self, channels: int, *, output_stride: Literal[16, 32] = 32) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _stage(64, 64, stride=1)
        self.layer2 = _stage(64, 128, stride=2)
        self.layer3 = _stage(128, 256, stride=2)
        self.layer4 = _stage(256, 512, stride=2) if output_stride == 32 else _stage(256, 512, stride=1, dilation=2)
        initialise(self)

    def forward(self, images: Float[Tensor, "batch channel height width"]) -> tuple[Tensor, ...]:
        """Five maps, finest first, of `WIDTHS` channels and cells of 2, 4, 8, 16 and `output_stride` pixels."""
        stem = convolve_normalised(self.conv1, self.bn1, images, relu=True)
        stage1 = self.layer1(self.maxpool(stem))
        stage2 = self.layer2(stage1)
        stage3 = self.layer3(stage2)
        return stem, stage1, stage2, stage3, self.layer4(stage3)


def _stage(channels: int, width: int, *, stride: int, dilation: int = 1) -> nn.Sequential:
    first = _BasicBlock(channels, width, stride=stride, dilations=(1, dilation))
    return nn.Sequential(first, _BasicBlock(width, width, stride=1, dilations=(dilation, dilation)))


class _BasicBlock(nn.Module):
    def __init__(self, channels: int, width: int, *, stride: int, dilations: tuple[int, int]) -> None:
        super().__init__()
        first, second = dilations
        self.conv1 = Convolution3x3(channels, width, stride=stride, dilation=first)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = Convolution3x3(width, width, dilation=second)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or channels != width:
            projection = nn.Conv2d(channels, width, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(width))

    def forward(self, maps: Tensor) -> Tensor:
        residual = convolve_normalised(self.conv1, self.bn1, maps, relu=True)
        residual = convolve_normalised(self.conv2, self.bn2, residual, relu=False)
        if isinstance(self.downsample, nn.Sequential):
            projection, norm = self.downsample
            maps = convolve_normalised(projection, norm, maps, relu=False)
        return F.relu(residual + maps, inplace=True)

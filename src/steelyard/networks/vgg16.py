"""VGG-16's thirteen convolutions: an encoder whose parameters are named as in torchvision, so that its files load."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from steelyard.networks.convolution import Convolution3x3
from steelyard.networks.initialise import initialise
from steelyard.networks.weights import Encoder

BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
WIDTHS = tuple(block[-1] for block in BLOCKS)


class Features(NamedTuple):
    """What the encoder sees at its five scales, finest first.

    `blocks[i]` is the last activation of block i, at 1 / 2^i of the image's size; `pools[i]` is its 2×2 maximum, at
    1 / 2^(i+1).
    """

    blocks: tuple[Tensor, ...]
    pools: tuple[Tensor, ...]


class VGG16(Encoder):
    """The convolutions of VGG-16 configuration D, without its classifier: 14,714,688 parameters for three channels.

    As in torchvision's `vgg16`, there is no batch normalisation and convolutions have biases.

    Source: Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR 2015.
    """

    imagenet_url = "https://download.pytorch.org/models/vgg16-397923af.pth"
    first_convolution = "features.0.weight"

    def __init__(self, channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for block in BLOCKS:
            for width in block:
                layers += [Convolution3x3(channels, width, bias=True), nn.ReLU(inplace=True)]
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        initialise(self)

    def forward(self, images: Float[Tensor, "batch channel height width"]) -> Features:
        blocks, pools = [], []
        maps = images
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                blocks.append(maps)
            maps = layer(maps)
            if isinstance(layer, nn.MaxPool2d):
                pools.append(maps)
        return Features(tuple(blocks), tuple(pools))

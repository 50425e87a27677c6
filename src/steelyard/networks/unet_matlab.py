"""The plain U-Net that MATLAB's unetLayers builds: 58 layers, no pretraining, no batch normalisation."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from steelyard.errors import BadSpec
from steelyard.networks import NETWORKS
from steelyard.networks.any_size import at_any_size
from steelyard.networks.convolution import Convolution3x3
from steelyard.networks.enlarge import Doubling
from steelyard.networks.initialise import initialise

WIDTHS = (64, 128, 256, 512, 1024)
DROPOUT = 0.5


@NETWORKS.register("unet_matlab", "plain U-Net of four stages, 64 to 1024 channels, as MATLAB's unetLayers (58 layers)")
class UNetMATLAB(nn.Module):
    """Four stages down, a bridge, four stages up; two 3×3 convolutions with ReLU in each, padded to keep the size.

    Half of the values are dropped in training after the fourth stage (its skip is taken before) and after the bridge. A
    stage up is a 2×2 transposed convolution of stride 2 with ReLU, joined by the skip. He initialisation, biases 0.

    Args:
        channels: channels of the image.
        classes: classes of the logits, background included.
        weights: must be None; there is nothing to start from.

    Images of any size: padded to multiples of 16 px, logits cropped back (`at_any_size`).

    Source: MathWorks, Computer Vision Toolbox, unetLayers with its default encoder depth 4; Ronneberger et al.,
    "U-Net", MICCAI 2015.
    """

    def __init__(self, channels: int, classes: int, *, weights: str | None = None) -> None:
        super().__init__()
        if weights is not None:
            raise BadSpec(f"unet_matlab has no pretrained encoder, but weights = {weights!r} came. Leave weights out.")
        self.down = nn.ModuleList(_two_convolutions(i, o) for i, o in pairwise((channels, *WIDTHS[:-1])))
        self.bridge = _two_convolutions(*WIDTHS[-2:])
        rising = list(pairwise(WIDTHS[::-1]))
        self.enlarge = nn.ModuleList(Doubling(i, o) for i, o in rising)
        self.up = nn.ModuleList(_two_convolutions(2 * o, o) for _, o in rising)
        self.dropout = nn.Dropout(DROPOUT)
        self.logits = nn.Conv2d(WIDTHS[0], classes, 1)
        initialise(self)

    def forward(self, images: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch class height width"]:
        return at_any_size(self._logits, images, cell_px=16)

    def _logits(self, images: Tensor) -> Tensor:
        skips: list[Tensor] = []
        maps = images
        for stage in self.down:
            skips.append(stage(maps))
            maps = F.max_pool2d(self.dropout(skips[-1]) if stage is self.down[-1] else skips[-1], 2)
        maps = self.dropout(self.bridge(maps))
        for enlarge, stage, skip in zip(self.enlarge, self.up, reversed(skips), strict=True):
            maps = stage(torch.cat((skip, F.relu(enlarge(maps))), dim=1))
        return self.logits(maps)


def _two_convolutions(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        Convolution3x3(channels, width, bias=True),
        nn.ReLU(inplace=True),
        Convolution3x3(width, width, bias=True),
        nn.ReLU(inplace=True),
    )

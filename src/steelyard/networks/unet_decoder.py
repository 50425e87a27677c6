"""The rising arm of a U-Net: coarse maps are enlarged step by step, each joined by the encoder's map of that size."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from steelyard.networks.batch_norm import NormalisedConvolutions
from steelyard.networks.convolution import Convolution3x3
from steelyard.networks.enlarge import Doubling
from steelyard.networks.initialise import initialise


class UNetDecoder(nn.Module):
    """One stage per entry of `widths`, then a 1×1 convolution to logits.

    A stage doubles the size by a 2×2 transposed convolution to its width, joins the encoder's map (`skips` channels; 0
    for none) and applies two 3×3 convolutions, each with batch normalisation and ReLU.

    Args:
        bottom: channels of the coarsest map.
        skips: channels of the encoder's maps, coarsest first, as many as `widths`.
        widths: channels that each stage gives.
        classes: channels of the logits.

    Source: Ronneberger et al., "U-Net", MICCAI 2015; batch normalisation added.
    """

    def __init__(self, bottom: int, *, skips: Sequence[int], widths: Sequence[int], classes: int) -> None:
        super().__init__()
        inputs = (bottom, *widths[:-1])
        self.stages = nn.ModuleList(
            _Stage(below, skip, width) for below, skip, width in zip(inputs, skips, widths, strict=True)
        )
        self.logits = nn.Conv2d(widths[-1], classes, 1)
        initialise(self)

    def forward(self, bottom: Tensor, skips: Sequence[Tensor | None]) -> Tensor:
        """Logits at the size of the finest stage. `skips` are coarsest first, None where a stage has none."""
        maps = bottom
        for stage, skip in zip(self.stages, skips, strict=True):
            maps = stage(maps, skip)
        return self.logits(maps)


class _Stage(nn.Module):
    def __init__(self, below: int, skip: int, width: int) -> None:
        super().__init__()
        self.enlarge = Doubling(below, width)
        self.convolutions = NormalisedConvolutions(
            Convolution3x3(width + skip, width),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            Convolution3x3(width, width),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        )

    def forward(self, below: Tensor, skip: Tensor | None) -> Tensor:
        maps = self.enlarge(below)
        return self.convolutions(maps) if skip is None else self.convolutions(skip, maps)

"""U-Net on a VGG-16 encoder: the study's first network."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from steelyard.networks import NETWORKS
from steelyard.networks.any_size import at_any_size
from steelyard.networks.unet_decoder import UNetDecoder
from steelyard.networks.vgg16 import VGG16, WIDTHS


@NETWORKS.register("unet_vgg16", "U-Net with a VGG-16 encoder, which may start from ImageNet weights")
class UNetVGG16(nn.Module):
    """VGG-16's first four blocks are the encoder's stages, its fifth is the bridge; four decoder stages rise from it.

    Args:
        channels: channels of the image.
        classes: classes of the logits, background included.
        weights: start of the encoder: "imagenet", the path of a torchvision VGG-16 file, or None for He initialisation.

    Images of any size: padded to multiples of 16 px, logits cropped back (`at_any_size`).

    Source: Furtado, "Investigation of loss functions ..."; Ronneberger et al., "U-Net", MICCAI 2015.
    """

    def __init__(self, channels: int, classes: int, *, weights: str | None = None) -> None:
        super().__init__()
        self.encoder = VGG16(channels)
        *skips, bottom = WIDTHS
        self.decoder = UNetDecoder(bottom, skips=skips[::-1], widths=(512, 256, 128, 64), classes=classes)
        self.encoder.start_from(weights)

    def forward(self, images: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch class height width"]:
        return at_any_size(self._logits, images, cell_px=16)

    def _logits(self, images: Tensor) -> Tensor:
        *skips, bottom = self.encoder(images).blocks
        return self.decoder(bottom, skips[::-1])

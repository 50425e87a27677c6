"""U-Net on a ResNet-18 encoder: quick enough for two processor cores."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from steelyard.networks import NETWORKS
from steelyard.networks.any_size import at_any_size
from steelyard.networks.resnet18 import WIDTHS, ResNet18
from steelyard.networks.unet_decoder import UNetDecoder


@NETWORKS.register("unet_resnet18", "U-Net with a ResNet-18 encoder: quick, for a computer without accelerator")
class UNetResNet18(nn.Module):
    """Five decoder stages of 256, 128, 64, 32 and 16 channels; the last, back at the image's size, has no skip.

    Args:
        channels: channels of the image.
        classes: classes of the logits, background included.
        weights: start of the encoder: "imagenet", the path of a torchvision ResNet-18 file, or None for He
            initialisation.

    Images of any size: padded to multiples of 32 px, logits cropped back (`at_any_size`).
    """

    def __init__(self, channels: int, classes: int, *, weights: str | None = None) -> None:
        super().__init__()
        self.encoder = ResNet18(channels)
        *skips, bottom = WIDTHS
        self.decoder = UNetDecoder(bottom, skips=(*skips[::-1], 0), widths=(256, 128, 64, 32, 16), classes=classes)
        self.encoder.start_from(weights)

    def forward(self, images: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch class height width"]:
        return at_any_size(self._logits, images, cell_px=32)

    def _logits(self, images: Tensor) -> Tensor:
        *skips, bottom = self.encoder(images)
        return self.decoder(bottom, (*skips[::-1], None))

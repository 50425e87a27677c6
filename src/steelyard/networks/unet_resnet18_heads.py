"""U-Net with one head per organ on a shared ResNet-18: each organ can be trained with a loss of its own."""

from __future__ import annotations

import math

from jaxtyping import Float
from torch import Tensor, nn

from steelyard.networks import NETWORKS
from steelyard.networks.any_size import at_any_size
from steelyard.networks.heads import HeadPerOrgan
from steelyard.networks.resnet18 import WIDTHS, ResNet18
from steelyard.networks.unet_decoder import UNetDecoder

HEAD_WIDTHS = (64, 64, 32, 16, 8)  # half of unet_resnet18's and less: four heads cost about as much as its decoder
# Most pixels are no organ. A head that starts at 1/2 must first learn that, and one that does it by silencing its last
# activations is left with nothing but this bias to answer there: it stays near 1/2 for long.
STARTING_PROBABILITY = 0.01


@NETWORKS.register("unet_resnet18_heads", "U-Net with one narrow decoder per organ on one ResNet-18 encoder")
class UNetResNet18Heads(nn.Module):
    """`unet_resnet18` with a decoder of 64, 64, 32, 16 and 8 channels for each organ in the place of one for all.

    What its logits and their softmax mean is told by `HeadPerOrgan`. Its own loss is `per_organ` with
    `against="background"`; any other loss sees a softmax network whose background logit is fixed at 0. Every head
    starts with the bias of an organ in one pixel of a hundred.

    Args:
        channels: channels of the image.
        classes: classes of the logits, background included.
        weights: start of the encoder: "imagenet", the path of a torchvision ResNet-18 file, or None for He
            initialisation.

    Images of any size: padded to multiples of 32 px, logits cropped back (`at_any_size`).

    Source: Furtado, "Investigation of loss functions ...", future work; the bias: Lin et al., "Focal loss for dense
    object detection", ICCV 2017, section 3.3.
    """

    def __init__(self, channels: int, classes: int, *, weights: str | None = None) -> None:
        super().__init__()
        self.encoder = ResNet18(channels)
        self.heads = HeadPerOrgan(_head, classes=classes)
        self.encoder.start_from(weights)

    def forward(self, images: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch class height width"]:
        return at_any_size(self._logits, images, cell_px=32)

    def _logits(self, images: Tensor) -> Tensor:
        *skips, bottom = self.encoder(images)
        return self.heads(bottom, (*skips[::-1], None))


def _head() -> UNetDecoder:
    *skips, bottom = WIDTHS
    head = UNetDecoder(bottom, skips=(*skips[::-1], 0), widths=HEAD_WIDTHS, classes=1)
    if head.logits.bias is not None:
        nn.init.constant_(head.logits.bias, math.log(STARTING_PROBABILITY / (1 - STARTING_PROBABILITY)))
    return head

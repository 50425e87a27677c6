"""DeepLab v3 on ResNet-18: context from afar alone; outlines are as coarse as its grid of 16 pixels."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from steelyard.networks import NETWORKS
from steelyard.networks.any_size import at_any_size
from steelyard.networks.aspp import ASPP, WIDTH
from steelyard.networks.enlarge import interpolate
from steelyard.networks.initialise import initialise
from steelyard.networks.resnet18 import WIDTHS, ResNet18


@NETWORKS.register("deeplabv3_resnet18", "DeepLab v3: ASPP on ResNet-18, output stride 16, no low-level skip")
class DeepLabV3ResNet18(nn.Module):
    """ASPP with its image-level branch at 1/16, a 1×1 convolution to logits, enlarged ×16 by bilinear interpolation.

    Args:
        channels: channels of the image.
        classes: classes of the logits, background included.
        weights: start of the encoder: "imagenet", the path of a torchvision ResNet-18 file, or None for He
            initialisation.

    Images of any size: padded to multiples of 16 px, logits cropped back (`at_any_size`).

    Source: Chen et al., "Rethinking atrous convolution for semantic image segmentation", arXiv:1706.05587.
    """

    def __init__(self, channels: int, classes: int, *, weights: str | None = None) -> None:
        super().__init__()
        self.encoder = ResNet18(channels, output_stride=16)
        self.aspp = ASPP(WIDTHS[-1], image_pooling=True)
        self.logits = nn.Conv2d(WIDTH, classes, 1)
        initialise(self.logits)
        self.encoder.start_from(weights)

    def forward(self, images: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch class height width"]:
        return at_any_size(self._logits, images, cell_px=16)

    def _logits(self, images: Tensor) -> Tensor:
        coarse = self.encoder(images)[-1]
        return interpolate(self.logits(self.aspp(coarse)), factor=16)

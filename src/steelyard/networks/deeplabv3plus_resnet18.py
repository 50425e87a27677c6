"""DeepLab v3+ on ResNet-18: context from afar, refined by one fine map of the encoder."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from steelyard.networks import NETWORKS
from steelyard.networks.any_size import at_any_size
from steelyard.networks.aspp import ASPP, WIDTH, convolve
from steelyard.networks.batch_norm import normalise
from steelyard.networks.convolution import conv2d
from steelyard.networks.enlarge import convolve_interpolated, interpolate
from steelyard.networks.initialise import initialise
from steelyard.networks.resnet18 import WIDTHS, ResNet18

FINE_WIDTH = 48  # few, so that the fine map does not outweigh the context


@NETWORKS.register("deeplabv3plus_resnet18", "DeepLab v3+: ASPP and a low-level skip on ResNet-18, output stride 16")
class DeepLabV3PlusResNet18(nn.Module):
    """ASPP at 1/16, enlarged to 1/4 and joined by the encoder's map there, two 3×3 convolutions, enlarged to the image.

    This is, layer by layer, the network of 100 layers that MATLAB's deeplabv3plusLayers gives for "resnet18": its ASPP
    has no image-level branch, enlargements are fixed bilinear interpolations and there is no dropout. (MATLAB trains
    the new layers with ten times the encoder's learning rate; that is the trainer's affair.)

    Args:
        channels: channels of the image.
        classes: classes of the logits, background included.
        weights: start of the encoder: "imagenet", the path of a torchvision ResNet-18 file, or None for He
            initialisation.

    Images of any size: padded to multiples of 16 px, logits cropped back (`at_any_size`).

    Source: Chen et al., "Encoder-decoder with atrous separable convolution for semantic image segmentation", ECCV 2018.
    """

    def __init__(self, channels: int, classes: int, *, weights: str | None = None) -> None:
        super().__init__()
        self.encoder = ResNet18(channels, output_stride=16)
        self.aspp = ASPP(WIDTHS[-1], image_pooling=False)
        self.fine = convolve(WIDTHS[1], FINE_WIDTH, kernel=1)
        self.refine = nn.Sequential(convolve(FINE_WIDTH + WIDTH, WIDTH, kernel=3), convolve(WIDTH, WIDTH, kernel=3))
        self.logits = nn.Conv2d(WIDTH, classes, 1)
        for part in (self.fine, self.refine, self.logits):
            initialise(part)
        self.encoder.start_from(weights)

    def forward(self, images: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch class height width"]:
        return at_any_size(self._logits, images, cell_px=16)

    def _logits(self, images: Tensor) -> Tensor:
        _, fine, _, _, coarse = self.encoder(images)
        join, refine = self.refine
        convolution, norm, _ = join.children()
        weight = convolution.get_parameter("weight")  # of both maps, the fine one first
        of_fine = conv2d(self.fine(fine), weight[:, :FINE_WIDTH], padding=(1, 1))
        joined = convolve_interpolated(self.aspp(coarse), weight[:, FINE_WIDTH:], factor=4, added=of_fine)
        joined = normalise(norm, joined, relu=True)
        return interpolate(self.logits(refine(joined)), factor=4)

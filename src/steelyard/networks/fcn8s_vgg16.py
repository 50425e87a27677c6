"""FCN-8s: VGG-16 made fully convolutional, its coarse answer sharpened by two finer ones."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from steelyard.errors import BadData
from steelyard.networks import NETWORKS
from steelyard.networks.any_size import at_any_size
from steelyard.networks.initialise import initialise
from steelyard.networks.vgg16 import VGG16, WIDTHS
from steelyard.networks.weights import load_encoder, read_weights

VGG16_FC_CHANNELS = 4096
FC_KERNEL = 7
SCORE_STD = 0.01  # the source starts scores at 0; near 0 the encoder learns from the first step


@NETWORKS.register("fcn8s_vgg16", "FCN-8s on VGG-16: scores at 1/32, 1/16 and 1/8 added, enlarged by interpolation")
class FCN8sVGG16(nn.Module):
    """Scores from VGG-16's fully connected layers (as convolutions, at 1/32), pool4 (1/16) and pool3 (1/8), summed.

    score = up8(up2(up2(fc) + pool4) + pool3), each up a bilinear enlargement by that factor.

    Args:
        channels: channels of the image.
        classes: classes of the logits, background included.
        weights: start of the encoder: "imagenet", the path of a torchvision VGG-16 file, or None for He initialisation.
            With `fc_channels` 4096 the file's classifier becomes the fully connected layers' start.
        learned_upsampling: enlarge by transposed convolutions that start bilinear and learn; else bilinear for ever.
        fc_channels: width of the two fully connected layers. VGG-16's own 4096 hold 120 of the 135 million parameters.

    Images of any size: padded to multiples of 32 px, logits cropped back (`at_any_size`). The fully connected layers
    are padded to keep the size, where the source pads the image by 100 px and crops.

    Errors: `BadData` where the file lacks what is to be started from it.

    Source: Long, Shelhamer and Darrell, "Fully convolutional networks for semantic segmentation", CVPR 2015; MathWorks,
    Computer Vision Toolbox, fcnLayers.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        *,
        weights: str | None = None,
        learned_upsampling: bool = False,
        fc_channels: int = VGG16_FC_CHANNELS,
    ) -> None:
        super().__init__()
        self.encoder = VGG16(channels)
        self.fc = fully_connected(fc_channels)
        self.score_fc, self.score_pool4, self.score_pool3 = (
            _score(width, classes) for width in (fc_channels, WIDTHS[3], WIDTHS[2])
        )
        if not isinstance(learned_upsampling, bool):
            raise ValueError(f"learned_upsampling must be true or false; came {learned_upsampling!r}")
        enlarge = _learned if learned_upsampling else _fixed
        self.enlarge_fc, self.enlarge_pool4, self.enlarge_pool3 = (enlarge(classes, factor) for factor in (2, 2, 8))
        if weights is not None:
            state = read_weights(weights, imagenet_url=VGG16.imagenet_url)
            load_encoder(self.encoder, state, source=weights)
            if fc_channels == VGG16_FC_CHANNELS:
                load_classifier(self.fc, state, source=weights)

    def forward(self, images: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch class height width"]:
        return at_any_size(self._logits, images, cell_px=32)

    def _logits(self, images: Tensor) -> Tensor:
        *_, pool3, pool4, pool5 = self.encoder(images).pools
        scores = self.enlarge_fc(self.score_fc(self._fully_connected(pool5))) + self.score_pool4(pool4)
        return self.enlarge_pool3(self.enlarge_pool4(scores) + self.score_pool3(pool3))

    def _fully_connected(self, maps: Tensor) -> Tensor:
        """`fc`, in training on maps as large as its kernel at least: zeros that it would pad with itself are added.

        Of smaller maps oneDNN takes the weights' gradient in its reference code where the processor has AVX2 alone:
        28 s for two maps of 4 × 4, 3.5 s for two of 7 × 7.
        """
        if not self.training:
            return self.fc(maps)  # type: ignore[no-any-return]
        convolution, *others = self.fc
        height, width = maps.shape[-2:]
        added = max(FC_KERNEL - width, 0), max(FC_KERNEL - height, 0)
        if any(added):
            maps = F.pad(maps, (0, added[0], 0, added[1]))
        maps = convolution(maps)[..., :height, :width]
        for layer in others:
            maps = layer(maps)
        return maps


def fully_connected(width: int) -> nn.Sequential:
    """VGG-16's first two fully connected layers as convolutions over pool5, 7×7 and 1×1, with their dropout."""
    layers = nn.Sequential(
        nn.Conv2d(WIDTHS[-1], width, FC_KERNEL, padding=FC_KERNEL // 2),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
        nn.Conv2d(width, width, 1),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
    )
    initialise(layers)
    return layers


def load_classifier(layers: nn.Sequential, state: dict[str, Tensor], *, source: str) -> None:
    """Start `fully_connected` layers from torchvision's classifier.0 and classifier.3, whose rows are their kernels."""
    for name in ("0.weight", "0.bias", "3.weight", "3.bias"):
        target = layers.get_parameter(name)
        came = state.get(f"classifier.{name}")
        if came is None or came.numel() != target.numel():
            shape = "nothing" if came is None else f"shape {tuple(came.shape)}"
            raise BadData(
                f"{source}: classifier.{name} was wanted with {target.numel()} numbers, {shape} came. "
                f"Give a whole VGG-16 file, or fc_channels other than {VGG16_FC_CHANNELS}."
            )
        with torch.no_grad():
            target.copy_(came.reshape(target.shape))


def _score(channels: int, classes: int) -> nn.Conv2d:
    layer = nn.Conv2d(channels, classes, 1)
    nn.init.normal_(layer.weight, std=SCORE_STD)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


def _fixed(classes: int, factor: int) -> nn.Module:
    return nn.Upsample(scale_factor=factor, mode="bilinear")


def _learned(classes: int, factor: int) -> nn.Module:
    """A transposed convolution within each class whose tent-shaped kernel interpolates bilinearly, for even factors."""
    layer = nn.ConvTranspose2d(classes, classes, 2 * factor, stride=factor, padding=factor // 2, bias=False)
    tent = 1 - (torch.arange(2 * factor) - factor + 0.5).abs() / factor
    nn.init.zeros_(layer.weight)
    with torch.no_grad():
        layer.weight[range(classes), range(classes)] = torch.outer(tent, tent)
    return layer

"""Starting weights: scaled so that signals neither fade nor swell from the first layer to the last."""

from __future__ import annotations

from torch import nn


def initialise(module: nn.Module) -> None:
    """He initialisation of every convolution in `module`, drawn from torch's global generator.

    A weight has variance 2 / fan_in, where fan_in is the number of products that one output pixel sums. A transposed
    convolution whose kernel equals its stride gives each output pixel in_channels products, whatever its kernel.
    Biases start at 0; batch normalisation starts as the identity.

    Source: He et al., "Delving deep into rectifiers", ICCV 2015.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
        elif isinstance(layer, nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, std=(2 / layer.in_channels) ** 0.5)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.ones_(layer.weight)
            nn.init.zeros_(layer.bias)
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) and layer.bias is not None:
            nn.init.zeros_(layer.bias)

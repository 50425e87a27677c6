"""Starting weights keep the size of signals."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from steelyard.networks.initialise import initialise


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(64, 96, 3, padding=1),
        nn.Conv2d(64, 96, 3, padding=2, dilation=2),
        nn.Conv2d(200, 96, 1),
        nn.ConvTranspose2d(200, 96, 2, stride=2),
    ],
)
def test_after_a_rectifier_a_layer_doubles_variance_so_that_the_next_rectifier_halves_it(layer: nn.Module):
    """Of x of variance 1 the rectifier keeps a mean square of 1/2; He's weights bring it back to 1."""
    torch.manual_seed(2)
    initialise(layer)
    with torch.no_grad():
        given = layer(torch.randn(4, layer.in_channels, 40, 40).relu())[..., 4:-4, 4:-4]
    assert given.square().mean().item() == pytest.approx(1.0, rel=0.1)
    assert not layer.bias.any()


def test_batch_normalisation_starts_as_the_identity():
    layer = nn.BatchNorm2d(3)
    nn.init.constant_(layer.weight, 5.0)
    nn.init.constant_(layer.bias, 5.0)
    initialise(layer)
    assert layer.weight.tolist() == [1.0, 1.0, 1.0]
    assert layer.bias.tolist() == [0.0, 0.0, 0.0]

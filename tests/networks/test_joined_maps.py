"""A joined map is convolved part by part: the numbers of laying the parts side by side, and their gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from steelyard.networks.batch_norm import NormalisedConvolutions
from steelyard.networks.joined_maps import convolve_joined
from steelyard.networks.unet_resnet18 import UNetResNet18


def _random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(3)


def test_two_channels_of_two_maps_by_hand():
    """10 · 2 from the first map, 100 · 3 from the second, and the bias once."""
    layer = nn.Conv2d(2, 1, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([2.0, 3.0]).view(1, 2, 1, 1))
        layer.bias.fill_(0.5)
        joined = convolve_joined(layer, torch.full((1, 1, 1, 1), 10.0), torch.full((1, 1, 1, 1), 100.0))
    assert joined.item() == 320.5


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("how", [{"padding": 1}, {"stride": 2}, {"padding": "same", "dilation": 2}], ids=str)
def test_it_is_the_convolution_of_the_maps_side_by_side(how: dict, bias: bool):
    layer = nn.Conv2d(2 + 3 + 1, 4, 3, bias=bias, **how).double()
    parts = _random(2, 2, 7, 6), _random(2, 3, 7, 6), _random(2, 1, 7, 6)
    ours, theirs = convolve_joined(layer, *parts), layer(torch.cat(parts, dim=1))
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    seen, given = torch.randn_like(ours), (*parts, *layer.parameters())
    for one, other in zip(
        torch.autograd.grad(ours, given, seen), torch.autograd.grad(theirs, given, seen), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_one_map_goes_through_the_layer_itself():
    class Doubled(nn.Conv2d):
        def forward(self, input: Tensor) -> Tensor:
            return 2 * super().forward(input)

    layer, maps = Doubled(3, 4, 3).double(), _random(1, 3, 5, 5)
    torch.testing.assert_close(convolve_joined(layer, maps), 2 * nn.Conv2d.forward(layer, maps))


def test_only_the_first_of_several_convolutions_sees_both_maps():
    block = NormalisedConvolutions(
        *(nn.Conv2d(5, 4, 3), nn.BatchNorm2d(4), nn.ReLU()), *(nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), nn.ReLU())
    ).double()
    one, other = _random(2, 2, 9, 9), _random(2, 3, 9, 9)
    theirs = nn.Sequential.forward(block, torch.cat((one, other), dim=1))
    torch.testing.assert_close(block(one, other), theirs, rtol=1e-9, atol=1e-9)


def test_the_encoders_map_comes_first_in_a_stage_of_the_u_net():
    """As in files of weights made before: swapped parts would meet the other's weights."""
    stage = UNetResNet18(1, 3).double().eval().decoder.stages[0]
    skip, below = _random(1, 256, 4, 4), _random(1, 512, 2, 2)
    theirs = nn.Sequential.forward(stage.convolutions, torch.cat((skip, stage.enlarge(below)), dim=1))
    torch.testing.assert_close(stage(below, skip), theirs, rtol=1e-9, atol=1e-9)

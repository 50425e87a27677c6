"""Matrix products in the place of torch's layers: the same numbers, and the same gradients."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from steelyard.networks.aspp import ASPP
from steelyard.networks.deeplabv3plus_resnet18 import FINE_WIDTH, DeepLabV3PlusResNet18
from steelyard.networks.enlarge import FEW, Doubling, _Doubling, convolve_interpolated, interpolate


def _random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def _same_with_gradients(ours: torch.Tensor, theirs: torch.Tensor, inputs: tuple[torch.Tensor, ...]) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    seen = torch.randn_like(ours)
    torch.testing.assert_close(
        torch.autograd.grad(ours, inputs, seen), torch.autograd.grad(theirs, inputs, seen), rtol=1e-12, atol=1e-12
    )


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(3)


def test_one_pixel_becomes_four_each_with_its_own_weight():
    layer = Doubling(1, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]))
        layer.bias.fill_(0.5)
        twice = layer(torch.tensor([[[[10.0, 100.0]]]]))
    assert twice.tolist() == [[[[10.5, 20.5, 100.5, 200.5], [30.5, 40.5, 300.5, 400.5]]]]


@pytest.mark.parametrize("width", [5, FEW, FEW + 1])
def test_doubling_is_torchs_transposed_convolution(width: int):
    layer, maps = Doubling(3, width).double(), _random(2, 3, 4, 7)
    ours, theirs = layer(maps), nn.ConvTranspose2d.forward(layer, maps)
    assert (type(ours.grad_fn).__name__ == "_DoublingBackward") == (width <= FEW)
    _same_with_gradients(ours, theirs, (maps, layer.weight, layer.bias))


def test_doubling_few_channels_has_second_derivatives():
    layer, maps = Doubling(2, 3).double(), _random(1, 2, 2, 3)
    given = (maps, layer.weight, layer.bias)
    assert torch.autograd.gradgradcheck(lambda *all: _Doubling.apply(*all), given)


def test_doubling_below_frozen_layers_gives_the_weights_their_gradient():
    layer, maps = Doubling(3, 5).double(), _random(2, 3, 4, 7).detach()
    _same_with_gradients(layer(maps), nn.ConvTranspose2d.forward(layer, maps), (layer.weight, layer.bias))


def test_doubling_under_autocast_is_bfloat16_and_the_gradients_are_not():
    layer, maps = Doubling(3, 5), torch.randn(2, 3, 4, 7, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours, theirs = layer(maps), nn.ConvTranspose2d.forward(layer, maps)
    assert ours.dtype == torch.bfloat16
    seen, given = torch.randn_like(ours), (maps, layer.weight, layer.bias)
    for one, other in zip(
        torch.autograd.grad(ours, given, seen), torch.autograd.grad(theirs, given, seen), strict=True
    ):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("factor", [2, 4, 16])
def test_interpolation_is_torchs(factor: int):
    maps = _random(2, 3, 4, 7)
    theirs = F.interpolate(maps, scale_factor=factor, mode="bilinear")
    _same_with_gradients(interpolate(maps, factor=factor), theirs, (maps,))


def test_between_two_pixels_lie_the_quarters_of_their_difference():
    """Factor 2: middles of large pixels lie at -1/4, 1/4, 3/4 and 5/4 of the small ones' distance; ends repeat."""
    assert interpolate(torch.tensor([[[[0.0, 8.0]]]]), factor=2)[0, 0].tolist() == [[0.0, 2.0, 6.0, 8.0]] * 2


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("size", [(4, 7), (2, 2), (1, 3)])
def test_a_convolution_of_an_enlarged_map_needs_no_enlarged_map(factor: int, size: tuple[int, int]):
    maps, weight = _random(2, 3, *size), _random(5, 3, 3, 3)
    added = _random(2, 5, size[0] * factor, size[1] * factor)
    large = F.interpolate(maps, scale_factor=factor, mode="bilinear")
    theirs = added + F.conv2d(large, weight, padding=1)
    ours = convolve_interpolated(maps, weight, factor=factor, added=added)
    _same_with_gradients(ours, theirs, (maps, weight, added))


def test_deeplab_v3plus_joins_the_fine_map_and_the_enlarged_context_as_its_definition_says():
    network = DeepLabV3PlusResNet18(1, 3).double().eval()
    images = torch.randn(2, 1, 64, 96, dtype=torch.float64)
    with torch.no_grad():
        _, fine, _, _, coarse = network.encoder(images)
        context = F.interpolate(network.aspp(coarse), scale_factor=4, mode="bilinear")
        together = torch.cat((network.fine(fine), context), dim=1)
        assert together.shape[1] == FINE_WIDTH + 256
        logits = F.interpolate(network.logits(network.refine(together)), scale_factor=4, mode="bilinear")
        torch.testing.assert_close(network(images), logits, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("size", [(3, 5), (6, 6), (5, 7), (12, 13), (18, 18), (17, 19)])
def test_the_pyramid_leaves_out_no_place_that_lies_in_the_map(size: tuple[int, int]):
    """Around each reach of 6, 12 and 18 cells, beside the plain convolution of every branch."""
    pyramid = ASPP(4, image_pooling=False).double().eval()
    maps = _random(1, 4, *size)
    for convolution, *_ in pyramid.branches:
        theirs = F.conv2d(maps, convolution.weight, padding=convolution.padding, dilation=convolution.dilation)
        _same_with_gradients(convolution(maps), theirs, (maps, convolution.weight))

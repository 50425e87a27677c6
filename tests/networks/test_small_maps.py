"""Small maps are convolved as torch does it: maps, gradients of maps and weights, and second derivatives."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steelyard.networks.small_maps import SMALL, Convolution3x3, _Convolution

SIZES = [((8, 8), 1), ((5, 7), 1), ((3, 2), 1), ((16, 16), 2), ((7, 9), 2), ((2, 1), 2)]


def _layer_and_maps(size: tuple[int, int], stride: int, dtype: torch.dtype) -> tuple[Convolution3x3, Tensor]:
    torch.manual_seed(3)
    layer = Convolution3x3(3, 5, stride=stride).to(dtype)
    return layer, torch.randn(2, 3, *size, dtype=dtype, requires_grad=True)


@pytest.mark.parametrize(("size", "stride"), SIZES)
def test_the_numbers_and_gradients_are_torchs(size: tuple[int, int], stride: int) -> None:
    layer, maps = _layer_and_maps(size, stride, torch.float64)
    ours = layer(maps)
    assert type(ours.grad_fn).__name__ == "_ConvolutionBackward"
    theirs = F.conv2d(maps, layer.weight, stride=stride, padding=1)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    seen = torch.randn_like(ours)
    for one, other in zip(
        torch.autograd.grad(ours, (maps, layer.weight), seen),
        torch.autograd.grad(theirs, (maps, layer.weight), seen),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_second_derivatives_are_right() -> None:
    layer, maps = _layer_and_maps((5, 4), 2, torch.float64)
    assert torch.autograd.gradgradcheck(lambda *given: _Convolution.apply(*given, 2), (maps, layer.weight))


def test_under_autocast_both_are_bfloat16_and_the_weights_gradient_is_not() -> None:
    layer, maps = _layer_and_maps((6, 6), 1, torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours, theirs = layer(maps), F.conv2d(maps, layer.weight, padding=1)
    assert ours.dtype == torch.bfloat16
    torch.testing.assert_close(ours, theirs)
    seen = torch.randn_like(ours)
    for one, other in zip(
        torch.autograd.grad(ours, (maps, layer.weight), seen),
        torch.autograd.grad(theirs, (maps, layer.weight), seen),
        strict=True,
    ):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other, rtol=0.02, atol=0.02)


@pytest.mark.parametrize(
    ("layer", "size"),
    [
        (Convolution3x3(3, 5, dilation=2), (8, 8)),
        (Convolution3x3(3, 5).eval(), (8, 8)),
        (Convolution3x3(3, 5), (SMALL + 1, 1)),
        (Convolution3x3(3, 5, stride=2), (21, 20)),
    ],
)
def test_all_else_is_left_to_torch(layer: Convolution3x3, size: tuple[int, int]) -> None:
    ours = layer(torch.randn(2, 3, *size))
    assert type(ours.grad_fn).__name__ == "ConvolutionBackward0"


def test_dilation_looks_that_far() -> None:
    layer, maps = Convolution3x3(3, 5, stride=1, dilation=2), torch.randn(2, 3, 9, 8)
    torch.testing.assert_close(layer(maps), F.conv2d(maps, layer.weight, padding=2, dilation=2))
    assert isinstance(layer, nn.Conv2d)
    assert layer.bias is None

"""Convolutions are torch's, whatever finds the gradient of their kernel: maps, gradients, second derivatives."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from steelyard.networks import convolution
from steelyard.networks.convolution import SMALL, Convolution3x3, conv2d

SIZES = [((8, 8), 1), ((5, 7), 1), ((3, 2), 1), ((16, 16), 2), ((7, 9), 2), ((2, 1), 2)]
OURS, TORCHS = "_ConvolutionBackward", "ConvolutionBackward0"


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(3)


@pytest.fixture
def without_c(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As with other processors."""
    monkeypatch.setattr(convolution, "takes", lambda maps: False)


def _maps(channels: int, size: tuple[int, int], dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(2, channels, *size, dtype=dtype, requires_grad=True)


def _same(ours: Tensor, theirs: Tensor, given: tuple[Tensor, ...], *, within: float) -> None:
    """Maps and gradients, `within` a share of the largest number of each."""
    seen = torch.randn_like(ours)
    found = ours, *torch.autograd.grad(ours, given, seen)
    wanted = theirs, *torch.autograd.grad(theirs, given, seen)
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == other.dtype
        assert one.shape == other.shape
        assert float((one - other).detach().abs().max()) <= within * float(other.detach().abs().max())


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("size", "stride"), SIZES)
def test_the_numbers_and_gradients_of_small_maps_are_torchs(
    size: tuple[int, int], stride: int, bias: bool, without_c: None
) -> None:
    layer, maps = Convolution3x3(3, 5, stride=stride, bias=bias).double(), _maps(3, size)
    ours, theirs = layer(maps), F.conv2d(maps, layer.weight, layer.bias, stride=stride, padding=1)
    assert type(ours.grad_fn).__name__ == OURS
    _same(ours, theirs, (maps, *layer.parameters()), within=1e-12)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2), (1, 9), (3, 2)])
def test_in_c_they_are_too(stride: int, dilation: int, bias: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    layer = Convolution3x3(16, 5, stride=stride, dilation=dilation, bias=bias)
    maps = _maps(16, (13, 17), torch.float32).detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    ours = layer(maps)
    theirs = F.conv2d(maps, layer.weight, layer.bias, stride=stride, padding=dilation, dilation=dilation)
    assert type(ours.grad_fn).__name__ == OURS
    _same(ours, theirs, (maps, *layer.parameters()), within=1e-5)


def test_second_derivatives_are_right() -> None:
    layer, maps = Convolution3x3(3, 5, stride=2, bias=True).double(), _maps(3, (5, 4))

    def convolve(*given: Tensor) -> Tensor:
        convolved = conv2d(*given, (2, 2), (1, 1))
        assert type(convolved.grad_fn).__name__ == OURS
        return convolved

    assert torch.autograd.gradgradcheck(convolve, (maps, *layer.parameters()))


def test_second_derivatives_of_what_c_does_are_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    layer, maps = Convolution3x3(16, 5), torch.randn(2, 16, 20, 9).contiguous(memory_format=torch.channels_last)
    maps.requires_grad_()
    ours, theirs = layer(maps), F.conv2d(maps, layer.weight, padding=1)
    seen = torch.randn_like(ours).requires_grad_()
    one, other = (torch.autograd.grad(of, layer.weight, seen, create_graph=True)[0] for of in (ours, theirs))
    _same(one, other, (maps, seen), within=1e-5)


def test_under_autocast_both_are_bfloat16_and_the_gradients_of_parameters_are_not() -> None:
    layer, maps = Convolution3x3(3, 5, bias=True), _maps(3, (6, 6), torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours, theirs = layer(maps), F.conv2d(maps, layer.weight, layer.bias, padding=1)
    assert ours.dtype == torch.bfloat16
    assert type(ours.grad_fn).__name__ == OURS
    _same(ours, theirs, (maps, *layer.parameters()), within=0.02)


def test_under_autocast_c_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its numbers would be bfloat16, and the library is asked before anything is made shorter."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    layer = Convolution3x3(16, 5)
    maps = torch.randn(2, 16, 20, 20).contiguous(memory_format=torch.channels_last)
    assert type(layer(maps).grad_fn).__name__ == OURS
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert type(layer(maps).grad_fn).__name__ == TORCHS


def test_below_frozen_layers_and_with_frozen_kernels_only_the_others_get_a_gradient() -> None:
    layer, maps = Convolution3x3(3, 5, bias=True).double(), _maps(3, (6, 6)).detach()
    _same(layer(maps), F.conv2d(maps, layer.weight, layer.bias, padding=1), tuple(layer.parameters()), within=1e-12)
    maps, seen = maps.requires_grad_(), torch.randn(2, 5, 6, 6, dtype=torch.float64)
    whole = torch.autograd.grad(layer(maps), maps, seen)[0]
    layer.weight.requires_grad_(False)
    torch.testing.assert_close(torch.autograd.grad(layer(maps), maps, seen)[0], whole, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("layer", "size"),
    [
        (Convolution3x3(3, 5, dilation=2), (8, 8)),
        (Convolution3x3(3, 5).requires_grad_(False), (8, 8)),
        (Convolution3x3(3, 5), (SMALL + 1, 1)),
        (Convolution3x3(3, 5, stride=2), (21, 20)),
    ],
)
def test_all_else_is_left_to_torch(layer: Convolution3x3, size: tuple[int, int]) -> None:
    maps = torch.randn(2, 3, *size, requires_grad=True)
    assert type(layer(maps).grad_fn).__name__ == TORCHS
    with torch.no_grad():
        assert layer(maps).grad_fn is None


@pytest.mark.parametrize(
    "how",
    [
        {"padding": "same"},
        {"padding": (1, 0)},
        {"stride": (2, 1), "padding": (1, 1)},
        {"padding": (1, 1), "dilation": (1, 2)},
        {"padding": (1, 1), "dilation": (2, 2)},
        {},
    ],
    ids=str,
)
def test_other_ways_to_convolve_are_torchs(how: dict) -> None:
    maps, weight = _maps(3, (6, 7)), torch.randn(4, 3, 3, 3, dtype=torch.float64, requires_grad=True)
    ours, theirs = conv2d(maps, weight, **how), F.conv2d(maps, weight, **how)
    assert type(ours.grad_fn).__name__ == TORCHS
    assert torch.equal(ours, theirs)


def test_wrong_channels_are_refused_in_torchs_words() -> None:
    with pytest.raises(RuntimeError, match="to have 3 channels, but got 4"):
        Convolution3x3(3, 5)(torch.randn(2, 4, 8, 8))


def test_dilation_looks_that_far() -> None:
    layer, maps = Convolution3x3(3, 5, stride=1, dilation=2), torch.randn(2, 3, 9, 8)
    torch.testing.assert_close(layer(maps), F.conv2d(maps, layer.weight, padding=2, dilation=2))
    assert layer.bias is None

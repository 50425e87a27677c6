"""Batch normalisation and ReLU as one: torch's own numbers, gradients and running statistics, on every road."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steelyard.networks import batch_norm
from steelyard.networks.batch_norm import NormalisedConvolutions, normalise
from steelyard.study.pooled_norm import with_pooled_norms
from wrong_library import check_refused

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler is here")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(7)


@pytest.fixture
def by_torch(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As on a machine without a compiler."""
    monkeypatch.setattr(batch_norm, "_library", lambda: None)


def _maps(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Channels side by side, of unequal means and spreads."""
    channels = torch.arange(1, shape[1] + 1).view(1, -1, 1, 1)
    maps = torch.randn(shape) * channels / 3 + (channels - 2)
    return maps.to(dtype).contiguous(memory_format=torch.channels_last).requires_grad_()


def _norm(channels: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels, eps=0.01, momentum=0.3)
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(-1, 2, channels))
        norm.bias.copy_(torch.linspace(0.5, -0.5, channels))
        norm.running_mean.fill_(3)
    return norm


def _in_float64(norm: nn.BatchNorm2d, maps: Tensor, seen: Tensor, *, relu: bool) -> tuple[Tensor, list[Tensor]]:
    """By the formula alone: normalised maps, and the gradients of maps, weight and bias."""
    x, weight, bias = (t.detach().double().requires_grad_() for t in (maps, norm.weight, norm.bias))
    d = x - x.mean((0, 2, 3), keepdim=True)
    variance = d.square().mean((0, 2, 3), keepdim=True)
    normalised = d / (variance + norm.eps).sqrt() * weight.view(1, -1, 1, 1) + bias.view(1, -1, 1, 1)
    normalised = normalised.clamp_min(0) if relu else normalised
    return normalised.detach(), list(torch.autograd.grad(normalised, (x, weight, bias), seen.double()))


class Twice(nn.BatchNorm2d):
    """Somebody's own layer."""

    def forward(self, input: Tensor) -> Tensor:
        return 2 * super().forward(input)


SHAPES = [(2, 3, 5, 7), (16, 1, 9, 9), (1, 16, 64, 61), (3, 64, 40, 30), (2, 96, 33, 32), (2, 4096, 2, 1)]


@needs_compiler
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_maps_and_gradients_are_those_of_the_formula(shape: tuple[int, ...], relu: bool) -> None:
    maps, norm = _maps(*shape), _norm(shape[1])
    assert batch_norm._takes(norm, maps)
    seen = torch.randn(shape).contiguous(memory_format=torch.channels_last)
    ours = normalise(norm, maps, relu=relu)
    theirs, gradients = _in_float64(norm, maps, seen, relu=relu)
    assert ours.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(ours.double(), theirs, rtol=1e-5, atol=1e-5)
    for found, exact in zip(torch.autograd.grad(ours, (maps, norm.weight, norm.bias), seen), gradients, strict=True):
        torch.testing.assert_close(found.double(), exact, rtol=1e-4, atol=2e-5 * float(exact.abs().max()))


@needs_compiler
@pytest.mark.parametrize("relu", [False, True])
def test_bfloat16_is_rounded_once_to_the_nearest(relu: bool) -> None:
    maps, norm = _maps(4, 24, 30, 31, dtype=torch.bfloat16), _norm(24)
    seen = torch.randn(maps.shape).bfloat16().contiguous(memory_format=torch.channels_last)
    ours = normalise(norm, maps, relu=relu)
    exact, gradients = _in_float64(norm, maps, seen, relu=relu)
    assert ours.dtype == torch.bfloat16
    assert (ours == exact.bfloat16()).double().mean() > 0.999  # else the last bit of float32 tipped it
    found = torch.autograd.grad(ours, (maps, norm.weight, norm.bias), seen)
    assert (found[0] == gradients[0].bfloat16()).double().mean() > 0.99
    for one, other in zip(found[1:], gradients[1:], strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-3)


@needs_compiler
def test_rounding_goes_to_the_even_neighbour_and_keeps_what_is_no_number() -> None:
    """1 + 1/256 and 1 + 3/256 lie halfway between neighbours 1/128 apart: to 1 and to 1 + 2/128."""
    norm = nn.BatchNorm2d(1, eps=0.0)
    for value, nearest in ((1 + 1 / 256, 1.0), (1 + 3 / 256, 1 + 2 / 128), (-1 - 3 / 256, -1 - 2 / 128)):
        with torch.no_grad():
            norm.bias.fill_(value)
            norm.weight.fill_(0)
        maps = _maps(1, 1, 2, 2, dtype=torch.bfloat16)
        assert normalise(norm, maps, relu=False).unique().tolist() == [nearest]
    for broken in (float("nan"), float("inf")):
        maps = torch.tensor([[[[1.0, broken]]]], dtype=torch.bfloat16)
        for relu in (False, True):
            assert normalise(norm, maps, relu=relu).isnan().all()
    with torch.no_grad():
        norm.bias.copy_(torch.tensor([2**31 - 1], dtype=torch.int32).view(torch.float32))  # every bit but the sign
    assert normalise(norm, _maps(1, 1, 2, 2, dtype=torch.bfloat16), relu=False).isnan().all()


@needs_compiler
def test_a_mean_far_from_zero_costs_no_digits() -> None:
    """Around 10 000 a step of float32 is .001, of which the mean may lack half; sums of squares would lose it all."""
    maps = (torch.randn(2, 3, 50, 50) + 10_000).contiguous(memory_format=torch.channels_last).requires_grad_()
    norm, seen = nn.BatchNorm2d(3), torch.randn(2, 3, 50, 50).contiguous(memory_format=torch.channels_last)
    ours = normalise(norm, maps, relu=False)
    exact, gradients = _in_float64(norm, maps, seen, relu=False)
    torch.testing.assert_close(ours.double(), exact, rtol=0, atol=6e-4)
    torch.testing.assert_close(torch.autograd.grad(ours, maps, seen)[0].double(), gradients[0], rtol=0, atol=6e-4)


@needs_compiler
def test_running_statistics_are_kept_as_torch_keeps_them() -> None:
    ours, theirs = _norm(5), _norm(5)
    for _ in range(3):
        maps = _maps(2, 5, 4, 3)
        normalise(ours, maps, relu=True)
        theirs(maps)
    assert ours.num_batches_tracked == theirs.num_batches_tracked == 3
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.running_var, theirs.running_var)
    still = _maps(2, 5, 4, 3)
    torch.testing.assert_close(normalise(ours.eval(), still, relu=False), theirs.eval()(still))


@needs_compiler
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(2, 5, 40, 43), (1, 5, 1, 1)])
def test_after_training_what_was_kept_normalises(shape: tuple[int, ...], dtype: torch.dtype, relu: bool) -> None:
    maps, norm = _maps(*shape, dtype=dtype), _norm(5).eval()
    assert norm.running_var is not None
    norm.running_var.copy_(torch.tensor([1.0, 4.0, 0.5, 9.0, 2.0]))
    before = {name: kept.clone() for name, kept in norm.state_dict().items()}
    with torch.no_grad():
        assert batch_norm._takes(norm, maps)
        ours = normalise(norm, maps, relu=relu)
    exact = (maps.double() - 3) / (norm.running_var.double().view(1, -1, 1, 1) + norm.eps).sqrt()
    exact = exact * norm.weight.double().view(1, -1, 1, 1) + norm.bias.double().view(1, -1, 1, 1)
    exact = (exact.clamp_min(0) if relu else exact).to(dtype)
    assert ours.dtype == dtype
    torch.testing.assert_close(ours, exact, rtol=1e-5 if dtype == torch.float32 else 0.01, atol=1e-5)
    assert all(torch.equal(kept, before[name]) for name, kept in norm.state_dict().items())


@needs_compiler
def test_the_number_of_threads_does_not_change_a_bit() -> None:
    maps, seen = _maps(3, 20, 70, 71, dtype=torch.bfloat16), torch.randn(3, 20, 70, 71).bfloat16()
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            norm = _norm(20)
            normalised = normalise(norm, maps, relu=True)
            found.append((normalised, *torch.autograd.grad(normalised, (maps, norm.weight, norm.bias), seen)))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, other) for again in found[1:] for one, other in zip(again, found[0], strict=True))


@needs_compiler
def test_a_second_derivative_is_that_of_torch() -> None:
    def squared_slope(relu: bool) -> Tensor:
        maps, norm = _maps(2, 3, 4, 5), _norm(3)
        (slope,) = torch.autograd.grad((normalise(norm, maps, relu=relu) + 1).pow(3).sum(), maps, create_graph=True)
        return torch.autograd.grad(slope.square().sum(), maps)[0]

    for relu in (False, True):
        torch.manual_seed(11)
        ours = squared_slope(relu)
        torch.manual_seed(11)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(batch_norm, "_library", lambda: None)
            torch.testing.assert_close(ours, squared_slope(relu), rtol=1e-4, atol=1e-5 * float(ours.abs().max()))


def _that_forgets(norm: nn.BatchNorm2d) -> nn.BatchNorm2d:
    norm.track_running_stats = False  # though it has running statistics
    return norm


def _with_every_second_weight(norm: nn.BatchNorm2d) -> nn.BatchNorm2d:
    norm.weight = nn.Parameter(torch.tensor([0.5, 9.0, -2.0, 9.0, 1.5, 9.0])[::2])
    return norm


@needs_compiler
def test_a_frozen_layer_has_second_derivatives_by_what_is_not_frozen() -> None:
    maps, norm = _maps(2, 3, 4, 5).detach(), _norm(3)
    norm.bias.requires_grad_(False)
    (slope,) = torch.autograd.grad(normalise(norm, maps, relu=False).pow(2).sum(), norm.weight, create_graph=True)
    (bend,) = torch.autograd.grad(slope.sum(), norm.weight)
    d = maps.double() - maps.double().mean((0, 2, 3), keepdim=True)
    normalised = d / (d.square().mean((0, 2, 3), keepdim=True) + norm.eps).sqrt()
    torch.testing.assert_close(bend.double(), 2 * normalised.square().sum((0, 2, 3)), rtol=1e-4, atol=0)


@needs_compiler
@pytest.mark.parametrize(
    "changed",
    [
        lambda norm, maps: (norm.eval(), maps),  # and a gradient is wanted
        lambda norm, maps: (nn.BatchNorm2d(3, affine=False), maps),
        lambda norm, maps: (nn.BatchNorm2d(3, momentum=None), maps),
        lambda norm, maps: (nn.BatchNorm2d(3, track_running_stats=False), maps),
        lambda norm, maps: (norm, maps.detach().contiguous()),  # pixels side by side
        lambda norm, maps: (norm.double(), maps.detach().double()),
        lambda norm, maps: (norm.bfloat16(), maps.detach().bfloat16()),
        lambda norm, maps: (with_pooled_norms(norm, torch.device("cpu")).eval(), maps),
        lambda norm, maps: (_that_forgets(norm), maps),
        lambda norm, maps: (_with_every_second_weight(norm), maps),
        lambda norm, maps: (nn.InstanceNorm2d(3), maps),
        lambda norm, maps: (Twice(3), maps),
    ],
)
def test_all_else_is_left_to_the_layer_itself(changed) -> None:
    norm, maps = changed(_norm(3), _maps(2, 3, 4, 5))
    assert not (isinstance(norm, nn.BatchNorm2d) and batch_norm._takes(norm, maps))
    torch.testing.assert_close(normalise(norm, maps, relu=True), F.relu(norm(maps)))


def test_one_pixel_per_channel_is_refused_in_torchs_words() -> None:
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        normalise(nn.BatchNorm2d(3), _maps(1, 3, 1, 1), relu=True)


def _chain() -> NormalisedConvolutions:
    torch.manual_seed(5)
    layers = [(nn.Conv2d(c, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(inplace=True)) for c in (2, 4)]
    return NormalisedConvolutions(*(layer for three in layers for layer in three))


@needs_compiler
def test_layers_in_a_row_are_those_of_a_sequence_of_torchs() -> None:
    ours, theirs = _chain(), nn.Sequential(*_chain())
    maps = _maps(2, 2, 9, 9)
    first, second = ours(maps), theirs(maps)
    torch.testing.assert_close(first, second)
    seen = torch.randn(first.shape)
    for one, other in zip(
        torch.autograd.grad(first, [*ours.parameters()], seen),
        torch.autograd.grad(second, [*theirs.parameters()], seen),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert list(ours.state_dict()) == list(theirs.state_dict())


def test_without_a_compiler_torch_does_it(by_torch: None) -> None:
    ours, theirs = _chain(), nn.Sequential(*_chain())
    maps = _maps(2, 2, 9, 9)
    torch.testing.assert_close(ours(maps), theirs(maps))


@needs_compiler
def test_norms_that_take_the_place_of_ours_are_used_and_the_relu_stays() -> None:
    """Where several processes train one network, each norm gives way to one that pools over all."""
    pooled = with_pooled_norms(_chain().eval(), torch.device("cpu"))
    maps = _maps(2, 2, 9, 9)
    torch.testing.assert_close(pooled(maps), _chain().eval()(maps))
    assert float(pooled(maps).detach().min()) >= 0


@needs_compiler
def test_a_library_that_normalises_wrong_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    mistakes = {
        "- d * by_d[l]": "+ d * by_d[l]",
        "+ bias[l];": ";",
        "of_gd[l] += g * d": "of_gd[l] += g",
    }
    check_refused(batch_norm, mistakes, monkeypatch=monkeypatch, folder=tmp_path)


@needs_compiler
def test_at_zero_relu_lets_nothing_through() -> None:
    norm, maps = nn.BatchNorm2d(3), _maps(2, 3, 4, 5)
    nn.init.zeros_(norm.weight)  # as residual branches may start
    normalise(norm, maps, relu=True).sum().backward()
    assert norm.bias.grad.tolist() == [0, 0, 0]
    assert norm.weight.grad.tolist() == [0, 0, 0]

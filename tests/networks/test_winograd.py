"""Convolution with a quarter of the multiplications: a few pixels by hand, and the sum itself in float64."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steelyard.networks import winograd as module
from steelyard.networks.aspp import convolve as atrous
from steelyard.networks.batch_norm import NormalisedConvolutions, convolve_normalised
from steelyard.networks.convolution import Convolution3x3, conv2d
from steelyard.networks.joined_maps import convolve_joined
from steelyard.networks.winograd import convolve, takes
from wrong_library import check_refused

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler is here")
WITHIN = 3e-5  # of the largest number


@pytest.fixture(autouse=True)
def _with_avx2(monkeypatch: pytest.MonkeyPatch) -> None:
    """On any processor: the C code is right on all, it has been measured on one."""
    torch.manual_seed(5)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of maps that were convolved here."""
    shapes: list[tuple[int, ...]] = []

    def noted(maps: Tensor, *given: Tensor, **how) -> Tensor:
        shapes.append(tuple(maps.shape))
        return convolve(maps, *given, **how)

    monkeypatch.setattr(module, "convolve", noted)
    return shapes


def _maps(*shape: int) -> Tensor:
    return torch.randn(shape).contiguous(memory_format=torch.channels_last)


def _summed(maps: Tensor, weight: Tensor, dilation: int) -> Tensor:
    """Pixel by pixel, as the definition says, in float64."""
    images, _, height, width = maps.shape
    found = torch.zeros(images, len(weight), height, width, dtype=torch.float64)
    for y, x, r, q in itertools.product(range(height), range(width), range(3), range(3)):
        row, column = y + (r - 1) * dilation, x + (q - 1) * dilation
        if 0 <= row < height and 0 <= column < width:
            found[:, :, y, x] += maps[:, :, row, column].double() @ weight[:, :, r, q].double().T
    return found


def _near(found: Tensor, wanted: Tensor) -> bool:
    return found.shape == wanted.shape and bool((found - wanted).abs().max() <= WITHIN * wanted.abs().max())


@needs_compiler
def test_a_corner_by_hand() -> None:
    """Kernel rows 1 2 3, 4 5 6, 7 8 9 at the upper left corner of pixels 1 and 10 above 100 and 1000."""
    maps, weight = torch.zeros(1, 8, 2, 2), torch.zeros(16, 8, 3, 3)
    maps[0, 5], weight[11, 5] = torch.tensor([[1.0, 10.0], [100.0, 1000.0]]), torch.arange(1.0, 10.0).view(3, 3)
    found = convolve(
        maps.contiguous(memory_format=torch.channels_last), weight, dilation=1, scale=None, shift=None, relu=False
    )
    by_hand = [[5 + 60 + 800 + 9000, 4 + 50 + 700 + 8000], [2 + 30 + 500 + 6000, 1 + 20 + 400 + 5000]]
    torch.testing.assert_close(found[0, 11], torch.tensor(by_hand, dtype=torch.float32), rtol=1e-5, atol=0)
    assert float(found[0, [*range(11), *range(12, 16)]].abs().max()) == 0


@needs_compiler
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(
    ("size", "dilation"),
    [
        ((4, 4), 1),
        ((8, 12), 1),
        ((5, 7), 1),
        ((1, 1), 1),
        ((3, 18), 1),
        ((8, 8), 2),
        ((9, 15), 2),  # grids of unequal size
        ((7, 5), 3),
        ((4, 5), 9),  # every pixel is a grid
        ((30, 33), 1),  # more tiles than a block holds
    ],
    ids=str,
)
def test_it_is_the_sum_over_pixels(size: tuple[int, int], dilation: int, threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for images, channels, width in ((1, 8, 16), (3, 24, 48)):
            maps, weight = _maps(images, channels, *size), torch.randn(width, channels, 3, 3)
            found = convolve(maps, weight, dilation=dilation, scale=None, shift=None, relu=False)
            assert found.is_contiguous(memory_format=torch.channels_last)
            assert _near(found, _summed(maps, weight, dilation))
    finally:
        torch.set_num_threads(before)


@needs_compiler
def test_each_channel_is_scaled_then_shifted_then_cut_at_zero() -> None:
    maps, weight = _maps(2, 8, 6, 5), torch.randn(32, 8, 3, 3)
    scale, shift = torch.linspace(-2, 3, 32), torch.linspace(9, -4, 32)
    wanted = _summed(maps, weight, 1) * scale.view(-1, 1, 1) + shift.view(-1, 1, 1)
    assert _near(convolve(maps, weight, dilation=1, scale=scale, shift=shift, relu=False), wanted)
    assert _near(convolve(maps, weight, dilation=1, scale=scale, shift=shift, relu=True), wanted.clamp_min(0))


@needs_compiler
def test_no_bit_depends_on_threads_or_on_the_images_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    maps, weight = _maps(5, 24, 19, 23), torch.randn(32, 24, 3, 3)
    how = {"dilation": 1, "scale": None, "shift": None, "relu": False}
    found = []
    for threads in (1, 2, 3, 64):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        found.append(convolve(maps, weight, **how))
    found.append(torch.cat([convolve(one, weight, **how) for one in maps.split(2)]))
    assert all(torch.equal(one, found[0]) for one in found[1:])


@needs_compiler
def test_a_kernel_may_be_a_share_of_another_in_any_order() -> None:
    maps, whole = _maps(2, 16, 6, 5), torch.randn(16, 40, 3, 3)
    how = {"dilation": 1, "scale": None, "shift": None, "relu": False}
    wanted = _summed(maps, whole[:, 24:], 1)
    assert _near(convolve(maps, whole[:, 24:], **how), wanted)
    assert _near(convolve(maps, whole.contiguous(memory_format=torch.channels_last)[:, 24:], **how), wanted)


@needs_compiler
@pytest.mark.parametrize("broken", [float("inf"), float("nan")])
@pytest.mark.parametrize("relu", [False, True])
def test_what_is_not_finite_shows_and_stays_in_the_tiles_that_see_it(broken: float, relu: bool) -> None:
    maps, weight = _maps(1, 8, 12, 12), torch.randn(16, 8, 3, 3)
    maps[0, 3, 5, 6] = broken  # of the middle of three by three tiles
    found = convolve(maps, weight, dilation=1, scale=None, shift=None, relu=relu)
    assert found[..., 4:7, 5:8].isnan().all()
    found[..., 4:8, 4:8] = 0
    assert found.isfinite().all()


CONVOLVED = (2, 32, 24, 24), (16, 32, 3, 3)  # maps and a kernel of which all is as it should be


@needs_compiler
def test_it_takes_maps_of_which_autograd_is_to_see_nothing() -> None:
    maps, weight = _maps(*CONVOLVED[0]), torch.randn(CONVOLVED[1], requires_grad=True)
    with torch.inference_mode():
        assert takes(maps, weight, (1, 1), (1, 1), (1, 1))
        assert takes(maps, weight, (1, 1), (2, 2), (2, 2))
        assert not takes(maps, weight, (1, 1), (5, 5), (5, 5))  # five pixels of each grid, for tiles of eight
    assert not takes(maps, weight, (1, 1), (1, 1), (1, 1))


@needs_compiler
@pytest.mark.parametrize(
    "changed",
    [
        lambda maps, weight: (maps.double(), weight.double()),
        lambda maps, weight: (maps.contiguous(), weight),  # pixels side by side
        lambda maps, weight: (maps[:1], weight),  # 36 tiles
        lambda maps, weight: (_maps(2, 28, 24, 24), torch.randn(16, 28, 3, 3)),
        lambda maps, weight: (_maps(2, 36, 24, 24), torch.randn(16, 36, 3, 3)),
        lambda maps, weight: (_maps(2, 24, 24, 24), torch.randn(16, 24, 3, 3)),  # few channels
        lambda maps, weight: (maps, torch.randn(24, 32, 3, 3)),
        lambda maps, weight: (maps, torch.randn(16, 32, 5, 5)),
        lambda maps, weight: (maps, torch.randn(16, 16, 3, 3)),  # two groups
        lambda maps, weight: (maps[0], weight),
    ],
)
def test_all_else_is_left_to_torch(changed: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> None:
    with torch.inference_mode():
        assert not takes(*changed(_maps(*CONVOLVED[0]), torch.randn(CONVOLVED[1])), (1, 1), (1, 1), (1, 1))


@needs_compiler
@pytest.mark.parametrize(
    "how",
    [
        ((2, 2), (1, 1), (1, 1)),
        ((1, 1), (0, 0), (1, 1)),
        ((1, 1), "same", (1, 1)),
        ((1, 1), (1, 2), (1, 2)),
        ((1, 1), (1, 1), (2, 2)),
    ],
    ids=str,
)
def test_other_convolutions_are_left_to_torch(how) -> None:
    with torch.inference_mode():
        assert not takes(_maps(*CONVOLVED[0]), torch.randn(CONVOLVED[1]), *how)


@needs_compiler
def test_other_processors_and_shorter_numbers_are_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    given = _maps(*CONVOLVED[0]), torch.randn(CONVOLVED[1]), (1, 1), (1, 1), (1, 1)
    with torch.inference_mode():
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert not takes(*given)
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
        assert not takes(*given)


@needs_compiler
def test_a_layer_trains_and_predicts_by_it(asked: list[tuple[int, ...]]) -> None:
    """Gradients of the maps are a convolution too, by kernels turned round that go from 48 channels to 32."""
    maps, seen = _maps(2, 32, 24, 20).requires_grad_(), _maps(2, 48, 24, 20)
    layer = Convolution3x3(32, 48, dilation=2, bias=True)
    trained = layer(maps)
    assert asked == [(2, 32, 24, 20)]
    trained.backward(seen)
    assert asked[1:] == [(2, 48, 24, 20)]
    exact = [given.detach().double().requires_grad_() for given in (maps, layer.weight, layer.bias)]
    wanted = F.conv2d(*exact, padding=2, dilation=2)
    wanted.backward(seen.double())
    assert _near(trained.detach(), wanted.detach())
    for found, own in zip((maps, layer.weight, layer.bias), exact, strict=True):
        assert _near(found.grad, own.grad)
    with torch.no_grad():
        assert torch.equal(layer(maps), trained)


@needs_compiler
def test_gradients_that_come_back_in_another_layout_are_torchs(asked: list[tuple[int, ...]]) -> None:
    maps, layer = _maps(2, 32, 24, 24).requires_grad_(), Convolution3x3(32, 48)
    seen = _maps(2, 48, 24, 24).contiguous()
    layer(maps).backward(seen)
    assert len(asked) == 1
    exact = maps.detach().double().requires_grad_()
    F.conv2d(exact, layer.weight.double(), padding=1).backward(seen.double())
    assert _near(maps.grad, exact.grad)


@needs_compiler
def test_a_second_derivative_is_taken_of_the_sum_itself() -> None:
    layer, found = Convolution3x3(32, 48, bias=True), []
    maps, seen = _maps(2, 32, 24, 24), _maps(2, 48, 24, 24)
    for convolve_by in (layer, lambda given: F.conv2d(given, layer.weight, layer.bias, padding=1)):
        given = maps.clone(memory_format=torch.preserve_format).requires_grad_()
        (first,) = torch.autograd.grad((convolve_by(given).square() * seen).sum(), given, create_graph=True)
        found.append(torch.autograd.grad((first * maps).sum(), layer.weight)[0])
    assert _near(*found)


@needs_compiler
def test_a_dilated_layer_that_sees_padding_alone_is_torchs(asked: list[tuple[int, ...]]) -> None:
    maps, (layer, *_) = _maps(8, 32, 16, 16), atrous(32, 16, kernel=3, dilation=18)
    with torch.no_grad():
        torch.testing.assert_close(layer(maps), conv2d(maps, layer.weight[:, :, 1:2, 1:2]))
    assert not asked


def _norm(channels: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels, eps=0.01).eval()
    for own, first, last in ((norm.weight, -1, 2), (norm.bias, 5, -3), (norm.running_mean, -8, 20)):
        own.data.copy_(torch.linspace(first, last, channels))
    norm.running_var.copy_(torch.linspace(0.1, 300, channels))
    return norm


@needs_compiler
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_what_is_convolved_is_normalised_by_what_was_kept(bias: bool, relu: bool, asked: list) -> None:
    maps, layer, norm = _maps(*CONVOLVED[0]), Convolution3x3(32, 16, dilation=2, bias=bias), _norm(16)
    with torch.no_grad():
        found = convolve_normalised(layer, norm, maps, relu=relu)
        wanted = F.conv2d(maps.double(), layer.weight.double(), padding=2, dilation=2)
        wanted = wanted + (layer.bias.double().view(-1, 1, 1) if bias else 0)
        wanted = (wanted - norm.running_mean.view(-1, 1, 1)) / (norm.running_var.double().view(-1, 1, 1) + 0.01).sqrt()
        wanted = wanted * norm.weight.view(-1, 1, 1) + norm.bias.view(-1, 1, 1)
    assert asked == [(2, 32, 24, 24)]
    assert _near(found, wanted.clamp_min(0) if relu else wanted)


class Twice(nn.BatchNorm2d):
    """Somebody's own layer."""

    def forward(self, input: Tensor) -> Tensor:
        return 2 * super().forward(input)


@needs_compiler
@pytest.mark.parametrize(
    "norm",
    [
        nn.BatchNorm2d(16),  # of these very maps: it trains
        nn.BatchNorm2d(16, track_running_stats=False).eval(),
        nn.BatchNorm2d(16, affine=False).eval(),
        nn.InstanceNorm2d(16),
        Twice(16).eval(),
    ],
    ids=str,
)
def test_a_norm_of_another_kind_follows_the_convolution(norm: nn.Module, asked: list) -> None:
    maps, layer = _maps(*CONVOLVED[0]), Convolution3x3(32, 16)
    with torch.no_grad():
        wanted = F.relu(norm(F.conv2d(maps, layer.weight, padding=1)))
        assert _near(convolve_normalised(layer, norm, maps, relu=True), wanted)
    assert asked == [(2, 32, 24, 24)]


@needs_compiler
def test_a_convolution_padded_otherwise_stays_so() -> None:
    maps, norm = _maps(*CONVOLVED[0]), _norm(16)
    layer = nn.Conv2d(32, 16, 3, padding=1, padding_mode="reflect")
    with torch.no_grad():
        torch.testing.assert_close(convolve_normalised(layer, norm, maps, relu=False), norm(layer(maps)))


@needs_compiler
def test_joined_maps_are_normalised_once(asked: list) -> None:
    layers = NormalisedConvolutions(Convolution3x3(64, 16), _norm(16), nn.ReLU())
    first, second = _maps(*CONVOLVED[0]), _maps(*CONVOLVED[0])
    with torch.no_grad():
        found = layers(first, second)
        joined = torch.cat([first, second], dim=1)
        wanted = F.relu(layers[1](F.conv2d(joined, layers[0].weight, padding=1)))
    assert len(asked) == 2
    assert _near(found, wanted)


@needs_compiler
def test_joined_maps_train_by_it(asked: list) -> None:
    """What one part gives is added to in place."""
    layer, parts = Convolution3x3(64, 32), [_maps(2, 32, 24, 24).requires_grad_() for _ in range(2)]
    convolve_joined(layer, *parts).square().sum().backward()
    assert len(asked) == 4
    exact = [part.detach().double().requires_grad_() for part in parts]
    F.conv2d(torch.cat(exact, dim=1), layer.weight.double(), padding=1).square().sum().backward()
    assert all(_near(part.grad, own.grad) for part, own in zip(parts, exact, strict=True))


@needs_compiler
def test_a_library_that_convolves_wrong_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    mistakes = {
        "b + 8 * f": "b + 4 * f",
        "- 5 * d[2 * step]": "- 4 * d[2 * step]",
        "(even - odd) / -6": "(even + odd) / -6",
        "if (c->relu)": "if (0)",
    }
    check_refused(module, mistakes, monkeypatch=monkeypatch, folder=tmp_path)

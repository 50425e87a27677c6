"""The kernel's gradient in C: a few pixels by hand, and the sum itself in float64, for every way to convolve."""

from __future__ import annotations

import shutil

import pytest
import torch
from torch import Tensor

from steelyard.networks import kernel_gradient as module
from steelyard.networks.enlarge import Doubling
from steelyard.networks.kernel_gradient import kernel_gradient, takes
from wrong_library import check_refused

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler is here")


@pytest.fixture(autouse=True)
def _with_avx2(monkeypatch: pytest.MonkeyPatch) -> None:
    """On any processor: the C code is right on all, it is only not faster."""
    torch.manual_seed(5)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")


def _maps(*shape: int) -> Tensor:
    return torch.randn(shape).contiguous(memory_format=torch.channels_last)


def _summed(maps: Tensor, seen: Tensor, kernel: int, stride: int, padding: int, dilation: int) -> Tensor:
    """Pixel by pixel, as the definition says, in float64."""
    _, channels, height, width = maps.shape
    found = torch.zeros(seen.shape[1], channels, kernel, kernel, dtype=torch.float64)
    for y in range(seen.shape[2]):
        for x in range(seen.shape[3]):
            for r in range(kernel):
                for q in range(kernel):
                    row, column = y * stride + r * dilation - padding, x * stride + q * dilation - padding
                    if 0 <= row < height and 0 <= column < width:
                        there, here = maps[:, :, row, column].double(), seen[:, :, y, x].double()
                        found[:, :, r, q] += torch.einsum("no,ni->oi", here, there)
    return found


@needs_compiler
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(
    ("size", "how"),
    [
        ((5, 7), (3, 1, 1, 1)),
        ((9, 6), (3, 2, 1, 1)),
        ((8, 8), (2, 2, 0, 1)),
        ((7, 9), (3, 1, 2, 2)),
        ((7, 9), (3, 1, 6, 6)),  # but for the middle, only corners lie inside
        ((4, 5), (3, 1, 9, 9)),  # the middle alone
        ((11, 10), (5, 3, 1, 2)),
        ((3, 4), (1, 1, 0, 1)),
        ((2, 600), (3, 1, 1, 1)),  # a row is longer than a block
        ((60, 20), (3, 1, 1, 1)),  # an image is
        ((21, 40), (3, 2, 1, 1)),
        ((1, 1), (3, 1, 4, 1)),  # what comes out is larger than what goes in, and mostly padding
    ],
    ids=str,
)
def test_it_is_the_sum_over_pixels(size: tuple[int, int], how: tuple[int, int, int, int], threads: int) -> None:
    kernel, stride, padding, dilation = how
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for images, channels, width in ((1, 16, 1), (5, 32, 6), (3, 16, 13)):
            maps = _maps(images, channels, *size)
            out = [(n + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1 for n in size]
            seen = _maps(images, width, *out)
            found = kernel_gradient(maps, seen, kernel=kernel, stride=stride, padding=padding, dilation=dilation)
            wanted = _summed(maps, seen, *how)
            assert found.shape == wanted.shape
            assert float((found - wanted).abs().max()) < 2e-6 * float(wanted.abs().max())
    finally:
        torch.set_num_threads(before)


@needs_compiler
def test_no_bit_depends_on_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    maps, seen = _maps(3, 48, 19, 23), _maps(3, 20, 19, 23)
    found = []
    for threads in (1, 2, 3, 5, 64):  # 64: more than there are pairs of four tiles and nine places
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        found.append(kernel_gradient(maps, seen, kernel=3, stride=1, padding=1, dilation=1))
    assert all(torch.equal(one, found[0]) for one in found[1:])


@needs_compiler
def test_what_comes_back_may_lie_in_any_order() -> None:
    maps, seen = _maps(2, 16, 6, 5), torch.randn(2, 4, 6, 5)
    how = {"kernel": 3, "stride": 1, "padding": 1, "dilation": 1}
    wanted = kernel_gradient(maps, seen.contiguous(memory_format=torch.channels_last), **how)
    assert torch.equal(kernel_gradient(maps, seen, **how), wanted)
    spread = seen[:, :1].expand(2, 4, 6, 5)  # the same for each channel, as of a sum
    torch.testing.assert_close(kernel_gradient(maps, spread, **how), wanted[:1].expand(4, -1, -1, -1))


@needs_compiler
@pytest.mark.parametrize("changed", [float("inf"), float("nan")])
def test_what_is_not_finite_shows(changed: float) -> None:
    maps, seen = _maps(1, 16, 6, 5), _maps(1, 7, 6, 5)
    seen[0, 3, 2, 2] = changed
    found = kernel_gradient(maps, seen, kernel=3, stride=1, padding=1, dilation=1)
    assert not found[3].isfinite().any()
    assert found[[0, 1, 2, 4, 5, 6]].isfinite().all()


@needs_compiler
@pytest.mark.parametrize("width", [16, 32])
def test_a_doubling_s_weights_get_theirs_by_changing_places(width: int) -> None:
    layer, maps = Doubling(5, width), _maps(2, 5, 4, 7).requires_grad_()
    seen = _maps(2, width, 8, 14)
    assert takes(seen)
    given = (maps, *layer.parameters())
    found = torch.autograd.grad(layer(maps), given, seen)
    exact = torch.nn.functional.conv_transpose2d(*(t.double() for t in given), stride=2)
    wanted = torch.autograd.grad(exact, given, seen.double())
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@needs_compiler
def test_all_else_is_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    maps = _maps(2, 16, 4, 5)
    assert takes(maps)
    assert not takes(maps.double())
    assert not takes(maps.bfloat16())
    assert not takes(maps.contiguous())
    assert not takes(_maps(2, 24, 4, 5))
    assert not takes(maps.to("meta"))
    with monkeypatch.context() as without:
        without.setattr(module, "_library", lambda: None)
        assert not takes(maps)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    assert not takes(maps)


@needs_compiler
def test_a_library_that_sums_wrong_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    mistakes = {"sums[o][0] += s[o] * low": "sums[o][0] -= s[o] * low", "place % c->kernel": "0"}
    check_refused(module, mistakes, monkeypatch=monkeypatch, folder=tmp_path)

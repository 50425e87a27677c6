"""Counts straight from logits: the plain formula's in float64, by every road, on every layout and at every extreme."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from steelyard.confusion import Confusion
from steelyard.losses import native_counts, torch_counts
from steelyard.losses.fused_counts import totals_of_logits
from steelyard.losses.soft_counts import counts_of, probabilities_of, soft_counts
from steelyard.losses.tversky import IoULoss
from warm_process import run_warm

COUNTS = ("tp", "fp", "fn", "tn")
needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler is here")


@pytest.fixture(params=["native", "native, keeping", "torch"])
def road(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """All ways to count; the native ones only where a compiler is, whatever this processor would choose."""
    if request.param == "torch":
        monkeypatch.setattr(native_counts, "_library", lambda: None)
    elif shutil.which("cc") is None:
        pytest.skip("no C compiler is here")
    else:
        keeps = request.param == "native, keeping"
        monkeypatch.setattr(native_counts, "room", lambda logits: (torch.empty_like(logits),) if keeps else ())
    return request.param


def fused(logits: Tensor, target: Tensor) -> Confusion:
    """By sample and class."""
    return counts_of(totals_of_logits(logits, target, pooled=False))


def plain(logits: Tensor, target: Tensor) -> Confusion:
    """By the formula alone, in float64."""
    return soft_counts(probabilities_of(logits.double()), target)


def mixed(counts: Confusion) -> Tensor:
    """One number on which every count has another influence, per sample and class.

    Roots: samples that differed by a constant alone would have the same gradient.
    """
    weights = torch.arange(1.0, counts.tp.numel() + 1, dtype=counts.tp.dtype).sqrt().reshape(counts.tp.shape)
    return (weights * (3 * counts.tp - 2 * counts.fp + 0.5 * counts.fn + 0.1 * counts.tn)).sum()


def gradients(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Ours, and the plain formula's in float64."""
    ours, exact = logits.detach().clone().requires_grad_(), logits.detach().double().requires_grad_()
    mixed(fused(ours, target)).backward()
    mixed(plain(exact, target)).backward()
    assert ours.grad is not None
    assert exact.grad is not None
    return ours.grad, exact.grad


# (batch, classes, space): odd numbers of pixels, less than a block, more than a block, more than a piece, many classes;
# a multiple of every vector's length
SHAPES = [(2, 3, 7), (1, 2, 1), (3, 5, 33, 31), (2, 4, 5, 6, 41), (2, 3, 257, 263), (1, 105, 11, 13), (2, 3, 16, 24)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_counts_and_gradient_are_those_of_the_plain_formula(road: str, shape: tuple[int, ...]):
    torch.manual_seed(3)
    logits, target = 3 * torch.randn(shape), torch.randint(0, shape[1], (shape[0], *shape[2:]))
    assert native_counts.takes(logits, target) == (road != "torch")
    ours, exact = fused(logits, target), plain(logits, target)
    for count in COUNTS:
        torch.testing.assert_close(getattr(ours, count).double(), getattr(exact, count), rtol=2e-6, atol=1e-4)
    grad, exact_grad = gradients(logits, target)
    torch.testing.assert_close(grad.double(), exact_grad, rtol=1e-5, atol=1e-6 * float(exact_grad.abs().max()))


@pytest.mark.parametrize("shape", [(5, 3, 7), (2, 3, 33, 31), (4, 70, 2)], ids=str)
def test_pieces_of_a_few_samples_or_of_a_part_of_one_are_added_up(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...]
):
    """Of 64 probabilities: 21 pixels of 3 classes, which are 3 samples of 7 pixels; of 70 classes one pixel."""
    monkeypatch.setattr(native_counts, "_library", lambda: None)
    monkeypatch.setattr(torch_counts, "PIECE", 64)
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(shape, generator=generator)
    target = torch.randint(0, shape[1], (shape[0], *shape[2:]), generator=generator)
    counts, exact = fused(logits, target), plain(logits, target)
    for name in COUNTS:
        torch.testing.assert_close(getattr(counts, name).double(), getattr(exact, name), rtol=1e-5, atol=1e-5)
    ours, theirs = gradients(logits, target)
    torch.testing.assert_close(ours.double(), theirs, rtol=1e-5, atol=1e-6 * float(theirs.abs().max()))


def test_pooled_over_the_batch_is_the_sum_of_its_samples(road: str):
    torch.manual_seed(8)
    logits, target = torch.randn(3, 4, 41), torch.randint(0, 4, (3, 41))
    leaves = logits.clone().requires_grad_(), logits.double().requires_grad_()
    pooled = counts_of(totals_of_logits(leaves[0], target, pooled=True))
    exact = plain(leaves[1], target).over_cases()
    for count in COUNTS:
        torch.testing.assert_close(getattr(pooled, count).double(), getattr(exact, count), rtol=2e-6, atol=1e-4)
    mixed(pooled).backward()
    mixed(exact).backward()
    torch.testing.assert_close(leaves[0].grad.double(), leaves[1].grad, rtol=1e-5, atol=1e-5)


def test_a_second_derivative_is_the_plain_formulas(road: str):
    torch.manual_seed(7)
    logits, target = torch.randn(2, 3, 50), torch.randint(0, 3, (2, 50))
    found = []
    for leaf, counts in ((logits.clone(), fused), (logits.double(), plain)):
        leaf.requires_grad_()
        loss = 1 / (1 + mixed(counts(leaf, target)) ** 2)
        (first,) = torch.autograd.grad(loss, leaf, create_graph=True)
        found.append(torch.autograd.grad((first * leaf).sum(), leaf)[0].double())
    torch.testing.assert_close(found[0], found[1], rtol=1e-3, atol=1e-4 * float(found[1].abs().max()))


def test_a_gradient_asked_for_twice_is_the_same_twice(road: str):
    """A road may use up what it kept for the first; the caller keeps the first as it was."""
    torch.manual_seed(9)
    leaf, target = torch.randn(2, 3, 50, requires_grad=True), torch.randint(0, 3, (2, 50))
    loss = mixed(fused(leaf, target))
    (first,) = torch.autograd.grad(loss, leaf, retain_graph=True)
    then = first.clone()
    (second,) = torch.autograd.grad(2 * loss, leaf, retain_graph=True)
    assert torch.equal(first, then)
    torch.testing.assert_close(second, 2 * then)
    _, exact = gradients(leaf, target)
    torch.testing.assert_close(then.double(), exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", [torch.uint8, torch.int32, torch.int64, torch.int16])
def test_labels_of_every_integer_type_are_read_alike(road: str, kind: torch.dtype):
    logits, target = torch.randn(2, 3, 700), torch.randint(0, 3, (2, 700))
    for count in COUNTS:
        torch.testing.assert_close(
            getattr(fused(logits, target.to(kind)), count),
            getattr(fused(logits, target), count),
            rtol=2e-6,
            atol=1e-4,
        )


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float64])
def test_other_floats_are_counted_in_float32_or_better_and_get_a_gradient_of_their_own_kind(
    road: str, kind: torch.dtype
):
    logits, target = torch.randn(2, 3, 9, 11).to(kind), torch.randint(0, 3, (2, 9, 11))
    counts = fused(logits, target)
    assert counts.tp.dtype == torch.float64
    torch.testing.assert_close(counts.tp.double(), plain(logits, target).tp, rtol=2e-6, atol=1e-6)
    grad, exact = gradients(logits, target)
    assert grad.dtype == kind
    close = {"rtol": 1e-2, "atol": 1e-2} if kind != torch.float64 else {"rtol": 1e-12, "atol": 1e-12}
    torch.testing.assert_close(grad.double(), exact, **close)


def test_every_layout_in_memory_gives_the_same_numbers(road: str):
    torch.manual_seed(4)
    planes, target = torch.randn(2, 4, 19, 23), torch.randint(0, 4, (2, 19, 23))
    pixels = planes.to(memory_format=torch.channels_last)
    part = torch.randn(2, 4, 19, 40)[..., 5:28].copy_(planes)  # neither by class nor by pixel
    turned = target.mT.contiguous().mT
    expected, wanted_gradient = fused(planes, target), gradients(planes, target)[0]
    for logits, labels in ((pixels, target), (part, target), (planes, turned), (pixels, turned)):
        for count in COUNTS:
            torch.testing.assert_close(
                getattr(fused(logits, labels), count), getattr(expected, count), rtol=2e-6, atol=1e-4
            )
        leaf = logits.detach().requires_grad_()
        mixed(fused(leaf, labels)).backward()
        torch.testing.assert_close(leaf.grad, wanted_gradient)


def test_sure_hopeless_and_infinite_logits_are_counted(road: str):
    """Columns: sure of 0, sure of 1 by far more than exp holds, undecided, class 2 forbidden."""
    logits = torch.tensor([[[200.0, -3e38, 7.0, 0.0], [-200.0, 3e38, 7.0, 0.0], [0.0, 0.0, 7.0, -torch.inf]]])
    counts = fused(logits, torch.tensor([[0, 1, 2, 1]]))
    third, half = 1 / 3, 0.5
    for count, by_hand in (
        (counts.tp, [1, 1 + half, third]),
        (counts.fp, [third + half, third, 0]),
        (counts.fn, [0, half, 1 - third]),
    ):
        torch.testing.assert_close(count, torch.tensor([by_hand], dtype=torch.float64), rtol=1e-6, atol=1e-6)


def test_a_network_that_diverged_gives_nan_and_no_number(road: str):
    for strange in (torch.nan, torch.inf):
        logits = torch.zeros(1, 2, 600)
        logits[0, 1, 555] = strange
        assert fused(logits, torch.ones(1, 600, dtype=torch.long)).tp.isnan().any()
        assert IoULoss()(logits, torch.ones(1, 600, dtype=torch.long)).isnan()


@pytest.mark.parametrize("label", [3, -1, -100, 2**32 + 1])
def test_a_label_that_no_class_has_is_refused(road: str, label: int):
    target = torch.zeros(2, 900, dtype=torch.long)
    target[1, 777] = label
    with pytest.raises(ValueError, match="class indices from 0 to 2"):
        fused(torch.zeros(2, 3, 900), target)


def test_one_wrong_label_among_twenty_million_is_refused():
    """float32 holds no whole numbers beyond 16.8 million: a sum in it could round the label away."""
    pixels = 20_000_001
    target = torch.zeros(1, pixels, dtype=torch.uint8)
    target[0, 12_345_678] = 2
    with pytest.raises(ValueError, match="class indices from 0 to 1"):
        fused(torch.zeros(1, 2, pixels), target)


def test_an_absent_class_has_no_reference_voxel_at_all(road: str):
    torch.manual_seed(5)
    counts = fused(torch.randn(1, 3, 70_000), torch.randint(0, 2, (1, 70_000)))
    assert float(counts.reference_size[0, 2]) == 0  # exactly, or "absent" would not be seen


def test_seventeen_million_pixels_are_summed_without_loss(road: str):
    side = 4160
    logits = torch.tensor([0.3, 0.7]).log()[None, :, None].expand(1, 2, side * side).contiguous()
    counts = fused(logits, torch.zeros(1, side * side, dtype=torch.uint8))
    assert float(counts.tp[0, 0]) == pytest.approx(0.3 * side**2, rel=1e-6)
    assert float(counts.fp[0, 1]) == pytest.approx(0.7 * side**2, rel=1e-6)


@pytest.mark.parametrize("keeps", [0, 1])
def test_room_is_made_for_planes_where_the_processor_gains_by_it(monkeypatch: pytest.MonkeyPatch, keeps: int):
    monkeypatch.setattr(native_counts, "_library", lambda: SimpleNamespace(soft_counts_keeps=lambda: keeps))
    planes = torch.zeros(2, 3, 5, 7)
    assert [tuple(room.shape) for room in native_counts.room(planes)] == [(2, 3, 5, 7)] * keeps
    assert native_counts.room(planes.to(memory_format=torch.channels_last)) == ()


@needs_compiler
def test_the_number_of_threads_changes_no_bit():
    torch.manual_seed(6)
    logits, target = torch.randn(3, 5, 300, 300), torch.randint(0, 5, (3, 300, 300))
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            leaf = logits.clone().requires_grad_()
            loss = IoULoss(fp_weight=0.5, fn_weight=1.5)(leaf, target)
            loss.backward()
            found.append((loss.detach(), leaf.grad))
    finally:
        torch.set_num_threads(before)
    for loss, grad in found[1:]:
        assert torch.equal(loss, found[0][0])
        assert torch.equal(grad, found[0][1])  # type: ignore[arg-type]


@pytest.fixture
def anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[pytest.MonkeyPatch]:
    """Looks for a compiler again, with an empty cache, and forgets what it found afterwards."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    native_counts._library.cache_clear()
    yield monkeypatch
    native_counts._library.cache_clear()


@needs_compiler
@pytest.mark.parametrize("unknown", ["-fopenmp", "-march=native"])
def test_a_compiler_without_openmp_or_the_processors_own_vectors_counts_all_the_same(
    anew: pytest.MonkeyPatch, tmp_path: Path, unknown: str
):
    compiler = tmp_path / "bin" / "cc"
    compiler.parent.mkdir()
    compiler.write_text(f'#!/bin/sh\ncase " $* " in *" {unknown} "*) exit 1;; esac\nexec {shutil.which("cc")} "$@"\n')
    compiler.chmod(0o755)
    anew.setenv("PATH", f"{compiler.parent}:/usr/bin:/bin")
    assert native_counts._library() is not None
    logits, target = 3 * torch.randn(2, 5, 71_003), torch.randint(0, 5, (2, 71_003))
    torch.testing.assert_close(fused(logits, target).tp, plain(logits, target).tp, rtol=2e-6, atol=1e-4)
    grad, exact = gradients(logits, target)
    torch.testing.assert_close(grad.double(), exact, rtol=1e-5, atol=1e-6 * float(exact.abs().max()))


@needs_compiler
def test_a_library_that_miscounts_is_not_used(anew: pytest.MonkeyPatch, tmp_path: Path):
    wrong = tmp_path / "wrong.c"
    text = native_counts.SOURCE.read_text()
    assert "all += p;" in text
    wrong.write_text(text.replace("all += p;", "all += p + 1e-3f;"))
    anew.setattr(native_counts, "SOURCE", wrong)
    assert native_counts._library() is None


COMPILED = """
import torch
from steelyard.losses import IoULoss
logits, target = torch.randn(2, 3, 40), torch.randint(0, 3, (2, 40))
loss = IoULoss(fp_weight=0.5, fn_weight=1.5)
torch.testing.assert_close(torch.compile(loss, backend="eager", fullgraph=True)(logits, target), loss(logits, target))
"""


def test_a_compiled_loss_is_the_loss():
    """torch.compile traces the plain formula; in a process of its own, since checked shapes would break the trace."""
    done = run_warm(COMPILED, timeout=300)
    assert done.returncode == 0, done.stderr

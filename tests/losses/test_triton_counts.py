"""The GPU's kernels count and derive as the plain formula does: on a GPU, or else in Triton's interpreter."""

from __future__ import annotations

import importlib
import subprocess
import sys
from types import ModuleType

import pytest
import torch
from torch import Tensor

from steelyard.losses import torch_counts
from steelyard.losses.fused_counts import totals_of_logits
from steelyard.losses.soft_counts import counts_of
from steelyard.losses.tversky import IoULoss

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is here")
# (batch, classes, space): less than a block, odd sizes, several programs, two classes, classes that fill no power of 2,
# full blocks
SHAPES = [(2, 3, 7), (1, 2, 1), (3, 5, 33, 31), (2, 4, 5, 6, 41), (1, 105, 11, 13), (1, 200, 19), (1, 8, 67, 71)]
SHAPES += [(2, 3, 16, 32), (1, 105, 8, 8)]


@pytest.fixture(scope="module", params=["cuda", "interpreter"])
def kernels(request: pytest.FixtureRequest) -> tuple[ModuleType, torch.device]:
    """The module, and the device that its kernels work on."""
    if request.param == "cuda":
        if not torch.cuda.is_available():
            pytest.skip("no GPU is here")
        return importlib.import_module("steelyard.losses.triton_counts"), torch.device("cuda")
    if torch.cuda.is_available():
        pytest.skip("a GPU is here: its kernels are tried themselves")
    pytest.importorskip("triton", reason="Triton is not installed")
    return importlib.import_module("steelyard.losses.triton_counts"), torch.device("cpu")  # see conftest


def inputs(shape: tuple[int, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    torch.manual_seed(sum(shape))
    logits, target = 3 * torch.randn(shape), torch.randint(0, shape[1], (shape[0], *shape[2:]))
    return logits.to(device), target.to(device)


def layouts(logits: Tensor) -> list[Tensor]:
    """By class and by pixel."""
    return [logits, logits.movedim(1, -1).contiguous().movedim(-1, 1)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_counts_are_those_of_float64(kernels, shape: tuple[int, ...]):
    module, device = kernels
    logits, target = inputs(shape, device)
    exact = torch_counts.count(logits.double(), target).sum(2)
    for given in layouts(logits):
        sums = module.count(given, target).sum(2, dtype=torch.float64)
        torch.testing.assert_close(sums, exact, rtol=2e-6, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradients_are_those_of_float64(kernels, shape: tuple[int, ...]):
    module, device = kernels
    logits, target = inputs(shape, device)
    by_tp, by_prediction = torch.randn(2, *shape[:2], device=device)
    exact = torch_counts.gradient(logits.double(), target, by_tp.double(), by_prediction.double())
    for given in layouts(logits):
        found = module.gradient(given, target, by_tp, by_prediction)
        assert found.stride() == given.stride()
        torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=2e-6)


def test_a_derivative_shared_by_all_samples_need_not_be_spelled_out(kernels):
    module, device = kernels
    logits, target = inputs((3, 5, 40), device)
    by_tp, by_prediction = torch.randn(2, 5, device=device)
    shared = module.gradient(logits, target, by_tp.expand(3, 5), by_prediction.expand(3, 5))
    copied = module.gradient(logits, target, by_tp.repeat(3, 1), by_prediction.repeat(3, 1))
    assert torch.equal(shared, copied)
    assert not torch.equal(shared, torch.zeros_like(shared))


def test_the_two_derivatives_may_lie_in_memory_unlike_each_other(kernels):
    module, device = kernels
    logits, target = inputs((3, 5, 40), device)
    by_tp, by_prediction = torch.randn(5, device=device), torch.randn(3, 5, device=device)
    mixed = module.gradient(logits, target, by_tp.expand(3, 5), by_prediction)
    assert torch.equal(mixed, module.gradient(logits, target, by_tp.repeat(3, 1), by_prediction))
    assert not torch.equal(mixed[0], mixed[1])


def test_one_program_may_go_through_many_blocks(kernels, monkeypatch: pytest.MonkeyPatch):
    module, device = kernels
    logits, target = inputs((2, 5, 1000), device)
    monkeypatch.setattr(module, "PROGRAMS", 4)
    sums = module.count(logits, target)
    assert sums.shape == (3, 2, 2, 5)
    exact = torch_counts.count(logits.double(), target).sum(2)
    torch.testing.assert_close(sums.sum(2, dtype=torch.float64), exact, rtol=2e-6, atol=1e-5)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_short_floats_are_read_as_they_are_and_get_a_gradient_of_their_kind(kernels, kind: torch.dtype):
    module, device = kernels
    logits, target = inputs((2, 5, 300), device)
    logits = logits.to(kind)
    exact = torch_counts.count(logits.double(), target).sum(2)
    torch.testing.assert_close(module.count(logits, target).sum(2).double(), exact, rtol=2e-6, atol=1e-5)
    by_tp, by_prediction = torch.randn(2, 2, 5, device=device)
    found = module.gradient(logits, target, by_tp, by_prediction)
    assert found.dtype == kind
    exact = torch_counts.gradient(logits.double(), target, by_tp.double(), by_prediction.double())
    torch.testing.assert_close(found.double(), exact, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("kind", [torch.uint8, torch.int16, torch.int32])
def test_labels_of_every_integer_type_are_read_alike(kernels, kind: torch.dtype):
    module, device = kernels
    logits, target = inputs((2, 3, 700), device)
    assert torch.equal(module.count(logits, target.to(kind)), module.count(logits, target))


def test_logits_beyond_what_exp_can_hold_give_probabilities_of_one_and_nothing(kernels):
    module, device = kernels
    logits = torch.tensor([[[1e4, -1e4, 200.0], [-1e4, 1e4, 100.0]]], device=device)
    target = torch.tensor([[0, 0, 1]], device=device)
    tp, prediction, reference = module.count(logits, target).sum((1, 2)).tolist()
    assert tp == pytest.approx([1, 0])
    assert prediction == pytest.approx([2, 1])
    assert reference == [2, 1]


def test_a_class_of_probability_zero_by_minus_infinity_is_nothing(kernels):
    module, device = kernels
    logits = torch.tensor([[[0.0, 0.0], [-torch.inf, 0.0]]], device=device)
    sums = module.count(logits, torch.tensor([[0, 1]], device=device)).sum((1, 2)).tolist()
    assert sums == [[1, 0.5], [1.5, 0.5], [1, 1]]


def test_what_is_not_taken_is_told(kernels):
    module, device = kernels
    logits, target = inputs((2, 3, 8, 9), device)
    assert module._steps(logits) == (72, 1)
    assert module._steps(layouts(logits)[1]) == (1, 3)
    assert module._steps(logits.transpose(2, 3)) is None
    if device.type == "cuda":
        assert module.takes(logits, target)
        assert not module.takes(logits.double(), target)
        assert not module.takes(logits.transpose(2, 3), target.transpose(1, 2))
        assert not module.takes(torch.zeros(1, 300, 4, device=device), target)
    assert not module.takes(logits.cpu(), target.cpu())


@needs_gpu
def test_on_a_gpu_the_loss_takes_the_kernels_and_agrees_with_the_processor():
    found = []
    for device in ("cpu", "cuda"):
        logits, target = inputs((3, 5, 65, 67), torch.device(device))
        logits.requires_grad_()
        value = IoULoss(fp_weight=0.5, fn_weight=[1.5, 1, 2, 1, 1])(logits, target)
        value.backward()
        found.append((value.detach().cpu(), logits.grad.cpu()))
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-8)


@needs_gpu
def test_on_a_gpu_a_second_derivative_is_the_processors():
    found = []
    for device in ("cpu", "cuda"):
        logits, target = inputs((2, 3, 50), torch.device(device))
        logits.requires_grad_()
        counts = counts_of(totals_of_logits(logits, target, pooled=True))
        (first,) = torch.autograd.grad((counts.tp * counts.fp).sum(), logits, create_graph=True)
        found.append(torch.autograd.grad((first * logits).sum(), logits)[0].cpu())
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-4)


@needs_gpu
def test_on_a_gpu_a_label_that_no_class_has_fails_an_assertion():
    code = (
        "import torch; from steelyard.losses import IoULoss; z = torch.zeros(1, 3, 8, device='cuda'); "
        "print(float(IoULoss()(z, torch.full((1, 8), 3, device='cuda'))))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode != 0
    assert "assert" in ended.stderr

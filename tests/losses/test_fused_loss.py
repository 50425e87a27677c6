"""A loss in one piece: the value and the slopes of the same loss as torch's operators."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from steelyard.losses import IoULoss, native_counts
from steelyard.losses.fused_loss import is_taken, loss_of_logits

OPTIONS: list[dict[str, Any]] = [
    {"fp_weight": 0.5, "fn_weight": 1.5},
    {"fp_weight": 1.5, "fn_weight": 0.5, "background": False},
    {"fp_weight": (0.1, 0.9, 1.6), "fn_weight": (1.9, 0.4, 0.7)},
    {"class_weights": (0.2, 0.0, 3.0)},
    {"class_weights": (0.2, 1.5, 3.0), "background": False},
    {"class_weights": (0.0, 0.0, 0.0)},
]


@pytest.fixture(params=["compiled", "torch alone"])
def road(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "torch alone":
        monkeypatch.setattr(native_counts, "_library", lambda: None)
    return request.param


def _case(*, dtype: torch.dtype = torch.float32, spread: float = 1.0) -> tuple[Tensor, Tensor]:
    """Three samples of 7 × 9 pixels; class 2 is nowhere in the reference of the first."""
    generator = torch.Generator().manual_seed(5)
    logits = spread * torch.randn(3, 3, 7, 9, generator=generator, dtype=dtype)
    target = torch.randint(0, 3, (3, 7, 9), generator=generator)
    target[0] %= 2
    return logits, target


def _value_and_gradient(loss: IoULoss, logits: Tensor, target: Tensor, *, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    given = logits.clone().requires_grad_()
    value = loss(given, target)
    (gradient,) = torch.autograd.grad(scale * value, given)
    return value.detach(), gradient


def _as_operators(loss: IoULoss, logits: Tensor, target: Tensor, *, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("steelyard.losses.tversky.is_taken", lambda _: False)
        return _value_and_gradient(loss, logits, target, scale=scale)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("spread", [1.0, 60.0])
def test_value_and_gradient_are_those_of_torchs_operators(road: str, options: dict[str, Any], spread: float):
    logits, target = _case(spread=spread)
    loss = IoULoss(**options)
    torch.testing.assert_close(
        _value_and_gradient(loss, logits, target, scale=3.0),
        _as_operators(loss, logits, target, scale=3.0),
        rtol=2e-5,
        atol=1e-8,
    )
    wide = logits.double()
    torch.testing.assert_close(
        _value_and_gradient(loss, wide, target), _as_operators(loss, wide, target), rtol=1e-11, atol=1e-15
    )


def test_a_class_that_nobody_sees_costs_one_share_and_moves_nothing(road: str):
    """Class 2 is nowhere in the reference, and its logit so low that its probability is 0 in float32."""
    logits, target = _case()
    logits[:, 2] = -200.0
    value, gradient = _value_and_gradient(IoULoss(), logits, target % 2)
    others, _ = _value_and_gradient(IoULoss(), logits[:, :2], target % 2)
    torch.testing.assert_close(value, (2 * others + 1) / 3)
    assert gradient[:, 2].abs().max() < 1e-30
    assert gradient.isfinite().all()


def test_the_gradient_is_taken_again_and_added_where_the_graph_is_kept(road: str):
    logits, target = _case()
    once = _value_and_gradient(IoULoss(), logits, target)[1]
    given = logits.clone().requires_grad_()
    loss = IoULoss()(given, target)
    loss.backward(retain_graph=True)
    loss.backward()
    torch.testing.assert_close(given.grad, 2 * once)


@pytest.mark.parametrize("options", OPTIONS[:4], ids=str)
def test_the_second_derivative_is_that_of_the_first(road: str, options: dict[str, Any]):
    logits = _case(dtype=torch.float64)[0][:2, :, :2, :3].clone().requires_grad_()
    target = _case()[1][:2, :2, :3]
    assert torch.autograd.gradgradcheck(lambda given: IoULoss(**options)(given, target), logits)


def test_layouts_and_types_of_labels_make_no_difference(road: str):
    logits, target = _case()
    expected = _value_and_gradient(IoULoss(fp_weight=0.3), logits, target)
    by_pixel = logits.contiguous(memory_format=torch.channels_last)
    for given, labels in ((by_pixel, target), (logits, target.to(torch.uint8)), (by_pixel, target.int())):
        torch.testing.assert_close(_value_and_gradient(IoULoss(fp_weight=0.3), given, labels), expected)


def test_any_analytic_function_of_the_counts_has_its_slopes(road: str):
    """FN · TN / 1000 of class 1, FP² of class 0: every count takes part, and classes are not mixed up."""

    def terms(counts: Any) -> Any:
        return counts.fp * counts.fp * np.array([1.0, 0.0, 0.0]) + counts.fn * counts.tn * np.array([0.0, 0.001, 0.0])

    logits, target = _case(dtype=torch.float64)
    given = logits.clone().requires_grad_()
    loss_of_logits(given, target, terms=terms, shares=np.array([0.5, 2.0, 7.0])).backward()

    again = logits.clone().requires_grad_()
    p = again.softmax(1)
    is_0, is_1 = target == 0, target == 1
    fp = (p[:, 0] * ~is_0).sum()
    fn, tn = ((1 - p[:, 1]) * is_1).sum(), ((1 - p[:, 1]) * ~is_1).sum()
    (0.5 * fp**2 + 2.0 * fn * tn / 1000).backward()
    torch.testing.assert_close(given.grad, again.grad, rtol=1e-11, atol=1e-14)


def test_an_unknown_label_is_refused(road: str):
    logits, target = _case()
    target[2, 6, 8] = 3
    with pytest.raises(ValueError, match="from 0 to 2; came 0 to 3"):
        IoULoss()(logits, target)


def test_other_devices_and_traced_code_go_another_way(monkeypatch: pytest.MonkeyPatch):
    logits, _ = _case()
    assert is_taken(logits)
    assert not is_taken(logits.to("meta"))
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert not is_taken(logits)

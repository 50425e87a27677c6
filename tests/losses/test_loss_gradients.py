"""Gradients in float64 against finite differences, for every option of the IoU family."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from steelyard.losses import IoULoss
from worked_losses import random_case

OPTIONS = list(
    product(("batch", "slice"), ("formula", "skip", "penalise"), (True, False), (None, [0.2, 1.5, 0.7, 2.0]))
)


@pytest.mark.parametrize(("scope", "absent", "background", "class_weights"), OPTIONS)
@pytest.mark.parametrize("fn_weight", [1.6, [0.3, 1.9, 1.0, 0.6]], ids=["one price", "price per class"])
def test_the_gradient_is_that_of_finite_differences(
    scope: str,
    absent: str,
    background: bool,
    class_weights: list[float] | None,
    fn_weight: float | list[float],
):
    """Class 3 is nowhere and class 2 in the first sample alone, so that every rule for absence is at work."""
    logits, target = random_case(seed=10, batch=2, classes=3, space=(2, 3))
    logits = torch.cat([logits, logits[:, :1] / 2], 1).requires_grad_()
    target[1][target[1] == 2] = 1
    loss = IoULoss(
        fp_weight=0.4,
        fn_weight=fn_weight,
        scope=scope,
        absent=absent,
        background=background,
        class_weights=class_weights,
    )
    assert torch.autograd.gradcheck(lambda x: loss(x, target), logits, fast_mode=True)  # along random directions


def test_the_second_derivative_is_that_of_finite_differences_too():
    logits, target = random_case(seed=11, batch=1, classes=2, space=(3,))
    loss = IoULoss(fp_weight=0.4, fn_weight=1.6)
    assert torch.autograd.gradgradcheck(lambda x: loss(x, target), logits.requires_grad_())

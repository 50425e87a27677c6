"""MONAI's Tversky and Dice losses as independent oracles, for values and for gradients."""

from __future__ import annotations

import pytest
import torch
from monai.losses import DiceLoss, TverskyLoss
from torch import Tensor

from steelyard.losses import IoULoss
from worked_losses import random_case, value_and_gradient

PRICES = [(1.0, 1.0), (0.5, 1.5), (1.5, 0.5), (0.5, 0.5), (0.3, 0.9)]


def monai_tversky(fp_weight: float, fn_weight: float, **options: object) -> TverskyLoss:
    return TverskyLoss(
        alpha=fp_weight,  # its alpha weighs false positives
        beta=fn_weight,
        softmax=True,
        to_onehot_y=True,
        smooth_nr=0,
        smooth_dr=1e-7,
        **options,
    )


def agree(ours: torch.nn.Module, theirs: torch.nn.Module, logits: Tensor, target: Tensor) -> None:
    our_value, our_gradient = value_and_gradient(ours, logits, target)
    their_value, their_gradient = value_and_gradient(lambda x, t: theirs(x, t[:, None]), logits, target)
    tolerance = 1e-6 if logits.dtype == torch.float32 else 1e-12
    assert our_value == pytest.approx(their_value, rel=tolerance)
    torch.testing.assert_close(our_gradient, their_gradient, rtol=1e3 * tolerance, atol=tolerance)


@pytest.mark.parametrize("kind", [torch.float64, torch.float32])
@pytest.mark.parametrize("prices", PRICES)
@pytest.mark.parametrize(("scope", "pooled"), [("batch", True), ("slice", False)])
@pytest.mark.parametrize("background", [True, False])
def test_tversky_agrees(kind: torch.dtype, prices: tuple[float, float], scope: str, pooled: bool, background: bool):
    logits, target = random_case(seed=6, batch=3, classes=4, space=(6, 5))
    ours = IoULoss(fp_weight=prices[0], fn_weight=prices[1], scope=scope, background=background)
    theirs = monai_tversky(*prices, batch=pooled, include_background=background)
    agree(ours, theirs, logits.to(kind), target)


def test_tversky_agrees_in_three_dimensions_and_where_a_class_is_absent():
    logits, target = random_case(seed=7, batch=2, classes=4, space=(4, 3, 5))
    target[target == 2] = 0
    agree(IoULoss(fp_weight=0.4, fn_weight=1.6), monai_tversky(0.4, 1.6, batch=True), logits, target)


@pytest.mark.parametrize("jaccard", [False, True])
@pytest.mark.parametrize("pooled", [True, False])
def test_dice_and_jaccard_agree(jaccard: bool, pooled: bool):
    logits, target = random_case(seed=8)
    price = 1.0 if jaccard else 0.5
    ours = IoULoss(fp_weight=price, fn_weight=price, scope="batch" if pooled else "slice")
    theirs = DiceLoss(
        softmax=True, to_onehot_y=True, jaccard=jaccard, batch=pooled, smooth_nr=0, smooth_dr=2e-7
    )  # its denominator is twice ours
    agree(ours, theirs, logits, target)


def test_class_weights_agree_up_to_the_divisor():
    """MONAI divides by the number of classes, steelyard by the sum of the weights: 3 against 3.7."""
    logits, target = random_case(seed=9)
    weights = [0.2, 0.5, 3.0]
    ours, _ = value_and_gradient(IoULoss(fp_weight=0.5, fn_weight=0.5, class_weights=weights), logits, target)
    theirs = DiceLoss(
        softmax=True, to_onehot_y=True, batch=True, smooth_nr=0, smooth_dr=2e-7, weight=torch.tensor(weights)
    )
    assert ours == pytest.approx(float(theirs(logits, target[:, None])) * 3 / 3.7, rel=1e-7)

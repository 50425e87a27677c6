"""Dice plus cross-entropy, by hand."""

from __future__ import annotations

from math import log

import pytest

from steelyard.losses import LOSSES
from worked_losses import FN, FP, LOGITS, TARGET, TP, tversky


def test_it_is_the_dice_loss_with_background_plus_plain_cross_entropy():
    dice = sum(tversky(*counts, 0.5, 0.5) for counts in zip(TP, FP, FN, strict=True)) / 3
    cross_entropy = -sum(map(log, (0.7, 0.5, 0.6, 0.6, 0.8, 0.1))) / 6
    assert float(LOSSES["dice_ce"]()(LOGITS, TARGET)) == pytest.approx(dice + cross_entropy, rel=1e-6)

"""Dice on a three-dimensional patch with 105 classes, as for whole-body segmentation, beside MONAI."""

from __future__ import annotations

import math

from benchmarks.line import Limit, Line, Work
from benchmarks.loss_sides import Loss, check_same, forward_and_backward, monai_tversky, roofline

SHAPE = (1, 105, 96, 96, 96)
SMALL = (2, 105, 16, 16, 16)  # to compare results
MIB_OF_LOGITS = 4 * math.prod(SHAPE) / (1 << 20)

LINE = Line(
    "Dice loss, forward + backward, 105 classes, (1, 105, 96, 96, 96) float32",
    "MONAI TverskyLoss(softmax, to_onehot_y, batch) with both weights ½",
    wanted=1.0,
    wanted_mib=1.2 * MIB_OF_LOGITS,
    repeats=7,
    needs=("monai",),
)


def ours() -> Work:
    return forward_and_backward(our_loss(), SHAPE)


def peer() -> Work:
    return forward_and_backward(monai_tversky(alpha=0.5, beta=0.5), SHAPE)


def same() -> None:
    check_same(our_loss(), monai_tversky(alpha=0.5, beta=0.5), SMALL)


def limit() -> Limit:
    return roofline(SHAPE)


def notes() -> list[str]:
    return [f"the logits themselves hold {MIB_OF_LOGITS:.0f} MiB, and so does their gradient, which has to be made"]


def our_loss() -> Loss:
    from steelyard.losses import IoULoss

    return IoULoss(fp_weight=0.5, fn_weight=0.5)

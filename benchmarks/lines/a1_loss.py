"""IoU_xy forward and backward on two-dimensional slices."""

from __future__ import annotations

from benchmarks.line import Limit, Line, Work
from benchmarks.loss_sides import Loss, check_same, forward_and_backward, monai_tversky, roofline

SHAPE = (16, 5, 256, 256)

LINE = Line(
    "IoU_xy loss, forward + backward, (16, 5, 256, 256) float32",
    "MONAI TverskyLoss(softmax, to_onehot_y, batch)",
    wanted=8.0,
    wanted_memory=1 / 3,
    repeats=31,
    calls=8,
    needs=("monai",),
    shortfall=(
        "The two passes over the logits take most of the time, small operations on a number per class the rest. It "
        "would take a quieter hour, more bandwidth, or index and derivative in C too."
    ),
)


def ours() -> Work:
    return forward_and_backward(our_loss(), SHAPE)


def peer() -> Work:
    return forward_and_backward(monai_tversky(alpha=0.5, beta=1.5), SHAPE)


def same() -> None:
    check_same(our_loss(), monai_tversky(alpha=0.5, beta=1.5), SHAPE)


def limit() -> Limit:
    return roofline(SHAPE)


def our_loss() -> Loss:
    from steelyard.losses import IoULoss

    return IoULoss(fp_weight=0.5, fn_weight=1.5)


def notes() -> list[str]:
    return [
        "One call a turn, right after the other process's, gave 6.3 to 7.1 × on the Intel Xeon on 2026-11-27: after a "
        "pause or other work one call of ours took 6 to 7 ms, in a loop of its own 4 to 5"
    ]

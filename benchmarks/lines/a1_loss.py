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
    needs=("monai",),
    shortfall=(
        "In a loop of its own the loss takes 1.1 × the time of its bytes. Beside the peer, whose arrays take "
        "its memory out of the caches, counting takes 2.5 ms, the gradient 2.8 ms, and some 26 small "
        "operations on per-class numbers, forward and backward, 1.4 ms. It would take the index with its "
        "derivative in the same C call, which would write every index twice."
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

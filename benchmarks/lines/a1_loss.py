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
        "In a loop of its own the loss takes 1.1 × the time of its bytes (3.2 ms of counting and gradient). "
        "Beside the peer it wakes up to cold caches and sleeping threads, pays for some 26 small operations on "
        "per-class numbers, forward and backward, and in a third of the turns for 5000 page faults of the "
        "gradient's fresh memory (3–5 ms). It would take a gradient written into memory that is at hand, which "
        "autograd does not offer, and the index with its derivative in the same C call, which would write every "
        "index twice."
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

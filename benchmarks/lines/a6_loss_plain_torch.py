"""IoU_xy on slices, beside its formula in plain torch as people write it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.line import Limit, Line, Work
from benchmarks.lines.a1_loss import SHAPE, our_loss
from benchmarks.loss_sides import check_same, forward_and_backward, roofline

if TYPE_CHECKING:
    from torch import Tensor

LINE = Line(
    "IoU_xy loss, forward + backward, (16, 5, 256, 256) float32",
    "its formula in plain torch: softmax, one_hot, products and sums",
    wanted=1.0,
    repeats=15,
    calls=8,
)


def ours() -> Work:
    return forward_and_backward(our_loss(), SHAPE)


def peer() -> Work:
    return forward_and_backward(plain, SHAPE)


def same() -> None:
    check_same(our_loss(), plain, SHAPE)


def limit() -> Limit:
    return roofline(SHAPE)


def plain(logits: Tensor, target: Tensor) -> Tensor:
    from torch.nn.functional import one_hot

    p, g = logits.softmax(dim=1), one_hot(target, logits.shape[1]).permute(0, 3, 1, 2).float()
    tp, fp, fn = ((p * g).sum((0, 2, 3)), (p * (1 - g)).sum((0, 2, 3)), ((1 - p) * g).sum((0, 2, 3)))
    return 1 - (tp / (tp + 0.5 * fp + 1.5 * fn + 1e-7)).mean()

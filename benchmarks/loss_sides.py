"""What the lines about losses share: logits and labels, the work of one loss, and what the machine allows for it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from benchmarks.line import Limit, Work
from benchmarks.machine import copy_bytes_per_second, exponentials_per_second

if TYPE_CHECKING:
    from torch import Tensor

Loss = Callable[["Tensor", "Tensor"], "Tensor"]  # of logits (batch, class, *space) and labels (batch, *space)
ALIKE = 1e-4  # relative to the largest gradient: float32 sums over a million pixels in another order


def inputs(shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Random logits that want a gradient, and random labels among all classes."""
    import torch

    torch.manual_seed(0)
    batch, classes, *space = shape
    return torch.randn(*shape).requires_grad_(), torch.randint(0, classes, (batch, *space))


def forward_and_backward(loss: Loss, shape: Sequence[int]) -> Work:
    logits, target = inputs(shape)

    def work() -> None:
        loss(logits, target).backward()
        logits.grad = None  # so that its memory is seen to be taken the next time

    return work


def check_same(ours: Loss, peer: Loss, shape: Sequence[int]) -> None:
    """Raises unless both give the same gradient, and values that differ by a constant alone."""
    import torch

    gradients = []
    for loss in (ours, peer):
        logits, target = inputs(shape)
        loss(logits, target).backward()
        gradients.append(logits.grad)
    difference = float((gradients[0] - gradients[1]).abs().max() / gradients[1].abs().max())
    if difference > ALIKE:
        raise AssertionError(f"gradients differ by {difference:.2g} of the largest")
    logits, target = inputs(shape)
    other = torch.where(torch.rand(logits.shape) < 0.5, logits.detach() * 3, logits.detach())
    changes = [float(loss(other, target) - loss(logits.detach(), target)) for loss in (ours, peer)]
    if abs(changes[0] - changes[1]) > ALIKE:
        raise AssertionError(f"from one input to another the losses change by {changes[0]:.6f} and {changes[1]:.6f}")


def roofline(shape: Sequence[int]) -> Limit:
    """Logits read twice and their gradient written once, labels of eight bytes read twice; an exponential each."""
    numbers = math.prod(shape)
    moved = 3 * 4 * numbers + 2 * 8 * (numbers // shape[1])
    by_memory, by_exp = moved / copy_bytes_per_second(), numbers / exponentials_per_second()
    return Limit(
        max(by_memory, by_exp),
        f"{moved / 1e6:.0f} MB moved take {1e3 * by_memory:.1f} ms, {numbers / 1e6:.0f} million exponentials "
        f"{1e3 * by_exp:.1f} ms",
    )


def monai_tversky(**options: object) -> Loss:
    """As the docstring of TverskyLoss calls it: labels with a channel, made one-hot by the loss."""
    from monai.losses import TverskyLoss

    loss = TverskyLoss(softmax=True, to_onehot_y=True, batch=True, **options)
    return lambda logits, target: loss(logits, target[:, None])

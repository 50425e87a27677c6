"""A whole loss of pooled counts in one piece: its slopes come from complex steps, so torch records no graph of them.

What follows the counts are a few numbers per class. As torch operators, forward and backward, they took a quarter of
the time of a loss of five classes; in numpy they take next to none, and the index stays written once.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Integer
from torch import Tensor
from torch.autograd import Function

from steelyard.confusion import Confusion
from steelyard.losses.fused_counts import by_formula, count, road_on_a_processor, wide
from steelyard.losses.processes import several_processes

Terms = Callable[[Confusion], Any]  # of counts (..., class), numpy's or torch's, to one number per class
STEP = 1e-20  # its square is lost beside any count, so the real part is the value and the imaginary one the slope
MOVED = np.array([[STEP * 1j], [0.0]])  # first TP is moved, then Σ p


def is_taken(logits: Tensor) -> bool:
    """Whether `loss_of_logits` may be asked: on a processor, by one process, and not while torch.compile traces."""
    return logits.device.type == "cpu" and not torch.compiler.is_compiling() and not several_processes()


def loss_of_logits(
    logits: Float[Tensor, "batch class *space"],
    target: Integer[Tensor, "batch *space"],
    *,
    terms: Terms,
    shares: Float[np.ndarray, " class"],
) -> Float[Tensor, ""]:
    """Σ_c shares_c · terms_c of the softmax's soft counts, pooled over the batch; see `is_taken`.

    Args:
        terms: analytic in the counts, and each class's term a function of that class's counts alone.

    With f(TP + ih, Σp) = f + ih ∂f/∂TP + O(h²) both derivatives of a term are exact to rounding. Sums and terms are
    float64. A second derivative is that of torch's operators.

    Raises:
        ValueError: a label that no class has.

    Source: Squire and Trapp, "Using complex variables to estimate derivatives of real functions", SIAM Review 1998.
    """
    logits = logits.to(wide(logits.dtype))
    loss: Tensor = _Loss.apply(logits, target, terms, shares, road_on_a_processor(logits, target))  # type: ignore[no-untyped-call]
    return loss


class _Loss(Function):
    @staticmethod
    def forward(
        context: Any, logits: Tensor, target: Tensor, terms: Terms, shares: np.ndarray, road: ModuleType
    ) -> Tensor:
        counted, context.kept = count(logits, target, road=road, with_gradient=context.needs_input_grad[0])
        tp, prediction, reference = counted.numpy().sum((1, 2), dtype=np.float64)
        value, context.slopes = _value_and_slopes(tp, prediction, reference, target.numel(), terms, shares)
        context.terms, context.shares, context.road = terms, shares, road
        context.save_for_backward(logits, target)
        return torch.tensor(value, dtype=logits.dtype)

    @staticmethod
    def backward(context: Any, given: Tensor) -> tuple[Tensor, None, None, None, None]:
        logits, target = context.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted: torch must see every step
            terms = context.terms(by_formula(logits, target).over_cases())
            loss = (terms * torch.from_numpy(context.shares).to(terms)).sum()
            (gradient,) = torch.autograd.grad(loss, logits, given, create_graph=True)
            return gradient, None, None, None, None
        kept, context.kept = context.kept, ()  # the gradient takes its place, so that another one begins anew
        of_samples = np.repeat(float(given) * context.slopes, len(logits), axis=1)
        by_tp, by_prediction = torch.from_numpy(of_samples).to(logits.dtype)
        return context.road.gradient(logits, target, by_tp, by_prediction, *kept), None, None, None, None


def _value_and_slopes(
    tp: np.ndarray, prediction: np.ndarray, reference: np.ndarray, voxels: int, terms: Terms, shares: np.ndarray
) -> tuple[float, np.ndarray]:
    """The loss, and its derivatives by TP and by Σ p: (2, 1, class)."""
    moved_tp, moved_prediction = tp + MOVED, prediction + MOVED[::-1]
    fp = moved_prediction - moved_tp
    counts = Confusion(tp=moved_tp, fp=fp, fn=reference - moved_tp, tn=(voxels - reference) - fp)
    charged = shares * terms(counts)
    return float(charged[0].real.sum()), charged.imag[:, None] / STEP

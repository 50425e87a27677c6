"""What the counts of each class cost: their Tversky terms, the mean of these, and its derivative by the counts.

The derivative is written out. Autograd's would take some thirty small steps, each of which a GPU starts on its own: for
a few numbers per class nearly as long as counting twenty million probabilities.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function

from steelyard.confusion import tversky_index
from steelyard.losses.constants import constant
from steelyard.losses.soft_counts import counts_of

EPSILON = 1e-7  # added to the denominator alone: no class is ever 0 / 0, and an absent one scores exactly 0

Absent = Literal["formula", "skip", "penalise"]
Weights = float | tuple[float, ...]  # one for all classes, or one per class


@dataclass(frozen=True)
class Pricing:
    """The options of `IoULoss` that say what counts cost."""

    fp_weight: Weights
    fn_weight: Weights
    class_weights: Weights
    background: bool
    absent: Absent


def mean_of_terms(
    totals: Float[Tensor, "3 *scope class"], pricing: Pricing, *, kind: torch.dtype
) -> Float[Tensor, "*scope"]:
    """The loss of each scope as a float of that kind, from its TP, Σ p and reference pixels in float64."""
    if torch.compiler.is_compiling():
        return _by_formula(totals, pricing).to(kind)
    values: Tensor = _Mean.apply(totals, pricing, kind)
    return values


def _by_formula(totals: Tensor, pricing: Pricing) -> Tensor:
    counts = counts_of(totals)
    fp_weight, fn_weight = (_constant(weights, totals) for weights in (pricing.fp_weight, pricing.fn_weight))
    terms = 1 - tversky_index(counts, fp_weight=fp_weight, fn_weight=fn_weight, epsilon=EPSILON)
    if pricing.absent == "penalise":
        voxels = counts.tp + counts.fp + counts.fn + counts.tn
        terms = torch.where(counts.reference_size == 0, fp_weight * counts.fp / voxels, terms)
    return (_shares(totals[2], pricing) * terms).sum(-1)


class _Mean(Function):
    """`_by_formula` and, going back, its derivative as `_mean_and_slopes` has it."""

    @staticmethod
    def forward(context: Any, totals: Tensor, pricing: Pricing, kind: torch.dtype) -> Tensor:
        values, slopes = _mean_and_slopes(totals, pricing)
        context.pricing = pricing
        context.save_for_backward(totals, slopes)
        return values.to(kind)

    @staticmethod
    def backward(context: Any, by_values: Tensor) -> tuple[Tensor, None, None]:
        totals, slopes = context.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted: torch must see every step
            values = _by_formula(totals, context.pricing)
            (by_totals,) = torch.autograd.grad(values, totals, by_values.to(values.dtype), create_graph=True)
            return by_totals, None, None
        return slopes * by_values[..., None], None, None


def _mean_and_slopes(totals: Tensor, pricing: Pricing) -> tuple[Tensor, Tensor]:
    """The mean, and its derivative by each total, (3, *scope, class); by reference pixels it leads nowhere.

    With D = (1 − α − β) TP + α Σ p + β Σ g, whose prices are π: ∂(TP / D) = (e − π TP / D) / D, e = (1, 0, 0).
    """
    tp, prediction, reference = totals
    prices, less_e = _prices(totals, pricing)
    denominator = (prices * totals).sum(0) + EPSILON
    index, shares = tp / denominator, _shares(reference, pricing)
    terms, slopes = 1 - index, torch.addcmul(less_e, prices, index) * (shares / denominator)
    if pricing.absent == "penalise":
        is_absent, per_pixel = reference == 0, prices[1] / reference.sum(-1, keepdim=True)
        terms = torch.where(is_absent, per_pixel * prediction, terms)
        by_totals = torch.stack([-per_pixel, per_pixel, torch.zeros_like(per_pixel)])
        slopes = torch.where(is_absent, shares * by_totals, slopes)
    return (shares * terms).sum(-1), slopes


def _prices(totals: Tensor, pricing: Pricing) -> tuple[Tensor, Tensor]:
    """π and −e, which spread over scopes and classes as `totals` has them."""
    fp_weights, fn_weights = (
        given if isinstance(given, tuple) else (given,) for given in (pricing.fp_weight, pricing.fn_weight)
    )
    if len(fp_weights) != len(fn_weights):
        fp_weights, fn_weights = (given * (totals.shape[-1] // len(given)) for given in (fp_weights, fn_weights))
    of_tp = tuple(1 - fp - fn for fp, fn in zip(fp_weights, fn_weights, strict=True))
    rows = (of_tp, fp_weights, fn_weights), ((-1.0,), (0.0,), (0.0,))
    prices, less_e = (_constant(row, totals).reshape(3, *[1] * (totals.ndim - 2), -1) for row in rows)
    return prices, less_e


def _shares(reference: Tensor, pricing: Pricing) -> Tensor:
    """What each class's term counts for in the mean: (class,), or (*scope, class) where absent ones are skipped."""
    classes, weights = reference.shape[-1], pricing.class_weights
    given = weights if isinstance(weights, tuple) else (weights,) * classes
    charged = given if pricing.background else (0.0, *given[1:])
    total = math.fsum(charged)
    shares = _constant(tuple(weight / (total or 1.0) for weight in charged), reference)
    if pricing.absent != "skip":
        return shares
    present = shares * (reference != 0)
    total_present = present.sum(-1, keepdim=True)
    return present / torch.where(total_present == 0, 1, total_present)


def _constant(weights: Any, beside: Tensor) -> Any:
    """Numbers in tuples as a tensor of the same type on the same device; a number alone as it is."""
    return constant(weights, beside.dtype, beside.device) if isinstance(weights, tuple) else weights

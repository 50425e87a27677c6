"""Soft counts straight from logits, with the gradient written out: no array per class, and no softmax kept for it.

TP_c and Σ p_c are all that a count-based loss needs of the probabilities, so two numbers per class are all that its
gradient needs of the loss: with v_ic = ∂/∂Σp_c + [g_i = c] ∂/∂TP_c, the logit z_ic gets p_ic (v_ic − Σ_k v_ik p_ik).
"""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

import torch
from jaxtyping import Float, Integer
from torch import Tensor
from torch.autograd import Function

from steelyard.losses import native_counts, torch_counts
from steelyard.losses.soft_counts import check_labels, probabilities_of, soft_counts


def totals_of_logits(
    logits: Float[Tensor, "batch class *space"], target: Integer[Tensor, "batch *space"], *, pooled: bool
) -> Float[Tensor, "3 *scope class"]:
    """TP, Σ p and reference pixels of the softmax, float64: (3, batch, class), or (3, class) pooled over the batch.

    `soft_counts`, faster and smaller. Sums run in float32 at least, over blocks that are added in float64. A second
    derivative is slower than the first. While torch.compile traces, it is handed the plain formula.

    Raises:
        ValueError: a label that no class has; a GPU stops with a failed assertion instead.
    """
    if torch.compiler.is_compiling():
        return _by_formula(logits, target, pooled)
    road = _gpu_kernels(logits, target)
    if road is None:
        logits = logits.to(_wide(logits.dtype))
        road = native_counts if native_counts.takes(logits, target) else torch_counts
    totals: Tensor = _SoftCounts.apply(logits, target, pooled, road)
    return totals


def _by_formula(logits: Tensor, target: Tensor, pooled: bool) -> Tensor:
    check_labels(target, logits.shape[1])
    counts = soft_counts(probabilities_of(logits), target)
    totals = torch.stack([counts.tp, counts.prediction_size, counts.reference_size]).double()
    return totals.sum(1) if pooled else totals


def _gpu_kernels(logits: Tensor, target: Tensor) -> ModuleType | None:
    if logits.device.type != "cuda" or (kernels := _triton_counts()) is None:
        return None
    return kernels if kernels.takes(logits, target) else None


@functools.cache
def _triton_counts() -> ModuleType | None:
    try:
        from steelyard.losses import triton_counts
    except ImportError:  # a build of torch that brings no Triton
        return None
    return triton_counts


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


class _SoftCounts(Function):
    """(TP, Σ p, reference pixels), each (batch, class), or (class,) when pooled; counted by the module `road`."""

    @staticmethod
    def forward(context: Any, logits: Tensor, target: Tensor, pooled: bool, road: ModuleType) -> Tensor:
        if road is torch_counts:
            check_labels(target, logits.shape[1])
        context.kept = road.room(logits) if context.needs_input_grad[0] else ()
        totals: Tensor = road.count(logits, target, *context.kept).sum((1, 2) if pooled else 2, dtype=torch.float64)
        if road is native_counts and float(totals[2].sum()) != target.numel():  # no class counted some label
            check_labels(target, logits.shape[1])
        context.pooled, context.road = pooled, road
        context.save_for_backward(logits, target)
        return totals

    @staticmethod
    def backward(context: Any, by_totals: Tensor) -> tuple[Tensor, None, None, None]:
        logits, target = context.saved_tensors
        by_sample = by_totals[:, None].expand(3, *logits.shape[:2]) if context.pooled else by_totals
        by_tp, by_prediction = by_sample[:2]
        if torch.is_grad_enabled():  # a second derivative is wanted: torch must see every step
            return _gradient_by_formula(logits, target, by_tp, by_prediction), None, None, None
        kept, context.kept = context.kept, ()  # the gradient takes its place, so that another one begins anew
        return context.road.gradient(logits, target, by_tp, by_prediction, *kept), None, None, None


def _gradient_by_formula(logits: Tensor, target: Tensor, by_tp: Tensor, by_prediction: Tensor) -> Tensor:
    probabilities = probabilities_of(logits).flatten(2)
    classes = torch.arange(logits.shape[1], device=target.device)[:, None]
    is_reference = target.flatten(1)[:, None] == classes
    by_tp, by_prediction = (by[..., None].to(probabilities.dtype) for by in (by_tp, by_prediction))
    wanted = by_prediction + torch.where(is_reference, by_tp, 0)
    return (
        (probabilities * (wanted - (wanted * probabilities).sum(1, keepdim=True)))
        .reshape(logits.shape)
        .to(logits.dtype)
    )

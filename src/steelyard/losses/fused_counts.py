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

from steelyard.confusion import Confusion
from steelyard.losses import native_counts, torch_counts
from steelyard.losses.soft_counts import check_labels, probabilities_of, soft_counts


def soft_counts_of_logits(
    logits: Float[Tensor, "batch class *space"], target: Integer[Tensor, "batch *space"]
) -> Confusion:
    """TP, FP, FN, TN of the softmax per sample and class, each (batch, class): `soft_counts`, faster and smaller.

    Sums run in float32 at least, over blocks that are added in float64. A second derivative is slower than the first.
    While torch.compile traces, it is handed the plain formula.

    Raises:
        ValueError: a label that no class has; a GPU stops with a failed assertion instead.
    """
    if torch.compiler.is_compiling():
        return _by_formula(logits, target)
    return _counts(logits, target, pooled=False)


def pooled_soft_counts_of_logits(
    logits: Float[Tensor, "batch class *space"], target: Integer[Tensor, "batch *space"]
) -> Confusion:
    """The same pooled over the batch, each (class,)."""
    if torch.compiler.is_compiling():
        return _by_formula(logits, target).over_cases()
    return _counts(logits, target, pooled=True)


def _by_formula(logits: Tensor, target: Tensor) -> Confusion:
    check_labels(target, logits.shape[1])
    return soft_counts(probabilities_of(logits), target)


def _counts(logits: Tensor, target: Tensor, *, pooled: bool) -> Confusion:
    road = _gpu_kernels(logits, target)
    if road is None:
        logits = logits.to(_wide(logits.dtype))
        road = native_counts if native_counts.takes(logits, target) else torch_counts
    tp, prediction, reference = _SoftCounts.apply(logits, target, pooled, road)
    voxels = target.numel() if pooled else target.shape[1:].numel()
    fp = prediction - tp
    return Confusion(tp=tp, fp=fp, fn=reference - tp, tn=(voxels - reference) - fp)


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
    def forward(
        context: Any, logits: Tensor, target: Tensor, pooled: bool, road: ModuleType
    ) -> tuple[Tensor, Tensor, Tensor]:
        if road is torch_counts:
            check_labels(target, logits.shape[1])
        context.kept = road.room(logits) if context.needs_input_grad[0] else ()
        sums = road.count(logits, target, *context.kept).sum((1, 2) if pooled else 2, dtype=torch.float64)
        if road is native_counts and float(sums[2].sum()) != target.numel():  # no class counted some label
            check_labels(target, logits.shape[1])
        context.road = road
        context.save_for_backward(logits, target)
        tp, prediction, reference = sums.to(_wide(logits.dtype)).unbind()
        context.mark_non_differentiable(reference)
        context.set_materialize_grads(False)  # one of the two counts may not matter to a loss
        return tp, prediction, reference

    @staticmethod
    def backward(
        context: Any, by_tp: Tensor | None, by_prediction: Tensor | None, _: Tensor | None
    ) -> tuple[Tensor, None, None, None]:
        logits, target = context.saved_tensors
        by_tp, by_prediction = (_by_class(given, logits) for given in (by_tp, by_prediction))
        if torch.is_grad_enabled():  # a second derivative is wanted: torch must see every step
            return _gradient_by_formula(logits, target, by_tp, by_prediction), None, None, None
        kept, context.kept = context.kept, ()  # the gradient takes its place, so that another one begins anew
        return context.road.gradient(logits, target, by_tp, by_prediction, *kept), None, None, None


def _by_class(given: Tensor | None, logits: Tensor) -> Tensor:
    """The derivative by a count of each sample and class; None is one that the loss does not look at."""
    if given is None:
        given = torch.zeros((), dtype=_wide(logits.dtype), device=logits.device)
    return given.expand(logits.shape[:2])


def _gradient_by_formula(logits: Tensor, target: Tensor, by_tp: Tensor, by_prediction: Tensor) -> Tensor:
    probabilities = probabilities_of(logits).flatten(2)
    classes = torch.arange(logits.shape[1], device=target.device)[:, None]
    is_reference = target.flatten(1)[:, None] == classes
    wanted = by_prediction[..., None] + torch.where(is_reference, by_tp[..., None], 0)
    return (
        (probabilities * (wanted - (wanted * probabilities).sum(1, keepdim=True)))
        .reshape(logits.shape)
        .to(logits.dtype)
    )

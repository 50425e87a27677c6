"""Soft counts straight from logits, with the gradient written out: no array per class, and no softmax kept for it.

TP_c and Σ p_c are all that a count-based loss needs of the probabilities, so two numbers per class are all that its
gradient needs of the loss: with v_ic = ∂/∂Σp_c + [g_i = c] ∂/∂TP_c, the logit z_ic gets p_ic (v_ic − Σ_k v_ik p_ik).
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Integer
from torch import Tensor
from torch.autograd import Function

from steelyard.confusion import Confusion
from steelyard.losses.native_counts import count, gradient, is_native
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
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    tp, prediction, reference = _SoftCounts.apply(wide, target, pooled)
    voxels = target.numel() if pooled else target.shape[1:].numel()
    fp = prediction - tp
    return Confusion(tp=tp, fp=fp, fn=reference - tp, tn=(voxels - reference) - fp)


class _SoftCounts(Function):
    """(TP, Σ p, reference pixels), each (batch, class), or (class,) when pooled."""

    @staticmethod
    def forward(context: Any, logits: Tensor, target: Tensor, pooled: bool) -> tuple[Tensor, Tensor, Tensor]:
        context.is_native = is_native(logits, target)
        if context.is_native:
            sums = count(logits, target)
            if float(sums[2].sum()) != target.numel():  # some label was counted by no class
                check_labels(target, logits.shape[1])
            kept: tuple[Tensor, ...] = ()
        else:
            check_labels(target, logits.shape[1])
            sums, kept = _count(logits, target)
        context.save_for_backward(logits, target, *kept)
        tp, prediction, reference = (sums.sum(1) if pooled else sums).to(logits.dtype).unbind()
        context.mark_non_differentiable(reference)
        return tp, prediction, reference

    @staticmethod
    def backward(context: Any, by_tp: Tensor, by_prediction: Tensor, _: Tensor) -> tuple[Tensor, None, None]:
        logits, target, *kept = context.saved_tensors
        by_tp, by_prediction = (given.expand(logits.shape[:2]) for given in (by_tp, by_prediction))
        if torch.is_grad_enabled():  # a second derivative is wanted: torch must see every step
            return _gradient_by_formula(logits, target, by_tp, by_prediction), None, None
        if context.is_native:
            return gradient(logits, target, by_tp, by_prediction), None, None
        probabilities, labels = kept
        return _gradient(probabilities, labels, by_tp, by_prediction), None, None


def _gradient_by_formula(logits: Tensor, target: Tensor, by_tp: Tensor, by_prediction: Tensor) -> Tensor:
    probabilities = logits.softmax(1).flatten(2)
    classes = torch.arange(logits.shape[1], device=target.device)[:, None]
    is_reference = target.flatten(1)[:, None] == classes
    wanted = by_prediction[..., None] + torch.where(is_reference, by_tp[..., None], 0)
    return (probabilities * (wanted - (wanted * probabilities).sum(1, keepdim=True))).reshape(logits.shape)


def _count(logits: Tensor, target: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """As `count`, by torch alone, on any device; and the probabilities and labels (batch, 1, pixel) for `_gradient`."""
    batch, classes = logits.shape[:2]
    probabilities = logits.softmax(1)
    labels = target.reshape(batch, 1, -1).long()
    of_label = probabilities.reshape(batch, classes, -1).gather(1, labels)[:, 0]
    zeros = of_label.new_zeros(batch, classes, dtype=torch.float64)
    tp = zeros.scatter_add(1, labels[:, 0], of_label.double())  # one by one, hence in float64
    reference = zeros.scatter_add(1, labels[:, 0], torch.ones_like(of_label, dtype=torch.float64))
    prediction = probabilities.reshape(batch, classes, -1).sum(2)
    return torch.stack([tp, prediction.double(), reference]), (probabilities, labels)


def _gradient(probabilities: Tensor, labels: Tensor, by_tp: Tensor, by_prediction: Tensor) -> Tensor:
    flat = probabilities.flatten(2)
    of_label = by_tp.gather(1, labels[:, 0])[:, None] * flat.gather(1, labels)
    mean = torch.bmm(by_prediction[:, None], flat) + of_label
    result = (by_prediction[:, :, None] - mean).mul_(flat).scatter_add_(1, labels, of_label)
    return result.reshape(probabilities.shape)

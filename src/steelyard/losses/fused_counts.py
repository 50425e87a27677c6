"""Soft counts straight from logits, with the gradient written out: no array per class, and no softmax kept for it.

TP_c and Σ p_c are all that a count-based loss needs of the probabilities, so two numbers per class are all that its
gradient needs of the loss: with v_ic = ∂/∂Σp_c + [g_i = c] ∂/∂TP_c, the logit z_ic gets p_ic (v_ic − Σ_k v_ik p_ik).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float, Integer
from torch import Tensor
from torch.autograd import Function

from steelyard.confusion import Confusion
from steelyard.losses.native_counts import count, gradient, is_native
from steelyard.losses.soft_counts import check_labels, probabilities_of, soft_counts

PIECE = 1 << 16  # pixels


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
        else:
            check_labels(target, logits.shape[1])
            sums = _count(logits, target)
        context.save_for_backward(logits, target)
        tp, prediction, reference = (sums.sum(1) if pooled else sums).to(logits.dtype).unbind()
        context.mark_non_differentiable(reference)
        return tp, prediction, reference

    @staticmethod
    def backward(context: Any, by_tp: Tensor, by_prediction: Tensor, _: Tensor) -> tuple[Tensor, None, None]:
        logits, target = context.saved_tensors
        by_tp, by_prediction = (given.expand(logits.shape[:2]) for given in (by_tp, by_prediction))
        if torch.is_grad_enabled():  # a second derivative is wanted: torch must see every step
            return _gradient_by_formula(logits, target, by_tp, by_prediction), None, None
        by_torch_or_native = gradient if context.is_native else _gradient
        return by_torch_or_native(logits, target, by_tp, by_prediction), None, None


def _gradient_by_formula(logits: Tensor, target: Tensor, by_tp: Tensor, by_prediction: Tensor) -> Tensor:
    probabilities = logits.softmax(1).flatten(2)
    classes = torch.arange(logits.shape[1], device=target.device)[:, None]
    is_reference = target.flatten(1)[:, None] == classes
    wanted = by_prediction[..., None] + torch.where(is_reference, by_tp[..., None], 0)
    return (probabilities * (wanted - (wanted * probabilities).sum(1, keepdim=True))).reshape(logits.shape)


def _count(logits: Tensor, target: Tensor) -> Tensor:
    """As `count`, by torch alone, on any device."""
    flat, labels = logits.flatten(2), target.flatten(1)[:, None].long()
    sums = logits.new_zeros(3, *logits.shape[:2], dtype=torch.float64)
    for at in _pieces(flat):
        probabilities, here, (tp, prediction, reference) = flat[at].softmax(1), labels[at], sums[:, at[0]]
        of_label = probabilities.gather(1, here)[:, 0].double()  # scattered one by one, hence in float64
        tp.scatter_add_(1, here[:, 0], of_label)
        reference.scatter_add_(1, here[:, 0], torch.ones_like(of_label))
        prediction += probabilities.sum(2)
    return sums


def _gradient(logits: Tensor, target: Tensor, by_tp: Tensor, by_prediction: Tensor) -> Tensor:
    flat, labels = logits.flatten(2), target.flatten(1)[:, None].long()
    result = torch.empty_like(flat)
    for at in _pieces(flat):
        probabilities, here, there = flat[at].softmax(1), labels[at], result[at]
        by_sum = by_prediction[at[0]]
        of_label = by_tp[at[0]].gather(1, here[:, 0])[:, None] * probabilities.gather(1, here)
        mean = torch.bmm(by_sum[:, None], probabilities) + of_label
        torch.sub(by_sum[:, :, None], mean, out=there).mul_(probabilities).scatter_add_(1, here, of_label)
    return result.reshape(logits.shape)


def _pieces(flat: Tensor) -> Iterator[tuple[slice, slice, slice]]:
    """(samples, classes, pixels): pieces whose probabilities stay in a processor's cache; a GPU gets everything."""
    batch, _, pixels = flat.shape
    if flat.device.type != "cpu":
        yield slice(None), slice(None), slice(None)
        return
    for sample in range(batch):
        for start in range(0, pixels, PIECE):
            yield slice(sample, sample + 1), slice(None), slice(start, start + PIECE)

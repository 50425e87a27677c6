"""Soft counts: how many pixels the network found, missed and invented, when it answers with probabilities."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from steelyard.confusion import Confusion


def probabilities_of(logits: Float[Tensor, "batch class *space"]) -> Float[Tensor, "batch class *space"]:
    """Softmax over classes, in float32 at least: bf16 and fp16 sums would lose whole organs."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(dim=1)


def soft_counts(probabilities: Float[Tensor, "batch class *space"], target: Int[Tensor, "batch *space"]) -> Confusion:
    """TP, FP, FN, TN per sample and class, each (batch, class), differentiable in the probabilities.

    TP_c = Σ p_c g_c, FP_c = Σ p_c (1 − g_c), FN_c = Σ (1 − p_c) g_c over the pixels of each sample. The reference is
    used as an index, never as a one-hot tensor. Sum over the batch with `Confusion.over_cases()`.
    """
    batch, classes = probabilities.shape[:2]
    flat = probabilities.reshape(batch, classes, -1)
    target = target.reshape(batch, -1).long()
    of_reference = flat.gather(1, target.unsqueeze(1)).squeeze(1)
    zeros = flat.new_zeros(batch, classes)
    tp = zeros.scatter_add(1, target, of_reference)
    reference = zeros.scatter_add(1, target, torch.ones_like(of_reference))
    prediction = flat.sum(2)
    return Confusion(tp=tp, fp=prediction - tp, fn=reference - tp, tn=target.shape[1] - reference - prediction + tp)


def check_shapes(logits: Tensor, target: Tensor) -> None:
    """Refuse what would otherwise broadcast into a wrong number.

    Raises:
        ValueError: the target is not integer class indices of shape (batch, *space), or there is only one class.
    """
    if target.is_floating_point() or target.is_complex():
        raise ValueError(f"target must hold integer class indices; came {target.dtype}. Use target.long().")
    if logits.ndim < 3 or target.shape != logits.shape[:1] + logits.shape[2:]:
        raise ValueError(
            f"logits (batch, class, *space) and target (batch, *space) must fit; came {tuple(logits.shape)} and "
            f"{tuple(target.shape)}. A one-hot target becomes indices with target.argmax(1)."
        )
    if logits.shape[1] < 2:
        raise ValueError("a softmax over one class is always 1; give a background and at least one organ as classes.")

"""Soft counts: how many pixels the network found, missed and invented, when it answers with probabilities."""

from __future__ import annotations

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from steelyard.confusion import Confusion


def probabilities_of(logits: Float[Tensor, "batch class *space"]) -> Float[Tensor, "batch class *space"]:
    """Softmax over classes, in float32 at least: bf16 and fp16 sums would lose whole organs."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(dim=1)


def soft_counts(
    probabilities: Float[Tensor, "batch class *space"], target: Integer[Tensor, "batch *space"]
) -> Confusion:
    """TP, FP, FN, TN per sample and class, each (batch, class), differentiable in the probabilities.

    TP_c = Σ p_c g_c, FP_c = Σ p_c (1 − g_c), FN_c = Σ (1 − p_c) g_c over the pixels of each sample. Sum over the
    batch with `Confusion.over_cases()`.
    """
    batch, classes = probabilities.shape[:2]
    flat = probabilities.reshape(batch, classes, -1)
    indices = torch.arange(classes, device=target.device)
    is_reference = target.reshape(batch, 1, -1) == indices[:, None]
    # `sum` adds in pairs. A scatter adds one by one: float32 then loses percents of an organ in a large volume.
    tp = torch.where(is_reference, flat, 0).sum(2)
    reference = is_reference.sum(2).to(tp.dtype)
    prediction = flat.sum(2)
    return Confusion(tp=tp, fp=prediction - tp, fn=reference - tp, tn=flat.shape[2] - reference - prediction + tp)


def counts_of(totals: Float[Tensor, "3 *scope class"]) -> Confusion:
    """The four numbers, each (*scope, class), from three: TP, Σ p and reference pixels."""
    tp, prediction, reference = totals
    fp = prediction - tp
    return Confusion(tp=tp, fp=fp, fn=reference - tp, tn=reference.sum(-1, keepdim=True) - reference - fp)


def check_inputs(logits: Tensor, target: Tensor) -> None:
    """Refuse what would otherwise broadcast into a wrong number. `check_labels` looks at the labels themselves.

    Raises:
        ValueError: the target is not integer class indices of shape (batch, *space), or there is only one class.
    """
    if target.is_floating_point() or target.is_complex():
        raise ValueError(f"target must hold integer class indices; came {target.dtype}. Use target.long().")
    if logits.ndim < 3 or target.shape != logits.shape[:1] + logits.shape[2:]:
        one_channel = target.ndim == logits.ndim and target.shape[1] == 1
        remedy = "Drop its channel with target[:, 0]" if one_channel else "A one-hot one becomes target.argmax(1)"
        raise ValueError(
            f"logits (batch, class, *space) and target (batch, *space) must fit; came {tuple(logits.shape)} and "
            f"{tuple(target.shape)}. {remedy}."
        )
    if logits.shape[1] < 2:
        raise ValueError("a softmax over one class is always 1; give a background and at least one organ as classes.")


def check_labels(target: Tensor, classes: int) -> None:
    """Refuse a label that no class has: it would be left out of every count in silence.

    Raises:
        ValueError: there is one, on the CPU; a GPU, which a look would make wait, and compiled code stop with a failed
            assertion.
    """
    if not target.numel():
        return
    lowest, highest = torch.aminmax(target)
    known = (lowest >= 0) & (highest < classes)
    if target.device.type != "cpu" or torch.compiler.is_compiling():
        torch._assert_async(known, f"target must hold class indices from 0 to {classes - 1}")
    elif not known:
        raise ValueError(
            f"target must hold class indices from 0 to {classes - 1}; came {int(lowest)} to {int(highest)}. "
            "Give unlabelled pixels a class."
        )

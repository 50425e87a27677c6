"""Cross-entropy: each pixel pays for the probability that it did not give to its own class."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Integer
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional

from steelyard.losses import LOSSES, native_counts
from steelyard.losses.constants import constant
from steelyard.losses.processes import sum_over_processes
from steelyard.losses.soft_counts import check_inputs, check_labels


@LOSSES.register("cross_entropy", "cross-entropy, every pixel alike")
class CrossEntropyLoss(nn.Module):
    """Σ w_y · (−log p_y) / Σ w_y over the pixels of the batch, y the pixel's reference class.

    The batch is that of all processes together, where several train one network.

    Args:
        class_weights: w, one per class (background first); all 1 when None.

    Shapes: logits (batch, class, *space), any float type, computed in float32 at least; integer target
    (batch, *space). Returns a scalar; 0 with zero gradient when every pixel's class has weight 0.

    Raises:
        ValueError: a shape or a number of weights that does not fit.

    Source: Furtado, section 2.2; the weighted reduction is that of torch.nn.functional.cross_entropy.
    """

    def __init__(self, *, class_weights: Sequence[float] | None = None) -> None:
        super().__init__()
        weights = None if class_weights is None else tuple(float(weight) for weight in class_weights)
        if weights is not None and not all(math.isfinite(weight) and weight >= 0 for weight in weights):
            raise ValueError(f"class_weights must be finite numbers ≥ 0, one per class; came {class_weights!r}.")
        self.class_weights = weights

    def forward(
        self, logits: Float[Tensor, "batch class *space"], target: Integer[Tensor, "batch *space"]
    ) -> Float[Tensor, ""]:
        check_inputs(logits, target)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if self.class_weights is not None and len(self.class_weights) != logits.shape[1]:
            raise ValueError(
                f"class_weights has {len(self.class_weights)} values for {logits.shape[1]} classes (background first)."
            )
        given = self.class_weights
        weights = None if given is None else constant(given, logits.dtype, logits.device)
        charged, total = sum_over_processes(torch.stack(_charged_and_total(logits, target, weights)))
        return charged / torch.where(total == 0, torch.ones_like(total), total)


def _charged_and_total(logits: Tensor, target: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
    """Σ w_y · (−log p_y) and Σ w_y."""
    if not torch.compiler.is_compiling() and native_counts.takes(logits, target):
        charges, pixels = _Charges.apply(logits, target)
        if weights is not None:
            charges, pixels = charges * weights, pixels * weights
        return charges.sum(), pixels.sum()
    check_labels(target, logits.shape[1])
    charged = functional.cross_entropy(logits, target.long(), weight=weights, reduction="sum")
    return charged, charged.new_full((), target.numel()) if weights is None else weights[target.long()].sum()


class _Charges(Function):
    """Σ −log p of their own class over each class's pixels of the batch, and their number: each (class,)."""

    @staticmethod
    def forward(context: Any, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        sums = native_counts.charge(logits, target).sum((1, 2))
        if float(sums[1].sum()) != target.numel():  # no class counted some label
            check_labels(target, logits.shape[1])
        context.save_for_backward(logits, target)
        charges, pixels = sums.to(logits.dtype).unbind()
        context.mark_non_differentiable(pixels)
        return charges, pixels

    @staticmethod
    def backward(context: Any, by_charge: Tensor, _: Tensor) -> tuple[Tensor, None]:
        logits, target = context.saved_tensors
        if not torch.is_grad_enabled():
            return native_counts.charge_gradient(logits, target, by_charge.expand(logits.shape[:2])), None
        label = target.long()[:, None]  # a second derivative is wanted: torch must see every step
        off = logits.softmax(1) - torch.zeros_like(logits).scatter_(1, label, 1)
        return by_charge[label] * off, None


@LOSSES.register("crossE", "cross-entropy weighted by the inverse frequency of each class in the training slices")
def inverse_frequency_cross_entropy(*, class_frequencies: Sequence[float]) -> CrossEntropyLoss:
    """The study's baseline: w_c = 1 / (share of class c among the training pixels).

    A class never seen gets weight 0, with a warning. `class_frequencies` (class,) is filled in by the study.
    """
    if not all(math.isfinite(share) and share >= 0 for share in class_frequencies):
        raise ValueError(f"class_frequencies must be finite numbers ≥ 0, one per class; came {class_frequencies!r}.")
    unseen = [index for index, share in enumerate(class_frequencies) if share == 0]
    if unseen:
        warnings.warn(f"crossE: no training pixel of class {unseen}; their weight is 0", stacklevel=2)
    return CrossEntropyLoss(class_weights=[1 / share if share > 0 else 0.0 for share in class_frequencies])

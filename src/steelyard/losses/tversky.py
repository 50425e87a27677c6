"""Tversky loss: one minus IoU or Dice, with separate prices for false positives and false negatives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from jaxtyping import Float, Integer
from torch import Tensor, nn

from steelyard.losses import LOSSES
from steelyard.losses.fused_counts import totals_of_logits
from steelyard.losses.processes import mean_over_processes, sum_over_processes
from steelyard.losses.soft_counts import check_inputs
from steelyard.losses.tversky_terms import Absent, Pricing, mean_of_terms

Scope = Literal["batch", "slice"]


@LOSSES.register("tversky", "IoU with a price for each false positive and each false negative, and all options")
class IoULoss(nn.Module):
    """IoU_xy loss: 1 − mean over classes of TP / (TP + α FP + β FN), on softmax probabilities.

    Args:
        fp_weight: α, the price of a voxel wrongly included; a number, or one per class (background first).
        fn_weight: β, the price of a voxel missed. The study keeps α + β = 2; (1, 1) is IoU, (½, ½) is Dice.
        class_weights: weights of the classes' terms in the mean, one per class; equal when None.
        background: whether class 0 has a term in the mean.
        scope: `batch` pools the counts over the batch; `slice` takes each sample's loss, then their mean. The batch is
            that of all processes together, where several train one network.
        absent: what a class without a reference voxel in the scope adds: `formula` (its term is 1 with zero gradient
            and it stays in the divisor, as in the study), `skip` (left out of sum and divisor; a loss of 0 with zero
            gradient when no class remains), `penalise` (fp_weight × the mean probability of the class over the
            scope's voxels; it stays in the divisor).

    Shapes: logits (batch, class, *space), any float type; integer target (batch, *space). Returns a scalar.
    Sums run in float32 at least. Gradient of an index: ∂T/∂p_i = [g_i D − TP (α + (1 − α − β) g_i)] / D².

    Raises:
        ValueError: an option or a shape that does not fit, said in one line.

    >>> import torch
    >>> logits = torch.tensor([[[9.0, 9.0, -9.0, -9.0], [-9.0, -9.0, 9.0, 9.0]]])  # four voxels
    >>> target = torch.tensor([[0, 0, 0, 1]])                                      # one voxel spilled into class 1
    >>> loss = IoULoss(fp_weight=0.5, fn_weight=1.5)(logits, target)
    >>> round(float(loss), 3)                        # 1 − (2 / (2 + 1.5 · 1) + 1 / (1 + 0.5 · 1)) / 2
    0.381

    Source: Furtado, "Investigation of loss functions for improving deep segmentation of abdominal organs from MRI",
    section 2.2; Salehi et al., MLMI 2017, eq. 3.
    """

    def __init__(
        self,
        *,
        fp_weight: float | Sequence[float] = 1.0,
        fn_weight: float | Sequence[float] = 1.0,
        class_weights: Sequence[float] | None = None,
        background: bool = True,
        scope: Scope = "batch",
        absent: Absent = "formula",
    ) -> None:
        super().__init__()
        _check_choice("scope", scope, get_args(Scope))
        _check_choice("absent", absent, get_args(Absent))
        self.fp_weight = _weights("fp_weight", fp_weight)
        self.fn_weight = _weights("fn_weight", fn_weight)
        self.class_weights = 1.0 if class_weights is None else _weights("class_weights", class_weights)
        if not isinstance(background, bool):
            raise ValueError(f"background must be true or false; came {background!r}.")
        self.background = background
        self.scope = scope
        self.absent = absent

    def forward(
        self, logits: Float[Tensor, "batch class *space"], target: Integer[Tensor, "batch *space"]
    ) -> Float[Tensor, ""]:
        check_inputs(logits, target)
        self._check_lengths(logits.shape[1])
        of_batch = self.scope == "batch"
        totals = totals_of_logits(logits, target, pooled=of_batch)
        kind = torch.promote_types(logits.dtype, torch.float32)
        pricing = Pricing(self.fp_weight, self.fn_weight, self.class_weights, self.background, self.absent)
        values = mean_of_terms(sum_over_processes(totals) if of_batch else totals, pricing, kind=kind)
        return values if of_batch else mean_over_processes(values)

    def _check_lengths(self, classes: int) -> None:
        for name in ("fp_weight", "fn_weight", "class_weights"):
            weights = getattr(self, name)
            if isinstance(weights, tuple) and len(weights) != classes:
                raise ValueError(f"{name} has {len(weights)} values for {classes} classes (background first).")

    def extra_repr(self) -> str:
        return (
            f"fp_weight={self.fp_weight}, fn_weight={self.fn_weight}, class_weights={self.class_weights}, "
            f"background={self.background}, scope={self.scope}, absent={self.absent}"
        )


@LOSSES.register("iou11", "IoU: a voxel missed costs as much as a voxel spilled")
def iou11() -> IoULoss:
    """1 − mean IoU, background included."""
    return IoULoss(fp_weight=1.0, fn_weight=1.0)


@LOSSES.register("iou1505", "IoU_xy with α = 1.5, β = 0.5: spilled voxels cost three times the missed")
def iou1505() -> IoULoss:
    """The study's loss that charges more for false positives."""
    return IoULoss(fp_weight=1.5, fn_weight=0.5)


@LOSSES.register("iou0515", "IoU_xy with α = 0.5, β = 1.5: missed voxels cost three times the spilled")
def iou0515() -> IoULoss:
    """The study's best loss: it charges more for false negatives."""
    return IoULoss(fp_weight=0.5, fn_weight=1.5)


@LOSSES.register("dice", "Dice: IoU with both prices at one half")
def dice() -> IoULoss:
    """1 − mean Dice, background included."""
    return IoULoss(fp_weight=0.5, fn_weight=0.5)


@LOSSES.register("diceBK", "Dice over the organs only, the background left out")
def dice_without_background() -> IoULoss:
    """1 − mean Dice over the organs."""
    return IoULoss(fp_weight=0.5, fn_weight=0.5, background=False)


def _weights(name: str, values: float | Sequence[float]) -> float | tuple[float, ...]:
    """Plain numbers, not buffers: they follow the logits to any device, and `.half()` cannot round them."""
    weights = torch.as_tensor(values, dtype=torch.float64)
    if weights.ndim > 1 or not torch.isfinite(weights).all() or (weights < 0).any():
        raise ValueError(f"{name} must be a finite number ≥ 0, or one per class; came {values!r}.")
    return tuple(weights.tolist()) if weights.ndim else float(weights)


def _check_choice(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}; came {value!r}.")

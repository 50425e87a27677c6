"""Dice plus cross-entropy: the field's default since nnU-Net, an overlap term and a pixel term in one sum."""

from __future__ import annotations

import torch
from jaxtyping import Float, Integer
from torch import Tensor, nn

from steelyard.losses import LOSSES
from steelyard.losses.cross_entropy import CrossEntropyLoss
from steelyard.losses.tversky import IoULoss


@LOSSES.register("dice_ce", "Dice plus cross-entropy, in equal parts: the field's default")
class DiceCrossEntropyLoss(nn.Module):
    """(1 − mean Dice, background included) + cross-entropy, each with weight 1.

    Shapes as `IoULoss`. An absent class counts as there (`absent="formula"`).

    Source: Isensee et al., Nature Methods 18 (2021), online methods.
    """

    def __init__(self) -> None:
        super().__init__()
        self.dice = IoULoss(fp_weight=0.5, fn_weight=0.5)
        self.cross_entropy = CrossEntropyLoss()

    def forward(
        self, logits: Float[Tensor, "batch class *space"], target: Integer[Tensor, "batch *space"]
    ) -> Float[Tensor, ""]:
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))  # once for both
        return self.dice(logits, target) + self.cross_entropy(logits, target)

"""All slices of the patients in a fold, as two tensors that stay on the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from steelyard.preprocess.cache import PreparedCase, with_context


@dataclass(frozen=True, eq=False)
class SliceSet:
    """Images (slice, channel, row, column) float32 and class indices (slice, row, column) uint8, on one device."""

    images: Float[Tensor, "slice channel row column"]
    labels: UInt8[Tensor, "slice row column"]

    def __len__(self) -> int:
        return len(self.images)

    def class_frequencies(self, class_count: int) -> list[float]:
        """Share of each class among all pixels; sums to 1."""
        counts = torch.bincount(self.labels.flatten().long(), minlength=class_count)
        return [float(share) for share in counts.double() / counts.sum()]


def stack_slices(cases: Sequence[PreparedCase], *, context: int, device: torch.device) -> SliceSet:
    """Every slice of every case, in the order given; a `ValueError` for a case without labels."""
    labelled = [case.labels for case in cases if case.labels is not None]
    if len(labelled) < len(cases):
        names = ", ".join(case.case_id for case in cases if case.labels is None)
        raise ValueError(f"case {names} has no labels; leave it out of the folds.")
    images, labels = np.concatenate([with_context(case.images, context) for case in cases]), np.concatenate(labelled)
    return SliceSet(torch.from_numpy(images).to(device), torch.from_numpy(labels).to(device))

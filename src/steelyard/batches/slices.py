"""All slices of the patients in a fold, as two tensors that stay on the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from steelyard.batches.room import room_for
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


def stack_slices(cases: Sequence[PreparedCase], *, context: int, device: torch.device, overflow: Path) -> SliceSet:
    """Every slice of every case, in the order given; a `ValueError` for a case without labels.

    Args:
        overflow: the folder for slices that take too much memory (`room_for`).
    """
    unlabelled = [case.case_id for case in cases if case.labels is None]
    if unlabelled:
        raise ValueError(f"case {', '.join(unlabelled)} has no labels; leave it out of the folds.")
    count, (channels, *plane) = sum(len(case.images) for case in cases), cases[0].images.shape[1:]
    images = room_for((count, channels * (2 * context + 1), *plane), torch.float32, device=device, overflow=overflow)
    labels = room_for((count, *plane), torch.uint8, device=device, overflow=overflow)
    first = 0
    for case in cases:
        here = slice(first, first := first + len(case.images))
        for stack, array in ((images, with_context(case.images, context)), (labels, case.labels)):
            stack[here] = torch.from_numpy(np.require(array, requirements="W"))  # torch warns of read-only ones
    return SliceSet(images, labels)

"""What one network is asked to find: every organ (multiclass), or one organ against everything else (uniclass)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from steelyard.batches.slices import SliceSet
from steelyard.labels import LabelSet
from steelyard.volume import LabelMap


def task_label_set(label_set: LabelSet, organ: str | None) -> LabelSet:
    """The classes of the network: those of the data, or background and `organ`, which becomes class 1."""
    return label_set if organ is None else LabelSet((replace(label_set.organ(organ), index=1),))


def task_slices(slices: SliceSet, label_set: LabelSet, organ: str | None) -> SliceSet:
    """The slices with the network's classes as labels: 1 where the organ is, 0 elsewhere."""
    if organ is None:
        return slices
    return replace(slices, labels=(slices.labels == label_set.organ(organ).index).to(torch.uint8))


def task_reference(reference: LabelMap, organ: str | None) -> LabelMap:
    """The expert's label map with the network's classes."""
    if organ is None:
        return reference
    is_organ = reference.labels == reference.label_set.organ(organ).index
    return LabelMap(is_organ.astype(np.uint8), reference.geometry, task_label_set(reference.label_set, organ))

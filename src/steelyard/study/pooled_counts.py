"""The study's pooled multiclass counts: all organs thrown together, so that one organ taken for another is not seen.

They exist for the metric audit alone: no loss, no table and no choice reads them.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isnan
from typing import Any

import numpy as np

from steelyard import confusion
from steelyard.confusion import Confusion

# Index name → function of counts. All are higher for a better prediction, by their authors' intention.
POOLED_INDICES: dict[str, Callable[[Confusion], Any]] = {
    "accuracy": confusion.accuracy,
    "sensitivity": confusion.sensitivity,
    "specificity": confusion.specificity,
    "precision": confusion.precision,
    "iou": confusion.iou,
    "dice": confusion.dice,
}


def pooled_multiclass_counts(reference: np.ndarray, prediction: np.ndarray) -> Confusion:
    """Counts (scalars) of two arrays of class indices, background 0.

    TP: the same organ in both. FP: background in the reference, any organ in the prediction. FN: any organ in the
    reference, background in the prediction. TN: background in both. A voxel of one organ that is taken for another
    is none of the four, and so is missing from every sum.

    Source: Furtado, "Investigation of loss functions ...", section 2.1.
    """
    organ, found = reference > 0, prediction > 0
    return Confusion(
        *(
            int(np.count_nonzero(voxels))
            for voxels in (organ & (reference == prediction), ~organ & found, organ & ~found, ~organ & ~found)
        )
    )


def pooled_index(name: str, counts: Confusion) -> float | None:
    """One of `POOLED_INDICES`; None where it is 0 / 0."""
    return _defined(POOLED_INDICES[name](counts))


def auc_of_one_point(counts: Confusion) -> float | None:
    """(sensitivity + specificity) / 2: the area under the ROC curve through the one point that a label map has.

    A label map holds decisions and no probabilities, so its curve goes in straight lines from (0, 0) over its point to
    (1, 1). None where the reference is empty or fills the image.
    """
    return _defined((confusion.sensitivity(counts) + confusion.specificity(counts)) / 2)


def _defined(value: Any) -> float | None:
    return None if isnan(value) else float(value)

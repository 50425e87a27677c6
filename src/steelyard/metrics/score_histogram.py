"""Predicted probabilities inside and outside each organ, as histograms: all that ROC and precision–recall need."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from steelyard.volume import LabelMap

BIN_COUNT = 2048
LOGIT_LIMIT = 16.0  # float32 cannot tell probabilities above sigmoid(16) = 1 − 1.1e-7 from 1


@dataclass(frozen=True, eq=False)
class ScoreHistogram:
    """Voxels per class and bin of probability, (class, bin) int64: of the class (`positives`), not (`negatives`).

    Bins are equally wide in log(p / (1 − p)), 1/64 from −16 to 16, since networks crowd their probabilities at 0
    and 1, where equally wide bins of p would see nothing. Adds with `+` over cases.
    """

    positives: np.ndarray
    negatives: np.ndarray

    def __add__(self, other: ScoreHistogram) -> ScoreHistogram:
        return ScoreHistogram(self.positives + other.positives, self.negatives + other.negatives)

    def of_class(self, index: int) -> ScoreHistogram:
        """That of one class, (1, bin)."""
        return ScoreHistogram(self.positives[index : index + 1], self.negatives[index : index + 1])


def histogram_scores(probabilities: np.ndarray, reference: LabelMap) -> ScoreHistogram:
    """Probabilities (class, slice, row, column) on the reference's grid, sorted into bins against the reference.

    Raises:
        ValueError: a shape that does not fit the reference, or a probability outside 0–1 or NaN.
    """
    class_count = reference.label_set.class_count
    if probabilities.shape != (class_count, *reference.geometry.shape):
        raise ValueError(
            f"probabilities {probabilities.shape} do not fit {class_count} classes on {reference.geometry.shape}"
        )
    positives, negatives = [], []
    for index in range(class_count):
        bins = _bins(probabilities[index])
        inside = np.bincount(bins[reference.labels == index], minlength=BIN_COUNT)
        positives.append(inside)
        negatives.append(np.bincount(bins.ravel(), minlength=BIN_COUNT) - inside)
    return ScoreHistogram(np.stack(positives), np.stack(negatives))


def _bins(probability: np.ndarray) -> np.ndarray:
    p = probability.astype(np.float32)
    if not (p.min(initial=0) >= 0 and p.max(initial=0) <= 1):
        raise ValueError("probabilities must lie in 0–1")
    with np.errstate(divide="ignore"):
        logit = np.log(p) - np.log1p(-p)
    scaled = (np.clip(logit, -LOGIT_LIMIT, LOGIT_LIMIT) + LOGIT_LIMIT) * (BIN_COUNT / (2 * LOGIT_LIMIT))
    return np.minimum(scaled.astype(np.int16), BIN_COUNT - 1)

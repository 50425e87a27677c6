"""The four numbers behind every overlap index: true and false positives, false and true negatives, per class.

Written once for numpy and torch alike: hard counts (one-hot labels) make metrics, soft counts (probabilities) make
losses. Never pool over classes before an index: with a softmax Σ FP = Σ FN over classes, so weights would do nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Confusion:
    """Counts with equal shapes, (class,) or (case, class), of numpy or torch. Adds with `+`.

    TP_c = Σ p_c g_c, FP_c = Σ p_c (1 − g_c), FN_c = Σ (1 − p_c) g_c, TN_c = the rest.
    """

    tp: Any
    fp: Any
    fn: Any
    tn: Any

    def __add__(self, other: Confusion) -> Confusion:
        return Confusion(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.tn + other.tn)

    def over_cases(self) -> Confusion:
        """Pooled over the first axis: (case, class) → (class,)."""
        return Confusion(self.tp.sum(0), self.fp.sum(0), self.fn.sum(0), self.tn.sum(0))

    @property
    def reference_size(self) -> Any:
        """Σ g_c = TP + FN."""
        return self.tp + self.fn

    @property
    def prediction_size(self) -> Any:
        """Σ p_c = TP + FP."""
        return self.tp + self.fp


def count_labels(reference: np.ndarray, prediction: np.ndarray, class_count: int) -> Confusion:
    """Hard counts of two label arrays of equal shape: int64 arrays (class,)."""
    return from_matrix(confusion_matrix(reference, prediction, class_count))


def confusion_matrix(reference: np.ndarray, prediction: np.ndarray, class_count: int) -> np.ndarray:
    """M (class, class), int64: rows are the reference, columns the prediction.

    Raises:
        ValueError: arrays of different shape, or a label that is no class.
    """
    if reference.shape != prediction.shape:
        raise ValueError(f"reference {reference.shape} and prediction {prediction.shape} differ in shape")
    for labels in (reference, prediction):  # one too high would silently be counted as another pair of classes
        if labels.size and not (labels.min() >= 0 and labels.max() < class_count):
            raise ValueError(f"labels {labels.min()}–{labels.max()} were found where 0–{class_count - 1} are known")
    pairs = reference.astype(np.int64).ravel() * class_count + prediction.ravel()
    return np.bincount(pairs, minlength=class_count**2).reshape(class_count, class_count)


def from_matrix(matrix: np.ndarray) -> Confusion:
    """Per-class counts (class,) of a confusion matrix with the reference in rows."""
    tp = np.diagonal(matrix).copy()
    fn = matrix.sum(1) - tp
    fp = matrix.sum(0) - tp
    return Confusion(tp, fp, fn, matrix.sum() - tp - fp - fn)


def tversky_index(counts: Confusion, *, fp_weight: Any, fn_weight: Any, epsilon: float = 0.0) -> Any:
    """T = TP / (TP + α FP + β FN): IoU at (1, 1), Dice at (½, ½), the study's IoU_xy at α + β = 2.

    `fp_weight` α and `fn_weight` β are numbers or one per class. `epsilon` is added to the denominator alone. Undefined
    (NaN for numpy and torch) where reference and prediction are both empty and `epsilon` is 0.

    Source: Tversky, Psychological Review 84 (1977); Salehi et al., MLMI 2017, eq. 3; Furtado, section 2.2.
    """
    return _ratio(counts.tp, counts.tp + fp_weight * counts.fp + fn_weight * counts.fn + epsilon)


def iou(counts: Confusion) -> Any:
    """Intersection over union, the Jaccard index: TP / (TP + FP + FN). NaN where both are empty."""
    return tversky_index(counts, fp_weight=1, fn_weight=1)


def dice(counts: Confusion) -> Any:
    """Dice coefficient: 2 TP / (2 TP + FP + FN). NaN where both are empty."""
    return tversky_index(counts, fp_weight=0.5, fn_weight=0.5)


def sensitivity(counts: Confusion) -> Any:
    """TP / (TP + FN), also recall or true-positive rate. NaN where the reference is empty."""
    return _ratio(counts.tp, counts.tp + counts.fn)


def precision(counts: Confusion) -> Any:
    """TP / (TP + FP). NaN where the prediction is empty."""
    return _ratio(counts.tp, counts.tp + counts.fp)


def specificity(counts: Confusion) -> Any:
    """TN / (TN + FP). NaN where the reference fills the image."""
    return _ratio(counts.tn, counts.tn + counts.fp)


def false_positive_rate(counts: Confusion) -> Any:
    """FP / (TN + FP). NaN where the reference fills the image."""
    return _ratio(counts.fp, counts.tn + counts.fp)


def accuracy(counts: Confusion) -> Any:
    """(TP + TN) / all, per class against the rest. NaN without pixels."""
    return _ratio(counts.tp + counts.tn, counts.tp + counts.tn + counts.fp + counts.fn)


def _ratio(numerator: Any, denominator: Any) -> Any:
    if hasattr(numerator, "requires_grad"):  # a torch tensor: 0 / 0 is NaN without a warning
        return numerator / denominator
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(numerator, float) / np.asarray(denominator, float)

"""Areas under the ROC and precision–recall curves of one organ, from a sweep over the network's own scores."""

from __future__ import annotations

import numpy as np

from steelyard.metrics import METRICS
from steelyard.metrics.metric import COMPUTED, UNDEFINED, organ_metric
from steelyard.metrics.organ_pair import PooledOrgan
from steelyard.metrics.score_histogram import ScoreHistogram


@METRICS.register("roc_auc", "area under the ROC curve, from a sweep over the predicted probabilities")
@organ_metric(
    reads="histogram",
    convention="score_sweep",
    unit="1",
    better="higher",
    both_empty=UNDEFINED,
    invented=UNDEFINED,
    missed=COMPUTED,
)
def roc_auc(organ: PooledOrgan) -> float | None:
    """Chance that a voxel of the organ scores higher than one outside, ties counting half.

    Exact for the binned scores; `auc_resolution` bounds what binning may change. None when the reference is empty or
    fills the image.
    """
    if organ.histogram is None:
        return None
    false_positive_rate, true_positive_rate = roc_curve(organ.histogram)
    return float(np.trapezoid(true_positive_rate, false_positive_rate))


@METRICS.register("pr_auc", "average precision: area under the precision–recall steps")
@organ_metric(
    reads="histogram",
    convention="score_sweep",
    unit="1",
    better="higher",
    both_empty=UNDEFINED,
    invented=UNDEFINED,
    missed=COMPUTED,
)
def pr_auc(organ: PooledOrgan) -> float | None:
    """Σ_n (R_n − R_{n−1}) P_n over falling thresholds: steps, as straight lines between the points are too kind.

    None when the reference is empty.

    Source: the definition that scikit-learn's average_precision_score documents; Davis & Goadrich, ICML 2006.
    """
    if organ.histogram is None:
        return None
    recall, precision = pr_curve(organ.histogram)
    return float(np.diff(recall) @ precision[1:])


def roc_curve(histogram: ScoreHistogram) -> tuple[np.ndarray, np.ndarray]:
    """(false-positive rate, true-positive rate) of one class (1, bin) at every threshold, falling, from (0, 0).

    NaN where one of the two sides has no voxel.
    """
    with np.errstate(invalid="ignore"):
        fpr, tpr = (_from_top(side) / side.sum() for side in (histogram.negatives, histogram.positives))
    return fpr, tpr


def pr_curve(histogram: ScoreHistogram) -> tuple[np.ndarray, np.ndarray]:
    """(recall, precision) of one class (1, bin) at every threshold, falling. Precision is 1 before the first voxel."""
    hits, spills = _from_top(histogram.positives), _from_top(histogram.negatives)
    with np.errstate(invalid="ignore"):
        precision = np.where(hits + spills > 0, hits / (hits + spills), 1.0)
        recall = hits / hits[-1]
    return recall, precision


def auc_resolution(histogram: ScoreHistogram) -> float:
    """How far binning may move the ROC area, at most: half the share of (inside, outside) pairs that share a bin."""
    positives, negatives = histogram.positives[0], histogram.negatives[0]
    return float(0.5 * (positives / positives.sum()) @ (negatives / negatives.sum()))


def _from_top(side: np.ndarray) -> np.ndarray:
    """Voxels at or above each threshold, from none to all."""
    return np.concatenate([[0], np.cumsum(side[0, ::-1])])

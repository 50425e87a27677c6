"""Global metrics: one number for all classes together, the background included, as MATLAB's toolbox reports them.

All are computed from counts pooled over the cases at hand, once per class and never pooled over classes first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from steelyard import confusion
from steelyard.confusion import Confusion
from steelyard.metrics import METRICS
from steelyard.metrics.bf_score import mean_of_defined
from steelyard.metrics.boundary_match import SliceScores
from steelyard.metrics.metric import global_metric


@dataclass(frozen=True, eq=False)
class ClassTotals:
    """All classes of one case or many, background first: `counts` (class,) and BF scores `slices` (slice, class)."""

    counts: Confusion
    slices: SliceScores


@METRICS.register("global_accuracy", "global accuracy: share of all voxels with the right class")
@global_metric(name="accuracy")
def global_accuracy(totals: ClassTotals) -> float | None:
    """Σ_c M_cc / Σ M. Mostly background, so mostly high."""
    voxels = _voxels(totals.counts)
    return float(totals.counts.tp.sum() / voxels) if voxels else None


@METRICS.register("mean_sensitivity", "mean over classes of the sensitivity (MATLAB's mean accuracy)")
@global_metric()
def mean_sensitivity(totals: ClassTotals) -> float | None:
    """mean_c M_cc / M_c•; a class without a reference voxel is left out."""
    return mean_of_defined(confusion.sensitivity(totals.counts))


@METRICS.register("weighted_accuracy", "mean sensitivity, weighted by the classes' shares of the reference")
@global_metric()
def weighted_accuracy(totals: ClassTotals) -> float | None:
    """Σ_c (M_c• / N) (M_cc / M_c•). These weights cancel the divisor: it equals the global accuracy."""
    return _weighted(confusion.sensitivity(totals.counts), totals.counts)


@METRICS.register("mean_iou", "mean over classes of the IoU")
@global_metric()
def mean_iou(totals: ClassTotals) -> float | None:
    """mean_c IoU_c; a class in neither reference nor prediction is left out."""
    return mean_of_defined(confusion.iou(totals.counts))


@METRICS.register("weighted_iou", "IoU, weighted by the classes' shares of the reference")
@global_metric()
def weighted_iou(totals: ClassTotals) -> float | None:
    """Σ_c (M_c• / N) IoU_c."""
    return _weighted(confusion.iou(totals.counts), totals.counts)


@METRICS.register(
    "mean_bf_score", "mean over slices of the mean BF score over classes; a class in one mask is left out"
)
@global_metric()
def mean_bf_score(totals: ClassTotals) -> float | None:
    """Mean over slices of (mean over classes of BF), undefined ones left out, as MATLAB does: see `bf_score`."""
    return _mean_of_means(totals.slices.matlab)


@METRICS.register("mean_bf_score_missing_as_zero", "mean BF score, a class in one mask only counting 0 there")
@global_metric(name="mean_bf_score", convention="missing_as_zero")
def mean_bf_score_missing_as_zero(totals: ClassTotals) -> float | None:
    """As `mean_bf_score`, with every class that either mask holds on a slice."""
    return _mean_of_means(totals.slices.missing_as_zero)


def _mean_of_means(bf_scores: np.ndarray) -> float | None:
    per_slice = [mean_of_defined(classes) for classes in bf_scores]
    return mean_of_defined(np.array([np.nan if mean is None else mean for mean in per_slice]))


def _voxels(counts: Confusion) -> int:
    return int(counts.tp[0] + counts.fp[0] + counts.fn[0] + counts.tn[0])


def _weighted(values: np.ndarray, counts: Confusion) -> float | None:
    voxels = _voxels(counts)
    seen = counts.reference_size > 0  # elsewhere the weight is 0, and the value may be undefined
    return float((counts.reference_size[seen] / voxels) @ values[seen]) if voxels else None

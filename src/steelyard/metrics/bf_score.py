"""BF score: how well the outlines of an organ agree, slice by slice, in the two ways of treating a missing organ."""

from __future__ import annotations

import numpy as np

from steelyard.metrics import METRICS
from steelyard.metrics.metric import UNDEFINED, organ_metric
from steelyard.metrics.organ_pair import PooledOrgan


@METRICS.register("bf_score", "boundary F1, mean over slices; slices with the organ in one mask only are left out")
@organ_metric(
    reads="slices",
    convention="matlab",
    unit="1",
    better="higher",
    both_empty=UNDEFINED,
    invented=UNDEFINED,
    missed=UNDEFINED,
)
def bf_score(organ: PooledOrgan) -> float | None:
    """Mean over slices of the BF score at MATLAB's default threshold, 0.75 % of the slice's diagonal.

    MATLAB skips a slice where only one mask holds the organ, so that missing it RAISES the mean: read beside
    `missing_as_zero`. None when no slice holds it in both.
    """
    return mean_of_defined(organ.slices.matlab)


@METRICS.register("bf_score_missing_as_zero", "boundary F1, where a slice with the organ in one mask only counts 0")
@organ_metric(
    reads="slices",
    convention="missing_as_zero",
    unit="1",
    better="higher",
    both_empty=UNDEFINED,
    invented=0.0,
    missed=0.0,
    name="bf_score",
)
def bf_score_missing_as_zero(organ: PooledOrgan) -> float | None:
    """As `bf_score`, over every slice where either mask holds the organ."""
    return mean_of_defined(organ.slices.missing_as_zero)


def mean_of_defined(values: np.ndarray) -> float | None:
    """Mean of what is not NaN; None when nothing is left."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else None

"""Errors of an organ's volume, blind to where the voxels lie: relative (RAVD) and in millilitres."""

from __future__ import annotations

from steelyard.metrics import METRICS
from steelyard.metrics.metric import COMPUTED, UNDEFINED, organ_metric
from steelyard.metrics.organ_pair import OrganPair


@METRICS.register("ravd", "relative absolute volume difference, in percent of the reference")
@organ_metric(
    reads="masks", convention="chaos", unit="%", better="lower", both_empty=UNDEFINED, invented=UNDEFINED, missed=100.0
)
def ravd(pair: OrganPair) -> float:
    """100 · ||S| − |R|| / |R|.

    Source: Kavur et al., Medical Image Analysis 69 (2021), section 3.2 (CHAOS).
    """
    reference = int(pair.counts.reference_size)
    return 100 * abs(int(pair.counts.prediction_size) - reference) / reference


@METRICS.register("volume_error_ml", "predicted volume minus reference volume, in millilitres")
@organ_metric(
    reads="masks",
    convention="counts",
    unit="ml",
    better="nearer_zero",
    both_empty=0.0,
    invented=COMPUTED,
    missed=COMPUTED,
)
def volume_error_ml(pair: OrganPair) -> float:
    """(|S| − |R|) · voxel volume: positive when the prediction is too large."""
    return (int(pair.counts.prediction_size) - int(pair.counts.reference_size)) * pair.geometry.voxel_ml

"""Overlap of reference and prediction, from the four voxel counts of one organ: Dice, IoU and their relatives.

The formulas stand in `steelyard.confusion`, where the losses read them too. Here they gain what empty masks give.
"""

from __future__ import annotations

from steelyard import confusion
from steelyard.metrics import METRICS
from steelyard.metrics.metric import COMPUTED, UNDEFINED, organ_metric
from steelyard.metrics.organ_pair import PooledOrgan


@METRICS.register("dice", "Dice coefficient: overlap as a share of the two masks' mean size")
@organ_metric(
    reads="counts", convention="counts", unit="1", better="higher", both_empty=UNDEFINED, invented=0.0, missed=0.0
)
def dice(organ: PooledOrgan) -> float:
    """2 TP / (2 TP + FP + FN)."""
    return float(confusion.dice(organ.counts))


@METRICS.register("iou", "intersection over union: overlap as a share of what either mask covers")
@organ_metric(
    reads="counts", convention="counts", unit="1", better="higher", both_empty=UNDEFINED, invented=0.0, missed=0.0
)
def iou(organ: PooledOrgan) -> float:
    """TP / (TP + FP + FN)."""
    return float(confusion.iou(organ.counts))


@METRICS.register("precision", "share of the predicted voxels that are right")
@organ_metric(
    reads="counts", convention="counts", unit="1", better="higher", both_empty=UNDEFINED, invented=0.0, missed=UNDEFINED
)
def precision(organ: PooledOrgan) -> float:
    """TP / (TP + FP)."""
    return float(confusion.precision(organ.counts))


@METRICS.register("sensitivity", "share of the organ's voxels that were found")
@organ_metric(
    reads="counts", convention="counts", unit="1", better="higher", both_empty=UNDEFINED, invented=UNDEFINED, missed=0.0
)
def sensitivity(organ: PooledOrgan) -> float:
    """TP / (TP + FN)."""
    return float(confusion.sensitivity(organ.counts))


@METRICS.register("specificity", "share of the voxels outside the organ that were left outside")
@organ_metric(
    reads="counts",
    convention="counts",
    unit="1",
    better="higher",
    both_empty=COMPUTED,
    invented=COMPUTED,
    missed=COMPUTED,
)
def specificity(organ: PooledOrgan) -> float:
    """TN / (TN + FP). Depends on how much air the image holds: compare on one field of view only."""
    return float(confusion.specificity(organ.counts))


@METRICS.register("false_positive_rate", "share of the voxels outside the organ that were taken for it")
@organ_metric(
    reads="counts",
    convention="counts",
    unit="1",
    better="lower",
    both_empty=COMPUTED,
    invented=COMPUTED,
    missed=COMPUTED,
)
def false_positive_rate(organ: PooledOrgan) -> float:
    """FP / (TN + FP) = 1 − specificity."""
    return float(confusion.false_positive_rate(organ.counts))


@METRICS.register("accuracy", "share of all voxels that are right about this organ")
@organ_metric(
    reads="counts",
    convention="counts",
    unit="1",
    better="higher",
    both_empty=COMPUTED,
    invented=COMPUTED,
    missed=COMPUTED,
)
def accuracy(organ: PooledOrgan) -> float:
    """(TP + TN) / all. Near 1 for any small organ, even a missed one: never judge an organ by it alone."""
    return float(confusion.accuracy(organ.counts))

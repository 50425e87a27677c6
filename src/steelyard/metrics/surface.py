"""Distances between the borders of reference and prediction, in mm, on the borders of the CHAOS challenge.

Border: voxels of a mask with an off 6-neighbour; the image edge is no border. Slice step and pixel spacing come from
the grid. Other tools pool, weight by area or draw the border between voxels: theirs are other conventions.
"""

from __future__ import annotations

import numpy as np

from steelyard.metrics import METRICS
from steelyard.metrics.metric import DIAGONAL, UNDEFINED, organ_metric
from steelyard.metrics.organ_pair import OrganPair

ROUNDING_MM = 1e-4  # a spacing of 2 mm from rounded direction cosines may come out as 2.000001 mm


@METRICS.register("assd_mm", "average symmetric surface distance: mean over both borders' voxels")
@organ_metric(
    reads="masks",
    convention="chaos",
    unit="mm",
    better="lower",
    both_empty=UNDEFINED,
    invented=DIAGONAL,
    missed=DIAGONAL,
)
def assd_mm(pair: OrganPair) -> float | None:
    """Mean of both directed nearest-border distances together, so that the longer border weighs more.

    None when a mask fills the volume and so has no border.

    Source: Kavur et al., Medical Image Analysis 69 (2021), section 3.2 (CHAOS).
    """
    return None if pair.distances is None else float(pair.distances.pooled.mean())


@METRICS.register("mssd_mm", "maximum symmetric surface distance (Hausdorff distance of the borders)")
@organ_metric(
    reads="masks",
    convention="chaos",
    unit="mm",
    better="lower",
    both_empty=UNDEFINED,
    invented=DIAGONAL,
    missed=DIAGONAL,
)
def mssd_mm(pair: OrganPair) -> float | None:
    """Largest nearest-border distance, in either direction: one stray voxel sets it. None without a border.

    Source: as `assd_mm`.
    """
    return None if pair.distances is None else float(pair.distances.pooled.max())


@METRICS.register("hd95_mm", "95 % Hausdorff distance: the larger of the two directed 95th percentiles")
@organ_metric(
    reads="masks",
    convention="chaos",
    unit="mm",
    better="lower",
    both_empty=UNDEFINED,
    invented=DIAGONAL,
    missed=DIAGONAL,
)
def hd95_mm(pair: OrganPair) -> float | None:
    """max(P95 of reference → prediction, P95 of prediction → reference), with linear interpolation.

    Not the percentile of both directions pooled, which some tools report. None without a border.
    """
    if pair.distances is None:
        return None
    directed = (pair.distances.from_reference, pair.distances.from_prediction)
    return max(float(np.percentile(distances, 95, method="linear")) for distances in directed)


@METRICS.register("nsd_2mm", "normalised surface distance: share of both borders within 2 mm of the other")
@organ_metric(
    reads="masks", convention="chaos", unit="1", better="higher", both_empty=UNDEFINED, invented=0.0, missed=0.0
)
def nsd_2mm(pair: OrganPair) -> float | None:
    """`surface_agreement` at a tolerance of 2 mm, about one pixel of abdominal MRI."""
    return surface_agreement(pair, tolerance_mm=2.0)


def surface_agreement(pair: OrganPair, *, tolerance_mm: float) -> float | None:
    """NSD at a tolerance: share of the voxels of both borders at most `tolerance_mm` from the other border.

    Each voxel weighs the same (not by the area it stands for). None without a border.

    Source of the idea: Nikolov et al., arXiv:1809.04430, there weighted by area.
    """
    if pair.distances is None:
        return None
    return float(np.mean(pair.distances.pooled <= tolerance_mm + ROUNDING_MM))

"""Distances between the borders of reference and prediction, in mm, on the borders of the CHAOS challenge.

Border: voxels of a mask with an off 6-neighbour; the image edge is no border. Slice step and pixel spacing come from
the grid. Other tools pool, weight by area or draw the border between voxels: theirs are other conventions.
"""

from __future__ import annotations

from collections.abc import Callable

from steelyard.metrics import METRICS
from steelyard.metrics.metric import DIAGONAL, UNDEFINED, Convention, Metric, organ_metric
from steelyard.metrics.organ_pair import OrganPair

OrganNumber = Callable[[OrganPair], float | None]


def surface_distance(convention: Convention, *, name: str | None = None) -> Callable[[OrganNumber], Metric]:
    """Decorator of a distance in mm: lower is better, and a missed or invented organ costs the volume's diagonal."""
    return organ_metric(
        name=name,
        reads="masks",
        convention=convention,
        unit="mm",
        better="lower",
        both_empty=UNDEFINED,
        invented=DIAGONAL,
        missed=DIAGONAL,
    )


def surface_share(convention: Convention, *, name: str | None = None) -> Callable[[OrganNumber], Metric]:
    """Decorator of a share of surface that agrees: higher is better, and a missed or invented organ has 0."""
    return organ_metric(
        name=name,
        reads="masks",
        convention=convention,
        unit="1",
        better="higher",
        both_empty=UNDEFINED,
        invented=0.0,
        missed=0.0,
    )


@METRICS.register("assd_mm", "average symmetric surface distance: mean over both borders' voxels")
@surface_distance("chaos")
def assd_mm(pair: OrganPair) -> float | None:
    """Mean of both directed nearest-border distances together, so that the longer border weighs more.

    None when a mask fills the volume and so has no border.

    Source: Kavur et al., Medical Image Analysis 69 (2021), section 3.2 (CHAOS).
    """
    return None if pair.distances is None else pair.distances.average


@METRICS.register("mssd_mm", "maximum symmetric surface distance (Hausdorff distance of the borders)")
@surface_distance("chaos")
def mssd_mm(pair: OrganPair) -> float | None:
    """Largest nearest-border distance, in either direction: one stray voxel sets it. None without a border.

    Source: as `assd_mm`.
    """
    return None if pair.distances is None else pair.distances.largest


@METRICS.register("hd95_mm", "95 % Hausdorff distance: the larger of the two directed 95th percentiles")
@surface_distance("chaos")
def hd95_mm(pair: OrganPair) -> float | None:
    """max(P95 of reference → prediction, P95 of prediction → reference), with linear interpolation.

    Not the percentile of both directions pooled, which some tools report. None without a border.
    """
    return None if pair.distances is None else pair.distances.percentile_95


@METRICS.register("nsd_2mm", "normalised surface distance: share of both borders within 2 mm of the other")
@surface_share("chaos")
def nsd_2mm(pair: OrganPair) -> float | None:
    """`surface_agreement` at a tolerance of 2 mm, about one pixel of abdominal MRI."""
    return surface_agreement(pair, tolerance_mm=2.0)


def surface_agreement(pair: OrganPair, *, tolerance_mm: float) -> float | None:
    """NSD at a tolerance: share of the voxels of both borders at most `tolerance_mm` from the other border.

    Each voxel weighs the same (not by the area it stands for). None without a border.

    Source of the idea: Nikolov et al., arXiv:1809.04430, there weighted by area.
    """
    return None if pair.distances is None else pair.distances.within(tolerance_mm)

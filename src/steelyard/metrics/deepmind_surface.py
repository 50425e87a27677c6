"""Surface distances as DeepMind's surface-distance gives them: surfels between voxels, each weighing its area.

The surface runs half-way between voxels on and off (see `surfels`), and along the image edge too. A missed or invented
organ gives the volume's diagonal here, where the library prints inf and nan.

Source: Nikolov et al., arXiv:1809.04430; the library surface-distance 0.1 (google-deepmind).
"""

from __future__ import annotations

import numpy as np

from steelyard.metrics import METRICS
from steelyard.metrics.border_distances import ROUNDING_MM
from steelyard.metrics.organ_pair import OrganPair
from steelyard.metrics.surface import surface_distance, surface_share


@METRICS.register(
    "assd_from_reference_mm", "average distance from the reference's surface, weighted by area (DeepMind)"
)
@surface_distance("deepmind")
def assd_from_reference_mm(pair: OrganPair) -> float | None:
    """Σ area · distance / Σ area over the reference's surfels: the first number of compute_average_surface_distance."""
    if pair.surfels is None:
        return None
    return float(np.average(pair.surfels.distances.from_reference, weights=pair.surfels.reference_mm2))


@METRICS.register("assd_from_prediction_mm", "average distance from the prediction's surface, by area (DeepMind)")
@surface_distance("deepmind")
def assd_from_prediction_mm(pair: OrganPair) -> float | None:
    """Σ area · distance / Σ area over the prediction's surfels: the second number."""
    if pair.surfels is None:
        return None
    return float(np.average(pair.surfels.distances.from_prediction, weights=pair.surfels.prediction_mm2))


@METRICS.register("assd_mm_deepmind", "mean of DeepMind's two directed average surface distances")
@surface_distance("deepmind", name="assd_mm")
def assd_mm_deepmind(pair: OrganPair) -> float | None:
    """(`assd_from_reference_mm` + `assd_from_prediction_mm`) / 2. The library gives these two, not their mean."""
    directed = (assd_from_reference_mm(pair), assd_from_prediction_mm(pair))
    return None if directed[0] is None or directed[1] is None else (directed[0] + directed[1]) / 2


@METRICS.register("mssd_mm_deepmind", "Hausdorff distance between surfels, as DeepMind's compute_robust_hausdorff(100)")
@surface_distance("deepmind", name="mssd_mm")
def mssd_mm_deepmind(pair: OrganPair) -> float | None:
    """Largest distance from a surfel of one surface to the nearest of the other."""
    return None if pair.surfels is None else pair.surfels.distances.largest


@METRICS.register("hd95_mm_deepmind", "95 % Hausdorff distance by area, as DeepMind's compute_robust_hausdorff(95)")
@surface_distance("deepmind", name="hd95_mm")
def hd95_mm_deepmind(pair: OrganPair) -> float | None:
    """The larger of the two directed distances below which 95 % of a surface's area lies, without interpolation."""
    if pair.surfels is None:
        return None
    distances = pair.surfels.distances
    return max(
        quantile_by_area(distances.from_reference, pair.surfels.reference_mm2, 0.95),
        quantile_by_area(distances.from_prediction, pair.surfels.prediction_mm2, 0.95),
    )


@METRICS.register("nsd_2mm_deepmind", "surface Dice at 2 mm by area, as DeepMind's compute_surface_dice_at_tolerance")
@surface_share("deepmind", name="nsd_2mm")
def nsd_2mm_deepmind(pair: OrganPair) -> float | None:
    """Share of both surfaces' area at most 2 mm from the other surface."""
    if pair.surfels is None:
        return None
    within = pair.surfels.distances.pooled <= 2.0 + ROUNDING_MM
    return float(np.average(within, weights=pair.surfels.pooled_mm2))


def quantile_by_area(distances: np.ndarray, areas_mm2: np.ndarray, share: float) -> float:
    """The first distance, in rising order (then by area), up to which the surfels hold `share` of the area."""
    order = np.lexsort((areas_mm2, distances))
    held = np.cumsum(areas_mm2[order]) / np.sum(areas_mm2[order])
    place = min(int(np.searchsorted(held, share)), len(order) - 1)
    return float(distances[order][place])

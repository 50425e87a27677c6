"""Surface distances as MONAI's metrics give them: borders of voxels, the image edge among them, each voxel weighing 1.

They differ from the CHAOS ones only where a mask touches the image edge (there MONAI sees a border), and on a sheared
grid, where MONAI measures along the grid's axes. What follows is MONAI given `spacing`; without it, it counts voxels.
A missed or invented organ gives the volume's diagonal here, where MONAI prints inf (nan for a percentile).

Source: MONAI 1.5 and 1.6, monai.metrics (SurfaceDistanceMetric with symmetric=True, HausdorffDistanceMetric,
SurfaceDiceMetric without use_subvoxels).
"""

from __future__ import annotations

import numpy as np

from steelyard.metrics import METRICS
from steelyard.metrics.metric import DIAGONAL, UNDEFINED, organ_metric
from steelyard.metrics.organ_pair import OrganPair
from steelyard.metrics.surface import ROUNDING_MM


@METRICS.register(
    "assd_mm_monai", "average symmetric surface distance, as MONAI's SurfaceDistanceMetric(symmetric=True)"
)
@organ_metric(
    name="assd_mm",
    reads="masks",
    convention="monai",
    unit="mm",
    better="lower",
    both_empty=UNDEFINED,
    invented=DIAGONAL,
    missed=DIAGONAL,
)
def assd_mm_monai(pair: OrganPair) -> float | None:
    """Mean of both directed nearest-border distances together."""
    return None if pair.edge_distances is None else float(pair.edge_distances.pooled.mean())


@METRICS.register("mssd_mm_monai", "Hausdorff distance, as MONAI's HausdorffDistanceMetric")
@organ_metric(
    name="mssd_mm",
    reads="masks",
    convention="monai",
    unit="mm",
    better="lower",
    both_empty=UNDEFINED,
    invented=DIAGONAL,
    missed=DIAGONAL,
)
def mssd_mm_monai(pair: OrganPair) -> float | None:
    """Largest nearest-border distance, in either direction."""
    return None if pair.edge_distances is None else float(pair.edge_distances.pooled.max())


@METRICS.register("hd95_mm_monai", "95 % Hausdorff distance, as MONAI's HausdorffDistanceMetric(percentile=95)")
@organ_metric(
    name="hd95_mm",
    reads="masks",
    convention="monai",
    unit="mm",
    better="lower",
    both_empty=UNDEFINED,
    invented=DIAGONAL,
    missed=DIAGONAL,
)
def hd95_mm_monai(pair: OrganPair) -> float | None:
    """The larger of the two directed 95th percentiles, with linear interpolation."""
    if pair.edge_distances is None:
        return None
    directed = (pair.edge_distances.from_reference, pair.edge_distances.from_prediction)
    return max(float(np.percentile(distances, 95, method="linear")) for distances in directed)


@METRICS.register("nsd_2mm_monai", "surface Dice at 2 mm, as MONAI's SurfaceDiceMetric")
@organ_metric(
    name="nsd_2mm",
    reads="masks",
    convention="monai",
    unit="1",
    better="higher",
    both_empty=UNDEFINED,
    invented=0.0,
    missed=0.0,
)
def nsd_2mm_monai(pair: OrganPair) -> float | None:
    """Share of both borders' voxels at most 2 mm from the other border."""
    if pair.edge_distances is None:
        return None
    return float(np.mean(pair.edge_distances.pooled <= 2.0 + ROUNDING_MM))

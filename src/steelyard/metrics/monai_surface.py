"""Surface distances as MONAI's metrics give them: borders of voxels, the image edge among them, each voxel weighing 1.

They differ from the CHAOS ones only where a mask touches the image edge (there MONAI sees a border), and on a sheared
grid, where MONAI measures along the grid's axes. What follows is MONAI given `spacing`; without it, it counts voxels.
A missed or invented organ gives the volume's diagonal here, where MONAI prints inf (nan for a percentile).

Source: MONAI 1.5 and 1.6, monai.metrics (SurfaceDistanceMetric with symmetric=True, HausdorffDistanceMetric,
SurfaceDiceMetric without use_subvoxels).
"""

from __future__ import annotations

from steelyard.metrics import METRICS
from steelyard.metrics.organ_pair import OrganPair
from steelyard.metrics.surface import surface_distance, surface_share


@METRICS.register(
    "assd_mm_monai", "average symmetric surface distance, as MONAI's SurfaceDistanceMetric(symmetric=True)"
)
@surface_distance("monai", name="assd_mm")
def assd_mm_monai(pair: OrganPair) -> float | None:
    """Mean of both directed nearest-border distances together."""
    return None if pair.edge_distances is None else pair.edge_distances.average


@METRICS.register("mssd_mm_monai", "Hausdorff distance, as MONAI's HausdorffDistanceMetric")
@surface_distance("monai", name="mssd_mm")
def mssd_mm_monai(pair: OrganPair) -> float | None:
    """Largest nearest-border distance, in either direction."""
    return None if pair.edge_distances is None else pair.edge_distances.largest


@METRICS.register("hd95_mm_monai", "95 % Hausdorff distance, as MONAI's HausdorffDistanceMetric(percentile=95)")
@surface_distance("monai", name="hd95_mm")
def hd95_mm_monai(pair: OrganPair) -> float | None:
    """The larger of the two directed 95th percentiles, with linear interpolation."""
    return None if pair.edge_distances is None else pair.edge_distances.percentile_95


@METRICS.register("nsd_2mm_monai", "surface Dice at 2 mm, as MONAI's SurfaceDiceMetric")
@surface_share("monai", name="nsd_2mm")
def nsd_2mm_monai(pair: OrganPair) -> float | None:
    """Share of both borders' voxels at most 2 mm from the other border."""
    return None if pair.edge_distances is None else pair.edge_distances.within(2.0)

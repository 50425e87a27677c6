"""Which voxels of a mask are its border, and how far the border of another mask is from each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from steelyard.metrics.near_voxels import look_around, surroundings

FEW_PAIRS = 500_000  # are measured one by one sooner than a search tree is built
FEW_PLACES = 40  # around each voxel; where these show that two borders lie far apart, no others are looked at
VOXELS_PER_PLACE = 16  # below, a distance transform of the whole array takes less time than a tree search per place
RIGHT_ANGLE = 1e-12  # how far from one, relative to squared steps, is still one
LOST = 0.5  # share of voxels with nothing near, above which a search tree serves them all
ROUNDING_MM = 1e-4  # a spacing of 2 mm from rounded direction cosines may come out as 2.000001 mm


@dataclass(frozen=True, eq=False)
class SurfaceDistances:
    """Distances from each border element of one mask to the nearest of the other. Order has no meaning."""

    from_reference: np.ndarray
    from_prediction: np.ndarray

    @cached_property
    def pooled(self) -> np.ndarray:
        """Both directions in one array."""
        return np.concatenate([self.from_reference, self.from_prediction])

    @property
    def average(self) -> float:
        """Mean of both directions together, so that the longer border weighs more."""
        return float(self.pooled.mean())

    @property
    def largest(self) -> float:
        """Hausdorff distance: the largest in either direction."""
        return float(self.pooled.max())

    @property
    def percentile_95(self) -> float:
        """The larger of the two directed 95th percentiles, with linear interpolation."""
        directed = (self.from_reference, self.from_prediction)
        return max(float(np.percentile(distances, 95, method="linear")) for distances in directed)

    def within(self, tolerance_mm: float) -> float:
        """Share of all elements at most `tolerance_mm` from the other border."""
        return float(np.mean(self.pooled <= tolerance_mm + ROUNDING_MM))


def border(mask: np.ndarray, *, image_edge: bool, axes: tuple[int, ...] = (0, 1, 2)) -> np.ndarray:
    """Voxels of a boolean mask (slice, row, column) with an off neighbour along one of the axes.

    `image_edge` also takes those with a neighbour off the image. A crop serves as well as the whole image if it leaves
    a voxel of room wherever the image does.
    """
    off = np.full([n + 2 for n in mask.shape], image_edge)
    inside = (slice(1, -1),) * mask.ndim
    np.logical_not(mask, out=off[inside])
    beside_off = np.zeros_like(off)
    for axis in axes:
        step = off.strides[axis]  # one byte each, so that neighbours are that far apart; what wraps falls on the rim
        beside_off.ravel()[step:] |= off.ravel()[:-step]
        beside_off.ravel()[:-step] |= off.ravel()[step:]
    return mask & beside_off[inside]


def nearest(elements: np.ndarray, others: np.ndarray, to_mm: np.ndarray) -> np.ndarray:
    """Distance from each True of `elements`, in numpy's order, to the nearest True of `others`.

    Args:
        to_mm: (3, 3), times which an index becomes a place: index @ to_mm.

    Only elements that the other array lacks are searched, since where the two coincide the distance is 0; and by a tree
    or a distance transform only those with nothing near.
    """
    away = elements & ~others
    places = np.flatnonzero(away)
    around = surroundings(to_mm)
    found = look_around(places, others, around.first(FEW_PLACES))
    lost = np.isinf(found)
    if 0 < lost.sum() < LOST * len(places):
        found[lost] = look_around(places[lost], others, around)
        lost = np.isinf(found)
    if lost.any():
        found[lost] = _nearest_anywhere(places[lost], others, to_mm)
    distances = np.zeros(np.count_nonzero(elements))
    distances[away[elements]] = found
    return distances


def _nearest_anywhere(places: np.ndarray, others: np.ndarray, to_mm: np.ndarray) -> np.ndarray:
    """Distances from flat indices into `others`."""
    squared_steps = to_mm @ to_mm.T
    skew = squared_steps - np.diag(np.diag(squared_steps))
    if others.size < VOXELS_PER_PLACE * len(places) and np.abs(skew).max() <= RIGHT_ANGLE * squared_steps.max():
        return distance_transform_edt(~others, sampling=np.sqrt(np.diag(squared_steps))).ravel()[places]
    places_mm = _voxels(places, others.shape) @ to_mm
    others_mm = _voxels(np.flatnonzero(others), others.shape) @ to_mm
    if len(places_mm) * len(others_mm) <= FEW_PAIRS:
        return cdist(places_mm, others_mm).min(axis=1)
    tree = cKDTree(others_mm, balanced_tree=False, compact_nodes=False)
    return np.asarray(tree.query(places_mm)[0])


def _voxels(places: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.stack(np.unravel_index(places, shape), axis=1)

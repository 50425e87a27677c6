"""Which voxels of a mask are its border, and how far the border of another mask is from each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree


@dataclass(frozen=True, eq=False)
class SurfaceDistances:
    """Distances from each border element of one mask to the nearest of the other. Order has no meaning."""

    from_reference: np.ndarray
    from_prediction: np.ndarray

    @property
    def pooled(self) -> np.ndarray:
        """Both directions in one array."""
        return np.concatenate([self.from_reference, self.from_prediction])


def border(mask: np.ndarray, *, image_edge: bool) -> np.ndarray:
    """Voxels of a boolean mask with an off 6-neighbour; `image_edge` also takes those with a neighbour off the image.

    A crop serves as well as the whole image if it leaves a voxel of room wherever the image does.
    """
    if image_edge:
        return border(np.pad(mask, 1), image_edge=False)[(slice(1, -1),) * mask.ndim]
    interior = mask.copy()
    for axis in range(mask.ndim):
        inner, along = np.moveaxis(interior, axis, 0), np.moveaxis(mask, axis, 0)
        inner[1:] &= along[:-1]
        inner[:-1] &= along[1:]
    return mask & ~interior


def nearest(elements: np.ndarray, others: np.ndarray, to_mm: np.ndarray) -> np.ndarray:
    """Distance from each True of `elements`, in numpy's order, to the nearest True of `others`.

    Args:
        to_mm: (3, 3), times which an index becomes a place: index @ to_mm.

    Only elements that the other array lacks are searched: where the two coincide the distance is 0.
    """
    distances = np.zeros(np.count_nonzero(elements))
    away = np.argwhere(elements & ~others) @ to_mm
    if len(away):
        tree = cKDTree(np.argwhere(others) @ to_mm, balanced_tree=False, compact_nodes=False)
        distances[~others[elements]] = tree.query(away)[0]
    return distances

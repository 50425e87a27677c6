"""One organ in two masks, with everything that several metrics share measured once, and only when asked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from scipy.spatial import cKDTree

from steelyard.confusion import Confusion
from steelyard.metrics.boundary_match import SliceScores, match_slices
from steelyard.metrics.score_histogram import ScoreHistogram
from steelyard.volume import Geometry


class PooledOrgan(Protocol):
    """What can be added over cases: an organ of one case (`OrganPair`) and of many (`OrganTotals`) both have it."""

    @property
    def counts(self) -> Confusion:
        """Voxel counts, scalars."""
        ...

    @property
    def slices(self) -> SliceScores:
        """BF score of every slice."""
        ...

    @property
    def histogram(self) -> ScoreHistogram | None:
        """Predicted probabilities inside and outside the organ, (1, bin); None where only masks are known."""
        ...


@dataclass(frozen=True)
class OrganTotals:
    """One organ pooled over cases."""

    counts: Confusion
    slices: SliceScores
    histogram: ScoreHistogram | None = None


@dataclass(frozen=True, eq=False)
class SurfaceDistances:
    """Distances in mm from each border voxel of one mask to the nearest of the other. Order has no meaning."""

    from_reference: np.ndarray
    from_prediction: np.ndarray

    @property
    def pooled(self) -> np.ndarray:
        """Both directions in one array."""
        return np.concatenate([self.from_reference, self.from_prediction])


@dataclass(frozen=True, eq=False)
class OrganPair:
    """One organ of one case: reference and prediction as boolean arrays (slice, row, column) on one grid.

    Raises:
        ValueError: masks that do not fit the geometry.
    """

    reference: np.ndarray
    prediction: np.ndarray
    geometry: Geometry
    histogram: ScoreHistogram | None = None

    def __post_init__(self) -> None:
        shapes = (self.reference.shape, self.prediction.shape)
        if shapes != (self.geometry.shape,) * 2:
            raise ValueError(f"masks {shapes[0]} and {shapes[1]} do not fit the grid {self.geometry.shape}")
        if self.reference.dtype != bool or self.prediction.dtype != bool:
            raise ValueError(f"masks must be boolean; came {self.reference.dtype} and {self.prediction.dtype}")

    @cached_property
    def counts(self) -> Confusion:
        """TP, FP, FN and TN, in voxels."""
        reference, prediction = (np.count_nonzero(mask) for mask in self._cropped)
        tp = np.count_nonzero(self._cropped[0] & self._cropped[1])
        fp, fn = prediction - tp, reference - tp
        return Confusion(tp, fp, fn, self.reference.size - tp - fp - fn)

    @cached_property
    def distances(self) -> SurfaceDistances | None:
        """Border-to-border distances in patient mm, right on a tilted grid too; None when a mask has no border voxel.

        Border: voxels of a mask with an off 6-neighbour; the image edge is no border (CHAOS). So a mask that fills
        the whole volume has none.
        """
        reference, prediction = (_border(mask) for mask in self._cropped)
        if not (reference.any() and prediction.any()):
            return None
        return SurfaceDistances(self._distances_mm(reference, prediction), self._distances_mm(prediction, reference))

    @cached_property
    def slices(self) -> SliceScores:
        """BF score of every slice of the volume, at MATLAB's default threshold."""
        rows, columns = self.geometry.shape[1:]
        cropped = match_slices(*self._cropped, slice_shape=(rows, columns))
        return cropped.placed(self._box[0].start, self.geometry.shape[0])

    @cached_property
    def _box(self) -> tuple[slice, slice, slice]:
        """Where either mask is, and one voxel around, so that the borders in the crop are those in the volume."""
        either = self.reference | self.prediction
        if not either.any():
            return slice(0, 1), slice(0, 1), slice(0, 1)
        planes = either.any(axis=0)
        spans = []
        for occupied in (either.any(axis=(1, 2)), planes.any(axis=1), planes.any(axis=0)):
            inside = np.flatnonzero(occupied)
            spans.append(slice(max(int(inside[0]) - 1, 0), int(inside[-1]) + 2))
        return spans[0], spans[1], spans[2]

    @cached_property
    def _cropped(self) -> tuple[np.ndarray, np.ndarray]:
        return np.ascontiguousarray(self.reference[self._box]), np.ascontiguousarray(self.prediction[self._box])

    def _distances_mm(self, border: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Only voxels off the other border are searched: where borders coincide the distance is 0."""
        to_mm = self.geometry.affine[:3, :3].T
        away = np.argwhere(border & ~other) @ to_mm
        distances = np.zeros(np.count_nonzero(border))
        if len(away):
            tree = cKDTree(np.argwhere(other) @ to_mm, balanced_tree=False, compact_nodes=False)
            distances[: len(away)] = tree.query(away)[0]
        return distances


def _border(mask: np.ndarray) -> np.ndarray:
    interior = mask.copy()
    for axis in range(mask.ndim):
        inner, along = np.moveaxis(interior, axis, 0), np.moveaxis(mask, axis, 0)
        inner[1:] &= along[:-1]
        inner[:-1] &= along[1:]
    return mask & ~interior

"""One organ in two masks, with everything that several metrics share measured once, and only when asked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from steelyard.confusion import Confusion
from steelyard.metrics.border_distances import SurfaceDistances, border, nearest
from steelyard.metrics.boundary_match import SliceScores, match_slices
from steelyard.metrics.score_histogram import ScoreHistogram
from steelyard.metrics.surfels import SurfelDistances, surfel_distances
from steelyard.volume import Geometry

RIGHT_ANGLE_TOLERANCE = 1e-5  # of a cosine: direction cosines in files are rounded


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
        return self._between_borders(self.geometry.affine[:3, :3].T, image_edge=False)

    @cached_property
    def edge_distances(self) -> SurfaceDistances | None:
        """As `distances`, with the image edge as border and millimetres along the grid's own axes (MONAI).

        The same numbers as `distances` where no mask touches the image edge, on a grid of right angles.
        """
        if not self._touches_edge and self.right_angled:
            return self.distances
        return self._between_borders(np.diag(self.geometry.spacing_mm), image_edge=True)

    @cached_property
    def edge_distances_in_voxels(self) -> SurfaceDistances | None:
        """As `edge_distances`, every voxel counted as 1: what MONAI measures when it is given no spacing."""
        return self._between_borders(np.eye(3), image_edge=True)

    @cached_property
    def surfels(self) -> SurfelDistances | None:
        """Distances between the surface elements of both masks, in mm along the grid's own axes, with their areas."""
        return surfel_distances(*self._cropped, self.geometry.spacing_mm)

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

    @cached_property
    def _touches_edge(self) -> bool:
        faces = [(slice(None),) * axis + (end,) for axis in range(3) for end in (0, -1)]
        return any(bool(mask[face].any()) for mask in (self.reference, self.prediction) for face in faces)

    @cached_property
    def right_angled(self) -> bool:
        axes = self.geometry.affine[:3, :3] / np.array(self.geometry.spacing_mm)
        return bool(np.abs(axes.T @ axes - np.eye(3)).max() < RIGHT_ANGLE_TOLERANCE)

    def _between_borders(self, to_mm: np.ndarray, *, image_edge: bool) -> SurfaceDistances | None:
        reference, prediction = (border(mask, image_edge=image_edge) for mask in self._cropped)
        if not (reference.any() and prediction.any()):
            return None
        return SurfaceDistances(nearest(reference, prediction, to_mm), nearest(prediction, reference, to_mm))

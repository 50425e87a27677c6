"""One organ in two masks, with everything that several metrics share measured once, and only when asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Protocol

import numpy as np
from scipy.ndimage import find_objects

from steelyard.confusion import Confusion
from steelyard.metrics.border_distances import SurfaceDistances, border, nearest
from steelyard.metrics.boundary_match import SliceScores, match_slices
from steelyard.metrics.score_histogram import ScoreHistogram
from steelyard.metrics.surfels import SurfelDistances, surfel_distances
from steelyard.volume import Geometry, LabelMap

Box = tuple[slice, slice, slice]

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

    Args:
        corner: where the masks are a crop of the grid, the voxel at which it starts. The crop holds all of both masks
            and, unless the grid ends there, one voxel around. None: the masks are as large as the grid.

    Raises:
        ValueError: masks that do not fit the geometry.
    """

    reference: np.ndarray
    prediction: np.ndarray
    geometry: Geometry
    histogram: ScoreHistogram | None = None
    corner: tuple[int, int, int] | None = None

    def __post_init__(self) -> None:
        shapes = (self.reference.shape, self.prediction.shape)
        ends = np.add(shapes[0], self.corner or 0)
        fits = shapes[0] == self.geometry.shape if self.corner is None else (ends <= self.geometry.shape).all()
        if shapes[0] != shapes[1] or not fits:
            raise ValueError(f"masks {shapes[0]} and {shapes[1]} do not fit the grid {self.geometry.shape}")
        if self.reference.dtype != bool or self.prediction.dtype != bool:
            raise ValueError(f"masks must be boolean; came {self.reference.dtype} and {self.prediction.dtype}")

    @cached_property
    def counts(self) -> Confusion:
        """TP, FP, FN and TN, in voxels."""
        reference, prediction = (np.count_nonzero(mask) for mask in self._cropped)
        tp = np.count_nonzero(self._cropped[0] & self._cropped[1])
        fp, fn = prediction - tp, reference - tp
        return Confusion(tp, fp, fn, prod(self.geometry.shape) - tp - fp - fn)

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
        first = self._box[0].start + (self.corner or (0,))[0]
        return cropped.placed(first, self.geometry.shape[0])

    @cached_property
    def _box(self) -> Box:
        """Where either mask is, and one voxel around, so that the borders in the crop are those in the volume."""
        if self.corner is not None:
            return _box(*((0, n) for n in self.reference.shape))
        return _with_room(_where(self.reference | self.prediction))

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


def organ_pairs(reference: LabelMap, prediction: LabelMap, histograms: ScoreHistogram | None = None) -> list[OrganPair]:
    """Every class of two label maps on one grid, the background first, each cut out with a voxel of room.

    However many organs there are, the whole grid is gone through a few times only.
    """
    labels = reference.labels, prediction.labels
    boxes = organ_boxes(*labels, reference.label_set.class_count)
    return [
        OrganPair(
            labels[0][box] == index,
            labels[1][box] == index,
            reference.geometry,
            None if histograms is None else histograms.of_class(index),
            corner=(box[0].start, box[1].start, box[2].start),
        )
        for index, box in enumerate(boxes)
    ]


def organ_boxes(reference: np.ndarray, prediction: np.ndarray, class_count: int) -> list[Box]:
    """For each class, where either label array (slice, row, column) holds it, and one voxel around; first the whole."""
    inner = _where(np.logical_or(reference, prediction))
    found = (find_objects(labels[inner], class_count - 1) for labels in (reference, prediction))
    organs = [_joined([box for box in pair if box is not None], inner) for pair in zip(*found, strict=True)]
    return [_box(*((0, n) for n in reference.shape)), *(_with_room(organ) for organ in organs)]


def _where(mask: np.ndarray) -> Box:
    """The smallest box around all that is on; an empty one where nothing is."""
    planes = np.bitwise_or.reduce(mask, axis=0)
    lines = mask.any(axis=(1, 2)), planes.any(axis=1), planes.any(axis=0)
    inside = [np.flatnonzero(line) for line in lines]
    return _box(*((int(found[0]), int(found[-1]) + 1) if len(found) else (0, 0) for found in inside))


def _joined(boxes: Sequence[Box], inner: Box) -> Box:
    """The box around all of those, which lie in `inner`."""
    if not boxes:
        return _box((0, 0), (0, 0), (0, 0))
    axes = zip(inner, *boxes, strict=True)
    return _box(
        *((all_.start + min(s.start for s in spans), all_.start + max(s.stop for s in spans)) for all_, *spans in axes)
    )


def _with_room(box: Box) -> Box:
    """One voxel more on each side; where the grid ends, an index beyond it is none."""
    return _box(*((max(span.start - 1, 0), span.stop + 1) for span in box))


def _box(*spans: tuple[int, int]) -> Box:
    slices, rows, columns = (slice(*span) for span in spans)
    return slices, rows, columns

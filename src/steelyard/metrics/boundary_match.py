"""Do two outlines agree within a few pixels? Boundary F1 (BF) score of every 2-D slice of a pair of masks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from steelyard.metrics.border_distances import border
from steelyard.metrics.near_voxels import Surroundings, look_around, pixels_within

DEFAULT_THRESHOLD = 0.0075  # of the slice's diagonal: the default of MATLAB's bfscore


@dataclass(frozen=True, eq=False)
class SliceScores:
    """BF score per slice, (slice,) or (slice, class), NaN where undefined, in two conventions.

    `matlab` is NaN where the organ is in one of the masks only, so that missing an organ on a slice is not charged;
    `missing_as_zero` is 0 there. Both are NaN where it is in neither.
    """

    matlab: np.ndarray
    missing_as_zero: np.ndarray

    def placed(self, first: int, slice_count: int) -> SliceScores:
        """These slices as number `first` and on of a volume that is empty elsewhere."""
        around = (first, slice_count - first - len(self.matlab))
        return SliceScores(*(np.pad(s, around, constant_values=np.nan) for s in (self.matlab, self.missing_as_zero)))


def match_slices(
    reference: np.ndarray,
    prediction: np.ndarray,
    *,
    slice_shape: tuple[int, int] | None = None,
    threshold_px: float | None = None,
) -> SliceScores:
    """BF = 2 P R / (P + R) of every slice of two boolean masks (slice, row, column).

    Boundary: foreground pixels with an off 4-neighbour, and the image edge counts as off. P: share of the prediction's
    boundary pixels whose distance to the reference's boundary is strictly less than `threshold_px`; R: the other way
    round. Distances in pixels, whatever the spacing. BF is 0 where both have a boundary and nothing matches.

    Args:
        slice_shape: the full slice's shape where the masks are a crop of it that holds all foreground.
        threshold_px: 0.75 % of the full slice's diagonal when None (2.7 pixels for 256 × 256).

    Source: Csurka et al., BMVC 2013; MATLAB's documentation of bfscore, whose printed values a test reproduces.
    """
    if threshold_px is None:
        threshold_px = DEFAULT_THRESHOLD * float(np.hypot(*(slice_shape or reference.shape[1:])))
    outline_r, outline_s = (border(mask, image_edge=True, axes=(1, 2)) for mask in (reference, prediction))
    near = pixels_within(threshold_px)
    count_r, count_s = (_per_slice(outline) for outline in (outline_r, outline_s))
    matched_r = count_r - _unmatched(outline_r, outline_s, near)
    matched_s = count_s - _unmatched(outline_s, outline_r, near)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall, precision = matched_r / count_r, matched_s / count_s
        matlab = 2 * precision * recall / (precision + recall)
    in_both = (count_r > 0) & (count_s > 0)
    matlab[in_both & (matched_r + matched_s == 0)] = 0.0
    missing_as_zero = np.where((count_r > 0) ^ (count_s > 0), 0.0, matlab)
    return SliceScores(matlab, missing_as_zero)


def _per_slice(mask: np.ndarray) -> np.ndarray:
    return np.array([np.count_nonzero(plane) for plane in mask])  # faster than numpy's count along axes


def _unmatched(outline: np.ndarray, other: np.ndarray, near: Surroundings) -> np.ndarray:
    """How many pixels of `outline` (slice, row, column) have none of `other` near, per slice."""
    away = np.flatnonzero(outline & ~other)
    alone = away[np.isinf(look_around(away, other, near))]
    return np.bincount(alone // outline[0].size, minlength=len(outline))

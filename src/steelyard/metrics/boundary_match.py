"""Do two outlines agree within a few pixels? Boundary F1 (BF) score of every 2-D slice of a pair of masks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

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
    outline_r, outline_s = np.argwhere(_boundary(reference)), np.argwhere(_boundary(prediction))
    count_r, count_s = (np.bincount(o[:, 0], minlength=len(reference)) for o in (outline_r, outline_s))
    matched_r = _matched(outline_r, outline_s, threshold_px, len(reference))
    matched_s = _matched(outline_s, outline_r, threshold_px, len(reference))
    with np.errstate(invalid="ignore", divide="ignore"):
        recall, precision = matched_r / count_r, matched_s / count_s
        matlab = 2 * precision * recall / (precision + recall)
    in_both = (count_r > 0) & (count_s > 0)
    matlab[in_both & (matched_r + matched_s == 0)] = 0.0
    missing_as_zero = np.where((count_r > 0) ^ (count_s > 0), 0.0, matlab)
    return SliceScores(matlab, missing_as_zero)


def _boundary(mask: np.ndarray) -> np.ndarray:
    interior = mask.copy()
    interior[:, 1:] &= mask[:, :-1]
    interior[:, :-1] &= mask[:, 1:]
    interior[:, :, 1:] &= mask[:, :, :-1]
    interior[:, :, :-1] &= mask[:, :, 1:]
    interior[:, [0, -1]] = interior[:, :, [0, -1]] = False
    return mask & ~interior


def _matched(outline: np.ndarray, other: np.ndarray, threshold_px: float, slice_count: int) -> np.ndarray:
    """How many pixels of `outline` (pixel, [slice, row, column]) lie near `other`, per slice."""
    if not (len(outline) and len(other)):
        return np.zeros(slice_count, int)
    # One search for the whole volume: slices are moved too far apart to reach each other.
    apart = np.array([2 * np.ceil(threshold_px) + 2, 1, 1])
    tree = cKDTree(other * apart, balanced_tree=False, compact_nodes=False)
    distance, _ = tree.query(outline * apart, distance_upper_bound=threshold_px + 1)
    return np.bincount(outline[distance < threshold_px, 0], minlength=slice_count)

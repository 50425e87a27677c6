"""A mask's surface as small elements (surfels) between voxels, each with its area, and distances between two of them.

Every 2 × 2 × 2 block of voxels that is neither full nor empty holds one surfel, at the block's centre, a corner of
voxels. Its area is that of the triangles that marching cubes draws through the block with vertices half-way between
voxels; a block with more than four voxels on takes the triangles of its complement. Outside the image all is off.

Source: the definition is that of Nikolov et al., arXiv:1809.04430, and of the library surface-distance, with which the
areas of all 256 patterns agree; the triangles are those of Lorensen & Cline, SIGGRAPH 1987, as scikit-image draws them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np

from steelyard.metrics.border_distances import SurfaceDistances, nearest

CORNERS = tuple(product((0, 1), repeat=3))  # (slice, row, column) in a block, in the order of a pattern's bits
FULL = 2 ** len(CORNERS) - 1


@dataclass(frozen=True, eq=False)
class SurfelDistances:
    """Distances in mm from each surfel of one mask to the nearest of the other, and the surfels' areas in mm²."""

    distances: SurfaceDistances
    reference_mm2: np.ndarray
    prediction_mm2: np.ndarray

    @property
    def pooled_mm2(self) -> np.ndarray:
        """Areas in the order of `distances.pooled`."""
        return np.concatenate([self.reference_mm2, self.prediction_mm2])


def surfel_distances(
    reference: np.ndarray, prediction: np.ndarray, spacing_mm: tuple[float, float, float]
) -> SurfelDistances | None:
    """Surfels of two boolean masks (slice, row, column) on one grid; None when a mask is empty."""
    patterns = [block_patterns(mask) for mask in (reference, prediction)]
    surfaces = [(pattern > 0) & (pattern < FULL) for pattern in patterns]
    if not all(surface.any() for surface in surfaces):
        return None
    areas = pattern_areas_mm2(spacing_mm)
    to_mm = np.diag(spacing_mm)
    return SurfelDistances(
        SurfaceDistances(nearest(surfaces[0], surfaces[1], to_mm), nearest(surfaces[1], surfaces[0], to_mm)),
        *(areas[pattern[surface]] for pattern, surface in zip(patterns, surfaces, strict=True)),
    )


def block_patterns(mask: np.ndarray) -> np.ndarray:
    """For each corner of voxels, one more along each axis than voxels, which of the eight around are on: `CORNERS`."""
    padded = np.pad(mask, 1).astype(np.uint8)
    sizes = [n - 1 for n in padded.shape]
    patterns = np.zeros(sizes, np.uint8)
    for bit, corner in enumerate(CORNERS):
        window = tuple(slice(start, start + size) for start, size in zip(corner, sizes, strict=True))
        patterns |= padded[window] << bit
    return patterns


def pattern_areas_mm2(spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """Area of the surfel in each of the 256 patterns, on a grid of that spacing (slice, row, column)."""
    slice_mm, row_mm, column_mm = spacing_mm
    stretch = np.array([row_mm * column_mm, slice_mm * column_mm, slice_mm * row_mm])
    patterns, normals = _pattern_normals()
    return np.bincount(patterns, weights=np.linalg.norm(normals * stretch, axis=1), minlength=FULL + 1)


@cache
def _pattern_normals() -> tuple[np.ndarray, np.ndarray]:
    """All triangles on a grid of unit steps: whose pattern, and normals (triangle, 3) whose length is the area."""
    from skimage.measure import marching_cubes  # takes a while to import

    found = []
    for pattern in range(FULL + 1):
        drawn = pattern if pattern.bit_count() <= len(CORNERS) // 2 else FULL - pattern
        if drawn == 0:
            found.append(np.zeros((0, 3)))
            continue
        block = np.array([drawn >> bit & 1 for bit in range(len(CORNERS))], float).reshape(2, 2, 2)
        vertices, faces, _, _ = marching_cubes(block, level=0.5, method="lorensen")
        one, two, three = (vertices[faces[:, corner]].astype(float) for corner in range(3))
        found.append(np.cross(two - one, three - one) / 2)
    return np.repeat(np.arange(FULL + 1), [len(normals) for normals in found]), np.concatenate(found)

"""How far the nearest voxel of a set is, looked for ring by ring: borders of two masks mostly lie close together."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import chain, repeat

import numpy as np

REACH = 8  # voxels along each axis within which rings are drawn
AT_MOST = 680  # places in three dimensions: a search tree is no dearer for a voxel that finds nothing among so many
RINGS = (8, 32, 128, 256)  # places in each ring; who found something in one does not look at the next. The last repeats
AT_ONCE = 4096  # voxels that look around together: their answers stay in the cache


@dataclass(frozen=True, eq=False)
class Surroundings:
    """The nearest places around a voxel, itself among them: index `steps` (place, axis), rising `distances`.

    No place that is missing here is nearer than the last one.
    """

    steps: np.ndarray
    distances: np.ndarray

    @cached_property
    def reach(self) -> np.ndarray:
        """The longest step along each axis."""
        return np.abs(self.steps).max(axis=0, initial=0)

    def first(self, count: int) -> Surroundings:
        """The nearest `count` of them."""
        return Surroundings(self.steps[:count], self.distances[:count])


def surroundings(to_mm: np.ndarray) -> Surroundings:
    """Those of a grid on which `index @ to_mm`, (3, 3), is a place."""
    return _surroundings(np.ascontiguousarray(to_mm, float).tobytes())


def pixels_within(radius_px: float) -> Surroundings:
    """Those nearer than `radius_px` on the same slice."""
    reach = int(np.ceil(radius_px))
    steps = _box(0, reach, reach)
    distances = np.sqrt((steps**2).sum(axis=1))  # of whole numbers: as exact as a distance can be
    return _nearest_first(steps, distances, distances < radius_px)


def look_around(voxels: np.ndarray, others: np.ndarray, around: Surroundings) -> np.ndarray:
    """Distance from each voxel to the nearest True of `others`; infinite where none is within `around`.

    Args:
        voxels: flat indices into `others`, a boolean array (slice, row, column).
    """
    found = np.full(len(voxels), np.inf)
    reach = around.reach
    room = np.zeros(np.array(others.shape) + 2 * reach, bool)
    room[tuple(slice(r, r + n) for r, n in zip(reach, others.shape, strict=True))] = others
    strides = np.array([room.shape[1] * room.shape[2], room.shape[2], 1])
    places = strides @ (np.array(np.unravel_index(voxels, others.shape)) + reach[:, None])
    flat, steps = room.ravel(), around.steps @ strides
    for start in range(0, len(voxels), AT_ONCE):
        left = np.arange(start, min(start + AT_ONCE, len(voxels)))
        seen = 0
        for places_in_ring in chain(RINGS, repeat(RINGS[-1])):
            if seen >= len(steps) or not len(left):
                break
            there = flat[places[left, None] + steps[seen : seen + places_in_ring]]
            first = there.argmax(axis=1)
            hit = there[np.arange(len(left)), first]
            found[left[hit]] = around.distances[seen + first[hit]]
            left, seen = left[~hit], seen + places_in_ring
    return found


@lru_cache(maxsize=16)
def _surroundings(to_mm_bytes: bytes) -> Surroundings:
    to_mm = np.frombuffer(to_mm_bytes).reshape(3, 3)
    steps = _box(REACH, REACH, REACH)
    distances = np.linalg.norm(steps @ to_mm, axis=1)
    # along each axis, the first plane of voxels beyond the box: no place outside is nearer than the nearest of them
    outside = (REACH + 1) / np.linalg.norm(np.linalg.inv(to_mm), axis=0)
    return _nearest_first(steps, distances, distances <= outside.min(), at_most=AT_MOST)


def _box(*reach: int) -> np.ndarray:
    axes = [np.arange(-r, r + 1) for r in reach]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(reach))


def _nearest_first(
    steps: np.ndarray, distances: np.ndarray, chosen: np.ndarray, *, at_most: int | None = None
) -> Surroundings:
    steps, distances = steps[chosen], distances[chosen]
    order = np.argsort(distances, kind="stable")[:at_most]
    return Surroundings(steps[order], distances[order])

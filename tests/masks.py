"""Small masks for tests, on a grid whose three spacings all differ, so that a swap of axes shows."""

from __future__ import annotations

import numpy as np

from steelyard.labels import LabelSet, Organ
from steelyard.metrics.organ_pair import OrganPair
from steelyard.volume import Geometry, LabelMap

SPACING_MM = (1.0, 2.0, 3.0)  # slice, row, column
TWO_ORGANS = LabelSet((Organ("heart", 1, 10, (255, 0, 0)), Organ("lung", 2, 30, (0, 0, 255))))


def grid(shape: tuple[int, ...], spacing_mm: tuple[float, float, float] = SPACING_MM) -> Geometry:
    slices, rows, columns = shape
    return Geometry((slices, rows, columns), np.diag([*spacing_mm, 1.0]))


def mask_of(shape: tuple[int, int, int], *voxels: tuple[int, int, int]) -> np.ndarray:
    mask = np.zeros(shape, bool)
    for voxel in voxels:
        mask[voxel] = True
    return mask


def pair_of(
    reference: np.ndarray, prediction: np.ndarray, spacing_mm: tuple[float, float, float] = SPACING_MM
) -> OrganPair:
    return OrganPair(reference, prediction, grid(reference.shape, spacing_mm))


def blob(shape: tuple[int, int, int], *, seed: int, share: float = 0.4) -> np.ndarray:
    """A ragged random mask that keeps two voxels off the image edge, never empty."""
    random = np.random.default_rng(seed)
    mask = np.zeros(shape, bool)
    inside = tuple(slice(2, n - 2) for n in shape)
    mask[inside] = random.random(mask[inside].shape) < share
    mask[tuple(n // 2 for n in shape)] = True
    return mask


def label_map(labels: np.ndarray, label_set: LabelSet = TWO_ORGANS, spacing_mm=SPACING_MM) -> LabelMap:
    return LabelMap(labels.astype(np.uint8), grid(labels.shape, spacing_mm), label_set)

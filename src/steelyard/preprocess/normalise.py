"""Brings scans of different brightness to one scale, by what lies inside the body."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

CLIP_PERCENTILES = (0.5, 99.5)  # vessels, metal and folding artefacts must not set the scale

IN_PLANE = np.array([np.zeros((3, 3)), [[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.zeros((3, 3))], bool)


def body_mask(intensities: np.ndarray) -> np.ndarray:
    """Where the patient is: voxels above the volume's mean, holes filled per slice, the largest piece kept.

    Takes (slice, row, column), gives a boolean array of that shape. The mean is that of the intensities clipped to
    their 0.5th and 99.5th percentile, so that a few wild voxels cannot hide the patient. A constant volume is all body.
    """
    above = intensities > np.clip(intensities, *np.percentile(intensities, CLIP_PERCENTILES)).mean()
    filled = _without_holes(above)
    pieces, count = ndimage.label(filled)
    if count == 0:
        return np.ones(intensities.shape, bool)
    sizes = np.bincount(pieces[filled])
    return pieces == sizes.argmax()


def normalise(intensities: np.ndarray, body: np.ndarray) -> np.ndarray:
    """Intensities clipped to the body's 0.5th and 99.5th percentile, then to zero mean and unit spread over the body.

    Both arrays are (slice, row, column); the result is float32. A constant body comes out as 0.
    """
    low, high = np.percentile(intensities[body], CLIP_PERCENTILES)
    clipped = np.clip(intensities.astype(np.float32), float(low), float(high))  # Python's floats keep the type
    inside = clipped[body]
    spread = float(inside.std())
    return (clipped - float(inside.mean())) / (spread if spread > 0 else 1.0)


def _without_holes(mask: np.ndarray) -> np.ndarray:
    """With what the mask encloses on its own slice: off pixels from which none leads to the slice's edge."""
    areas, count = ndimage.label(~mask, structure=IN_PLANE)
    open_areas = np.zeros(count + 1, bool)
    for edge in (areas[:, 0], areas[:, -1], areas[:, :, 0], areas[:, :, -1]):
        open_areas[edge] = True
    open_areas[0] = False  # the mask itself, where it touches the edge
    return ~open_areas[areas]

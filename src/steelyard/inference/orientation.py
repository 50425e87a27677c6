"""Turns a scan the way that a network was trained: slices towards the head, rows to the back, columns to the left.

Files of NIfTI often store rows from back to front, or slices across another axis. A network that learned on DICOM's
axial slices would see such a patient upside down, find little, and say nothing. Turning only reorders voxels: no value
changes, and the way back is exact.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from steelyard.volume import Geometry, Volume

WANTED = (2, 1, 0)  # the axis of LPS coordinates along which slices, rows and columns should grow


@dataclass(frozen=True)
class Turn:
    """`axes`: which of the scan's axes becomes slices, rows, columns; `flips`: which of these then run backwards."""

    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]

    def __call__(self, image: Volume) -> Volume:
        """The image with its voxels reordered and its geometry to match."""
        return Volume(self.forth(image.intensities), self.geometry(image.geometry))

    def back(self, array: np.ndarray) -> np.ndarray:
        """An array (…, slice, row, column) of a turned image in the scan's own order."""
        flipped = _flip(array, self.flips)
        lead = array.ndim - 3
        return np.ascontiguousarray(
            np.transpose(flipped, (*range(lead), *(lead + int(axis) for axis in np.argsort(self.axes))))
        )

    def box_back(self, box: tuple[slice, slice, slice], shape: tuple[int, int, int]) -> tuple[slice, slice, slice]:
        """A box in a turned image of that shape, in the scan's own order."""
        turned = [
            slice(count - part.stop, count - part.start) if flip else part
            for part, flip, count in zip(box, self.flips, shape, strict=True)
        ]
        own = [turned[int(axis)] for axis in np.argsort(self.axes)]
        return own[0], own[1], own[2]

    def forth(self, array: np.ndarray) -> np.ndarray:
        """An array (…, slice, row, column) of the scan in the turned order."""
        lead = array.ndim - 3
        return _flip(np.transpose(array, (*range(lead), *(lead + axis for axis in self.axes))), self.flips)

    def geometry(self, geometry: Geometry) -> Geometry:
        """The grid of the turned image."""
        shape = [geometry.shape[axis] for axis in self.axes]
        affine = geometry.affine.copy()
        affine[:3, :3] = geometry.affine[:3, list(self.axes)]
        for axis, (flip, count) in enumerate(zip(self.flips, shape, strict=True)):
            if flip:
                affine[:3, 3] += affine[:3, axis] * (count - 1)
                affine[:3, axis] *= -1
        return Geometry((shape[0], shape[1], shape[2]), affine)


AS_IT_IS = Turn((0, 1, 2), (False, False, False))


def turn_to_axial(geometry: Geometry) -> Turn:
    """The turn after which slices grow most nearly towards the head, rows to the back and columns to the left."""
    directions = geometry.affine[:3, :3] / np.linalg.norm(geometry.affine[:3, :3], axis=0)
    axes = max(
        itertools.permutations(range(3)),
        key=lambda order: sum(abs(directions[wanted, axis]) for wanted, axis in zip(WANTED, order, strict=True)),
    )
    flips = [bool(directions[wanted, axis] < 0) for wanted, axis in zip(WANTED, axes, strict=True)]
    return Turn((axes[0], axes[1], axes[2]), (flips[0], flips[1], flips[2]))


def _flip(array: np.ndarray, flips: tuple[bool, bool, bool]) -> np.ndarray:
    steps = tuple(slice(None, None, -1) if flip else slice(None) for flip in flips)
    return array[(..., *steps)]

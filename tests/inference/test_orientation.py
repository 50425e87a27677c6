"""A scan is turned the way that networks were trained, by reordering voxels alone, and back exactly."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from steelyard.inference.orientation import AS_IT_IS, turn_to_axial
from steelyard.volume import Geometry, Volume

SHAPE = (4, 5, 6)
AXIAL = np.array([[0.1, 0.2, 1.0, -30], [0.3, 2.0, 0.05, -40], [3.0, 0.1, 0.02, 50], [0, 0, 0, 1]])  # slightly oblique


def reordered(axes: tuple[int, ...], flips: tuple[bool, ...]) -> Volume:
    """The same scan as another program would store it, by hand: voxel values are their places in space."""
    image = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE).transpose(axes)
    affine = AXIAL.copy()
    affine[:3, :3] = AXIAL[:3, axes]
    for axis in range(3):
        if flips[axis]:
            image = np.flip(image, axis)
            affine[:3, 3] += affine[:3, axis] * (image.shape[axis] - 1)
            affine[:3, axis] *= -1
    return Volume(image, Geometry(image.shape, affine))


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("flips", list(itertools.product([False, True], repeat=3)))
def test_every_way_of_storing_comes_out_the_same_and_goes_back(axes: tuple, flips: tuple) -> None:
    stored = reordered(axes, flips)
    turn = turn_to_axial(stored.geometry)
    turned = turn(stored)
    assert np.array_equal(turned.intensities, np.arange(120, dtype=np.float32).reshape(SHAPE))
    assert np.allclose(turned.geometry.affine, AXIAL)
    assert np.array_equal(turn.back(turned.intensities), stored.intensities)
    channels = np.stack([turned.intensities, turned.intensities + 1])
    assert np.array_equal(turn.back(channels)[1], stored.intensities + 1)
    seen = np.zeros(SHAPE, bool)
    box = (slice(0, 4), slice(1, 3), slice(2, 6))
    seen[box] = True
    own = np.zeros(stored.geometry.shape, bool)
    own[turn.box_back(box, SHAPE)] = True
    assert np.array_equal(turn.back(seen), own)


def test_axial_slices_stay_as_they_are() -> None:
    assert turn_to_axial(Geometry(SHAPE, AXIAL)) == AS_IT_IS

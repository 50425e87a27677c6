"""Surface elements between voxels: areas by hand, of all patterns against DeepMind's table, and of known bodies."""

import numpy as np
import pytest
from surface_distance import lookup_tables

from masks import SPACING_MM, mask_of
from steelyard.metrics.surfels import CORNERS, FULL, block_patterns, pattern_areas_mm2, surfel_distances

SHAPE = (5, 6, 7)


def code_of(pattern: int) -> int:
    """The number that DeepMind's library gives a block of which the corners of `pattern` are on."""
    kernel = lookup_tables.ENCODE_NEIGHBOURHOOD_3D_KERNEL
    return sum(int(kernel[corner]) for bit, corner in enumerate(CORNERS) if pattern >> bit & 1)


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (5.5, 1.4, 1.7), (0.9, 3.0, 2.0)])
def test_all_256_patterns_have_the_area_of_deepminds_table(spacing_mm):
    theirs = lookup_tables.create_table_neighbour_code_to_surface_area(spacing_mm)
    assert len({code_of(pattern) for pattern in range(FULL + 1)}) == 256
    wanted = [theirs[code_of(pattern)] for pattern in range(FULL + 1)]
    assert pattern_areas_mm2(spacing_mm) == pytest.approx(wanted, rel=1e-6)


def test_a_flat_face_has_the_area_of_the_voxels_side_along_each_axis():
    """Voxels of 1 × 2 × 3 mm: four corners on one side make a whole side, 6, 3 or 2 mm²."""
    areas = pattern_areas_mm2(SPACING_MM)
    for axis, area in enumerate((6, 3, 2)):
        half = sum(1 << bit for bit, corner in enumerate(CORNERS) if corner[axis] == 0)
        assert areas[half] == areas[FULL - half] == pytest.approx(area)


def test_one_corner_cuts_a_triangle_off():
    """Vertices half-way along the three edges, 0.5, 1 and 1.5 mm: |(1.5, 0.75, 0.5)| / 2 mm²."""
    assert pattern_areas_mm2(SPACING_MM)[1] == pytest.approx((1.5**2 + 0.75**2 + 0.5**2) ** 0.5 / 2)
    assert pattern_areas_mm2(SPACING_MM)[[0, FULL]].tolist() == [0, 0]


def test_a_voxel_lights_the_eight_corners_around_it():
    patterns = block_patterns(mask_of(SHAPE, (2, 3, 4)))
    assert patterns.shape == (6, 7, 8)
    assert {tuple(map(int, place)) for place in np.argwhere(patterns)} == {
        (s, r, c) for s in (2, 3) for r in (3, 4) for c in (4, 5)
    }
    assert patterns[3, 4, 5] == 1 << CORNERS.index((0, 0, 0))  # seen from there the voxel comes first on every axis


def test_a_large_ball_has_nearly_the_area_of_a_sphere():
    """4πr² = 2463 mm² at r = 14; marching cubes on voxels overestimates by a tenth."""
    radius = 14
    places = np.indices((33, 33, 33)) - 16
    ball = (places**2).sum(axis=0) <= radius**2
    found = surfel_distances(ball, ball, (1.0, 1.0, 1.0))
    assert 1 < found.reference_mm2.sum() / (4 * np.pi * radius**2) < 1.15


def test_the_image_edge_is_surface():
    full = np.ones((2, 3, 4), bool)
    found = surfel_distances(full, full, (1.0, 1.0, 1.0))
    assert len(found.reference_mm2) == 3 * 4 * 5 - 1 * 2 * 3  # every corner but those inside


def test_an_empty_mask_has_no_surface():
    assert surfel_distances(mask_of(SHAPE), mask_of(SHAPE, (1, 1, 1)), SPACING_MM) is None

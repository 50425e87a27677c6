"""Grids, images and label maps, with three spacings that all differ."""

from __future__ import annotations

import numpy as np
import pytest

from masks import TWO_ORGANS, grid, label_map
from steelyard.errors import BadData
from steelyard.volume import Case, Geometry, LabelMap, Volume

SHAPE = (2, 3, 4)


def oblique(angle: float = 0.3) -> Geometry:
    """Slices 5 mm apart, rows 2, columns 1, turned about the patient's axis; the slices stack against z."""
    c, s = np.cos(angle), np.sin(angle)
    affine = np.eye(4)
    affine[:3, 0] = (0, 0, -5)
    affine[:3, 1] = (-2 * s, 2 * c, 0)
    affine[:3, 2] = (c, s, 0)
    affine[:3, 3] = (-100, 50, 7)
    return Geometry(SHAPE, affine)


def test_spacing_is_the_length_of_a_step_along_slice_row_and_column():
    assert grid(SHAPE).spacing_mm == (1, 2, 3)
    assert oblique().spacing_mm == pytest.approx((5, 2, 1))


def test_a_voxels_volume_and_the_diagonal_are_those_of_arithmetic():
    assert grid(SHAPE).voxel_ml == pytest.approx(0.006)
    assert oblique().voxel_ml == pytest.approx(0.010)
    assert grid(SHAPE).diagonal_mm == pytest.approx((2**2 + 6**2 + 12**2) ** 0.5)


def test_sheared_voxels_are_smaller_than_the_product_of_their_edges():
    affine = np.diag([4.0, 2.0, 1.0, 1.0])
    affine[2, 1] = 2.0  # the step along rows leans over
    assert Geometry(SHAPE, affine).voxel_ml == pytest.approx(0.008)
    assert Geometry(SHAPE, affine).spacing_mm == pytest.approx((4, 8**0.5, 1))


@pytest.mark.parametrize(
    "affine", [np.zeros((4, 4)), np.diag([1.0, 0, 1, 1]), np.full((4, 4), np.nan), np.eye(3)], ids=str
)
def test_a_grid_that_collapses_is_refused(affine: np.ndarray):
    with pytest.raises(BadData, match="invertible"):
        Geometry(SHAPE, affine)


def test_grids_are_the_same_while_no_voxel_is_off_by_more_than_the_tolerance():
    def shifted(millimetres: float) -> Geometry:
        moved = oblique().affine.copy()
        moved[1, 3] += millimetres
        return Geometry(SHAPE, moved)

    assert oblique().same_grid(shifted(0.009))
    assert not oblique().same_grid(shifted(0.011))
    assert oblique().same_grid(shifted(0.4), tolerance_mm=0.5)
    assert not oblique().same_grid(oblique(0.35))
    assert not grid(SHAPE).same_grid(grid((2, 4, 3)))


def test_a_small_error_of_spacing_counts_at_the_far_corner():
    """0.004 mm per column is nothing over 2 columns and 0.4 mm over 100."""
    for columns, same in ((3, True), (100, False)):
        one, other = grid((1, 1, columns)), grid((1, 1, columns), (1.0, 2.0, 3.004))
        assert one.same_grid(other) == same


def test_image_and_labels_must_fit_their_grid():
    Volume(np.zeros(SHAPE), grid(SHAPE))
    Volume(np.zeros((5, *SHAPE)), grid(SHAPE))  # registered phases
    for shape in ((2, 4, 3), (3, 4), (1, 1, *SHAPE)):
        with pytest.raises(BadData, match="does not fit"):
            Volume(np.zeros(shape), grid(SHAPE))
    with pytest.raises(BadData, match="do not fit"):
        LabelMap(np.zeros((2, 4, 3), np.uint8), grid(SHAPE), TWO_ORGANS)


def test_a_label_beyond_the_last_organ_is_refused_with_its_number():
    with pytest.raises(BadData, match="label 3 was found where 0–2 are known"):
        label_map(np.full(SHAPE, 3))


def test_an_organs_volume_is_its_voxels_in_millilitres():
    labels = np.zeros(SHAPE)
    labels[0, 0, :3], labels[1, 1, 1] = 1, 2
    assert label_map(labels).volume_ml("heart") == pytest.approx(3 * 0.006)
    assert label_map(labels).volume_ml("lung") == pytest.approx(0.006)


def test_a_case_has_image_and_reference_on_one_grid():
    image = Volume(np.zeros(SHAPE), grid(SHAPE))
    assert Case("7_in", "7", "T1", image, None).reference is None
    Case("7_in", "7", "T1", image, label_map(np.zeros(SHAPE)))
    with pytest.raises(BadData, match="case 7_in"):
        Case("7_in", "7", "T1", image, label_map(np.zeros(SHAPE), spacing_mm=(1.0, 3.0, 2.0)))

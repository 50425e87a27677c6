"""The mapping between a scan's slices and the network's square, both ways, rows never taken for columns."""

from __future__ import annotations

import numpy as np
import pytest

from steelyard.preprocess.resize import PlaneMap, crop_or_pad, resample

RANDOM = np.random.default_rng(0)


def spot(shape: tuple[int, int], row: float, column: float, *, width: float = 3.0) -> np.ndarray:
    """A smooth spot on one slice, (1, row, column)."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * width**2))[None].astype(np.float32)


def centre_of(weights: np.ndarray) -> tuple[float, float]:
    rows, columns = np.mgrid[: weights.shape[-2], : weights.shape[-1]]
    return float((weights * rows).sum() / weights.sum()), float((weights * columns).sum() / weights.sum())


@pytest.mark.parametrize(("rows", "columns", "first"), [(10, 13, (1, 2)), (11, 8, (1, 0)), (9, 30, (0, 11))])
def test_a_larger_slice_is_cropped_around_its_middle(rows: int, columns: int, first: tuple[int, int]):
    slices = RANDOM.random((2, rows, columns), np.float32)
    cropped = crop_or_pad((rows, columns), 8).to_network(slices, fill=-9.0)
    end = (first[0] + 8, first[1] + 8)
    assert np.array_equal(cropped, slices[:, first[0] : end[0], first[1] : end[1]])


@pytest.mark.parametrize(("rows", "columns", "before"), [(6, 4, (1, 2)), (7, 5, (1, 2)), (8, 1, (0, 4))])
def test_a_smaller_slice_is_padded_around_with_the_fill(rows: int, columns: int, before: tuple[int, int]):
    slices = RANDOM.random((2, rows, columns), np.float32)
    expected = np.full((2, 8, 8), -9.0, np.float32)
    expected[:, before[0] : before[0] + rows, before[1] : before[1] + columns] = slices
    plane = crop_or_pad((rows, columns), 8)
    assert np.array_equal(plane.to_network(slices, fill=-9.0), expected)
    labels = (slices * 200).astype(np.uint8) + 1
    assert np.array_equal(plane.labels_to_network(labels) == 0, expected == -9.0)


def test_one_side_may_be_cropped_while_the_other_is_padded():
    slices = RANDOM.random((1, 12, 5), np.float32)
    mapped = crop_or_pad((12, 5), 8).to_network(slices, fill=0.0)
    assert np.array_equal(mapped[:, :, 2:7], slices[:, 2:10])
    assert not mapped[:, :, :2].any()
    assert not mapped[:, :, 7:].any()


@pytest.mark.parametrize("shape", [(12, 9), (7, 12), (5, 6), (8, 8)])
def test_cropping_and_back_is_the_identity_within_the_field_of_view(shape: tuple[int, int]):
    plane = crop_or_pad(shape, 8)
    probabilities = RANDOM.dirichlet((1, 1, 1), (2, *shape)).transpose(3, 0, 1, 2).astype(np.float32)
    seen = plane.to_network(np.ones((1, *shape)), fill=0.0)[0].sum()  # native pixels in view
    back = plane.probabilities_to_native(plane.to_network(probabilities, fill=0.0))
    same = np.isclose(back, probabilities, atol=1e-6).all(axis=(0, 1))
    assert same.sum() == seen
    outside = ~same
    assert (back[0][:, outside] == 1).all()
    assert (back[1:][:, :, outside] == 0).all()


def test_labels_take_the_same_way_as_images():
    labels = RANDOM.integers(0, 5, (3, 20, 14)).astype(np.uint8)
    plane = crop_or_pad((20, 14), 16)
    assert np.array_equal(plane.labels_to_network(labels), plane.to_network(labels, fill=0.0))
    assert plane.labels_to_network(labels).dtype == np.uint8


def test_a_labels_nearest_pixel_is_taken_not_the_one_before_it():
    """Network pixels lie at native rows 0.6, 2.1, 3.6 and columns 0.4, 1.2, 2."""
    plane = PlaneMap((5, 3), 3, (1.5, 0.8), (0.6, 0.4))
    labels = 10 * np.arange(5)[:, None] + np.arange(3)
    assert plane.labels_to_network(labels[None]).tolist() == [[[10, 11, 12], [20, 21, 22], [40, 41, 42]]]


# Resampling: rows 1.5 mm apart, columns 0.75 mm, to 2 mm; the body's box has its middle at row 31, column 60.
SHAPE, SPACING = (60, 110), (1.5, 0.75)
BODY = np.zeros((2, *SHAPE), bool)
BODY[0, 11:52, 40:60] = True
BODY[1, 20:30, 70:81] = True  # an arm apart from the trunk: the box counts, not the mean
PLANE = resample(SHAPE, SPACING, BODY, size=41, spacing_mm=2.0)


def test_the_bodys_middle_becomes_the_middle_of_the_square():
    mapped = PLANE.to_network(spot(SHAPE, 31, 60), fill=0.0)
    assert centre_of(mapped) == pytest.approx((20, 20), abs=0.02)


def test_a_spot_lands_where_arithmetic_says_along_rows_and_along_columns():
    """12 rows are 18 mm, 9 network pixels; 16 columns are 12 mm, 6 network pixels."""
    mapped = PLANE.to_network(spot(SHAPE, 31 + 12, 60 - 16), fill=0.0)
    assert centre_of(mapped) == pytest.approx((20 + 9, 20 - 6), abs=0.03)
    box = np.zeros((1, *SHAPE), np.uint8)
    box[0, 39:48, 40:49] = 3  # centred on the same spot, 13.5 mm high and 6.75 mm wide
    labels = PLANE.labels_to_network(box)
    assert centre_of((labels == 3).astype(float)) == pytest.approx((29, 14), abs=0.5)
    assert (labels == 3).any(2).sum() == pytest.approx(13.5 / 2, abs=1)
    assert (labels == 3).any(1).sum() == pytest.approx(6.75 / 2, abs=1)


def test_a_spot_comes_back_where_it_was():
    there = spot(SHAPE, 25, 70, width=4)
    probabilities = np.stack([1 - there, there])
    back = PLANE.probabilities_to_native(PLANE.to_network(probabilities, fill=0.0))
    assert back.shape == (2, 1, *SHAPE)
    assert centre_of(back[1]) == pytest.approx((25, 70), abs=0.05)


def test_labels_lie_where_the_image_does_to_half_a_network_pixel():
    labels = np.zeros((1, *SHAPE), np.uint8)
    labels[0, 20:45, 50:90] = 1
    soft = PLANE.to_network(labels, fill=0.0)
    hard = PLANE.labels_to_network(labels)
    assert np.array_equal(hard[np.abs(soft - 0.5) > 0.45], soft[np.abs(soft - 0.5) > 0.45].round())


FINE = resample(SHAPE, SPACING, BODY, size=41, spacing_mm=0.5)


@pytest.mark.parametrize("plane", [PLANE, FINE, crop_or_pad(SHAPE, 41)])
def test_probabilities_sum_to_one_everywhere_and_are_background_outside(plane: PlaneMap):
    probabilities = RANDOM.dirichlet((1, 1, 1), (2, 41, 41)).transpose(3, 0, 1, 2).astype(np.float32)
    back = plane.probabilities_to_native(probabilities)
    np.testing.assert_allclose(back.sum(0), 1, atol=1e-5)
    assert back.min() > -1e-6
    rows = (np.arange(60) - plane.offset[0]) / plane.scale[0]
    columns = (np.arange(110) - plane.offset[1]) / plane.scale[1]
    outside = np.add.outer((rows < -1) | (rows > 41), (columns < -1) | (columns > 41))
    assert outside.any()
    assert (back[0][:, outside] == 1).all()


@pytest.mark.parametrize("factor", [2, 3, 4.3])
def test_a_fine_checkerboard_becomes_grey_not_a_coarse_one(factor: float):
    checkerboard = (np.indices((96, 96)).sum(0) % 2).astype(np.float32)[None]
    plane = resample((96, 96), (1.0, 1.0), np.ones((1, 96, 96), bool), size=16, spacing_mm=factor)
    mapped = plane.to_network(checkerboard, fill=0.5)
    assert np.abs(mapped - 0.5).max() < 0.03


@pytest.mark.parametrize("spacing_mm", [0.3, 1.0, 1.7, 2.9, 3.6, 6.0])
def test_at_the_edge_image_and_fill_mix_by_how_much_of_a_pixel_each_covers(spacing_mm: float):
    """A picture of ones and a fill of zero: what is kept is what a fine sum over the triangle keeps."""
    plane = resample((20, 20), (1.0, 1.0), np.ones((1, 20, 20), bool), size=31, spacing_mm=spacing_mm)
    kept = plane.to_network(np.ones((1, 20, 20)), fill=0.0)[0]
    width = max(1.0, spacing_mm)
    along = []
    for position in plane.offset[0] + spacing_mm * np.arange(31):
        everywhere = np.arange(-200, 300)
        triangle = np.maximum(0, 1 - np.abs(position - everywhere) / width)
        along.append(triangle[(everywhere >= 0) & (everywhere < 20)].sum() / triangle.sum())
    np.testing.assert_allclose(kept, np.outer(along, along), atol=1e-5)


def test_a_constant_image_stays_constant_inside_and_the_fill_is_whole_far_outside():
    plane = resample((30, 20), (1.0, 1.0), np.ones((1, 30, 20), bool), size=40, spacing_mm=1.25)
    mapped = plane.to_network(np.full((1, 30, 20), 7.0), fill=-3.0)[0]
    assert mapped[20, 20] == pytest.approx(7, abs=1e-5)
    assert mapped[0, 0] == mapped[39, 0] == mapped[0, 39] == -3


@pytest.mark.parametrize("shape", [(12, 9), (7, 12), (5, 6), (8, 8), (1, 30)])
@pytest.mark.parametrize("offset", [(0.0, 0.0), (2.0, -3.0), (-40.0, 1.0), (6.0, 29.0)])
def test_whole_steps_are_copied_to_what_the_matrices_give(monkeypatch, shape, offset):
    """A step of one pixel and whole offsets need no arithmetic, also where scan and square hardly or never meet."""
    plane, general = (PlaneMap(shape, 8, (1.0, 1.0), offset) for _ in range(2))
    monkeypatch.setitem(general.__dict__, "_shift", None)  # as for any other step
    assert plane._shift == offset
    slices = RANDOM.random((2, *shape), np.float32)
    labels = (slices * 200).astype(np.uint8)
    probabilities = RANDOM.dirichlet((1, 1, 1), (2, 8, 8)).transpose(3, 0, 1, 2).astype(np.float32)
    np.testing.assert_allclose(plane.to_network(slices, fill=-9.0), general.to_network(slices, fill=-9.0), atol=1e-6)
    np.testing.assert_array_equal(plane.labels_to_network(labels), general.labels_to_network(labels))
    np.testing.assert_allclose(
        plane.probabilities_to_native(probabilities), general.probabilities_to_native(probabilities), atol=1e-6
    )


def test_half_steps_are_interpolated():
    assert PlaneMap((8, 8), 8, (1.0, 1.0), (0.5, 0.0))._shift is None
    assert PlaneMap((8, 8), 8, (1.0, 2.0), (0.0, 0.0))._shift is None

"""Spacing is 5 × 2 × 3 mm (slice, row, column) everywhere, so that any two axes taken for one another show."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from steelyard.labels import CHAOS_MR
from steelyard.views.slices import (
    body_box,
    displayed,
    displayed_pixel_mm,
    largest_slice,
    on_black,
    outline,
    picture,
    windowed,
)
from steelyard.volume import Geometry

NORMAL = np.array([[0.0, 0, 3, 0], [0, 2, 0, 0], [5, 0, 0, 0], [0, 0, 0, 1]])
PLANE = np.array([[1, 2, 3], [4, 5, 6]])  # front right is 1, front left is 3, back right is 4


def geometry(affine: np.ndarray, shape: tuple[int, int, int] = (1, 2, 3)) -> Geometry:
    return Geometry(shape, affine)


def test_a_slice_whose_rows_run_to_the_back_and_columns_to_the_left_is_shown_as_it_is():
    assert displayed(PLANE[None], geometry(NORMAL), 0).tolist() == [[1, 2, 3], [4, 5, 6]]
    assert displayed_pixel_mm(geometry(NORMAL)) == (2.0, 3.0)


def test_a_slice_stored_from_left_to_right_is_mirrored():
    affine = NORMAL.copy()
    affine[:, 2] *= -1
    assert displayed(PLANE[None, :, ::-1], geometry(affine), 0).tolist() == PLANE.tolist()


def test_a_slice_stored_from_back_to_front_is_turned_over():
    affine = NORMAL.copy()
    affine[:, 1] *= -1
    assert displayed(PLANE[None, ::-1], geometry(affine), 0).tolist() == PLANE.tolist()


def test_a_slice_stored_column_by_column_is_transposed_with_its_spacing():
    swapped = NORMAL[:, [0, 2, 1, 3]]
    assert displayed(PLANE.T[None], geometry(swapped, (1, 3, 2)), 0).tolist() == PLANE.tolist()
    assert displayed_pixel_mm(geometry(swapped, (1, 3, 2))) == (2.0, 3.0)


def test_an_oblique_slice_keeps_its_side():
    angle = np.deg2rad(20)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = NORMAL.copy()
    affine[:3] = turn @ NORMAL[:3]
    assert displayed(PLANE[None], geometry(affine), 0).tolist() == PLANE.tolist()


def test_a_coronal_slice_has_the_head_on_top():
    affine = np.array([[0.0, 0, 3, 0], [5, 0, 0, 0], [0, 2, 0, 0], [0, 0, 0, 1]])  # rows run to the head
    assert displayed(PLANE[None], geometry(affine), 0).tolist() == PLANE[::-1].tolist()


def test_labels_are_drawn_in_their_organs_colours_on_black():
    pixels = on_black(np.array([[0, 1], [4, 2]], np.uint8), CHAOS_MR)
    assert pixels[0, 0].tolist() == [0, 0, 0]
    assert pixels[0, 1].tolist() == [213, 94, 0]
    assert pixels[1, 0].tolist() == [86, 180, 233]
    assert pixels[1, 1].tolist() == [240, 228, 66]


def test_an_outline_runs_round_its_pixels_in_mm():
    mask = np.zeros((5, 8), bool)
    mask[1:3, 4:7] = True  # rows 1–2, columns 4–6
    (curve,) = outline(mask, (2.0, 3.0), colour="#fff").curves
    # Half a pixel beyond the outer pixels' centres: x from 4 · 3 to 7 · 3 mm, y from 1 · 2 to 3 · 2 mm.
    assert (curve[:, 0].min(), curve[:, 0].max()) == (12.0, 21.0)
    assert (curve[:, 1].min(), curve[:, 1].max()) == (2.0, 6.0)
    assert curve[0].tolist() == curve[-1].tolist()


def test_an_outline_at_the_edge_is_closed_and_an_empty_mask_has_none():
    (curve,) = outline(np.ones((2, 2), bool), (1.0, 1.0), colour="#fff").curves
    assert curve[0].tolist() == curve[-1].tolist()
    assert outline(np.zeros((2, 2), bool), (1.0, 1.0), colour="#fff").curves == ()


def test_the_picture_has_physical_proportions_and_holds_the_very_pixels():
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    svg = picture(pixels, (2.0, 3.0), alt='liver <of> "p1"')
    assert 'viewBox="0 0 9.00 4.00"' in svg  # three columns of 3 mm, two rows of 2 mm
    assert 'width="9.00" height="4.00" preserveAspectRatio="none"' in svg
    assert 'aria-label="liver &lt;of&gt; &quot;p1&quot;"' in svg
    embedded = re.search(r"base64,([^\"]+)", svg)
    assert embedded is not None
    assert np.array(Image.open(io.BytesIO(base64.b64decode(embedded[1])))).tolist() == pixels.tolist()


def test_outlines_are_told_apart_without_colour():
    mask = np.eye(3, dtype=bool)
    drawn = [outline(mask, (1, 1), colour="#d55e00"), outline(mask, (1, 1), colour="#ffffff", dashed=True)]
    svg = picture(np.zeros((3, 3), np.uint8), (1.0, 1.0), alt="both", outlines=drawn)
    assert '<path class="solid" stroke="#d55e00"' in svg
    assert '<path class="dashed" stroke="#ffffff"' in svg


def test_the_window_ignores_a_single_flaring_voxel():
    intensities = np.tile(np.arange(101.0), (10, 10, 1))
    intensities[0, 0, 0] = 1e6
    grey = windowed(intensities)
    assert grey[5, 5, 100] == 255
    assert grey[5, 5, 50] == pytest.approx(127, abs=3)
    assert not windowed(np.full((2, 2, 2), 7.0)).any()


def test_the_largest_slice_is_the_first_with_most_voxels():
    mask = np.zeros((4, 2, 2), bool)
    mask[1, 0] = mask[2, 1] = True
    mask[3, 0, 0] = True
    assert largest_slice(mask) == 1
    assert largest_slice(mask[:1]) is None


def test_the_box_holds_body_and_stray_labels_with_a_margin_in_mm():
    grey = np.zeros((100, 100), np.uint8)
    grey[40:60, 30:50] = 200
    labels = np.zeros((100, 100), np.uint8)
    labels[50, 80] = 1
    rows, columns = body_box(grey, [labels], (2.0, 4.0))  # 8 mm are 4 rows, 2 columns
    assert (rows.start, rows.stop) == (36, 64)
    assert (columns.start, columns.stop) == (28, 83)

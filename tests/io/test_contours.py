"""Outlines enclose the centres of exactly the mask's pixels, for readers of every kind, and the mask's area."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from matplotlib.path import Path as Polygon
from numpy.testing import assert_allclose, assert_array_equal
from skimage.draw import polygon2mask

from steelyard.io.contours import CHANNEL, INSET, outlines


def centres_inside(shape: tuple[int, ...], polygons: list[np.ndarray]) -> np.ndarray:
    """How many polygons (row, column) hold each pixel's centre, as matplotlib has it."""
    centres = np.stack(np.mgrid[: shape[0], : shape[1]], axis=-1).reshape(-1, 2)
    held = np.zeros(shape, int)
    for polygon in polygons:
        held += Polygon(np.vstack([polygon, polygon[:1]]), closed=True).contains_points(centres).reshape(shape)
    return held


def area(polygon: np.ndarray) -> float:
    following = np.roll(polygon, -1, axis=0)
    return abs(float((polygon[:, 0] * following[:, 1] - polygon[:, 1] * following[:, 0]).sum())) / 2


masks = arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=14))


@settings(max_examples=150, deadline=None)
@given(mask=masks)
def test_every_pixel_inside_lies_in_one_polygon_and_no_other_in_any(mask: np.ndarray):
    # so that union and exclusive or of the polygons are the same
    assert_array_equal(centres_inside(mask.shape, outlines(mask)), mask)


@settings(max_examples=50, deadline=None)
@given(mask=masks)
def test_skimage_draws_the_same_pixels(mask: np.ndarray):
    drawn = np.zeros(mask.shape, int)
    for polygon in outlines(mask):
        drawn += polygon2mask(mask.shape, polygon)
    assert_array_equal(drawn, mask)


@settings(max_examples=150, deadline=None)
@given(mask=masks, jitter=st.floats(-0.5 * INSET, 0.5 * INSET))
def test_rounded_to_pixels_no_point_leaves_the_mask(mask: np.ndarray, jitter: float):
    for polygon in outlines(mask):
        rows, columns = np.around(polygon + jitter).astype(int).T
        assert mask[rows, columns].all()


def test_a_single_pixel_is_a_diamond_with_its_tips_just_inside_the_border():
    mask = np.zeros((4, 5), bool)
    mask[2, 3] = True
    (polygon,) = outlines(mask)
    reach = 0.5 - INSET
    tips = {(2 - reach, 3.0), (2 + reach, 3.0), (2.0, 3 - reach), (2.0, 3 + reach)}
    assert {(round(row, 9), round(column, 9)) for row, column in polygon} == {
        (round(row, 9), round(column, 9)) for row, column in tips
    }


def test_straight_edges_hold_no_points_between_their_ends():
    (polygon,) = outlines(np.ones((30, 40), bool))
    assert len(polygon) == 8  # four edges, four cut corners
    assert area(polygon) == pytest.approx(30 * 40 - 4 / 8, rel=0.001)  # each corner loses an eighth of a pixel


def test_a_hole_is_part_of_the_polygon_around_it():
    mask = np.ones((9, 11), bool)
    mask[3:6, 4:8] = False
    (polygon,) = outlines(mask)
    assert area(polygon) == pytest.approx(9 * 11 - 3 * 4, rel=0.01)
    channel = polygon[np.isclose(polygon[:, 0] % 1, CHANNEL)]
    assert len(channel) == 4  # there and back
    assert_allclose(np.sort(channel[:, 1])[[0, -1]], [-CHANNEL, 3 + CHANNEL])


def test_parts_that_touch_at_a_corner_have_a_polygon_each():
    assert len(outlines(np.array([[1, 0], [0, 1]], bool))) == 2


def test_an_empty_mask_has_no_outline():
    assert outlines(np.zeros((3, 4), bool)) == []


def test_the_area_is_the_masks_within_a_thousandth():
    rows, columns = np.mgrid[:200, :220]
    mask = ((rows - 97.3) / 70) ** 2 + ((columns - 101.6) / 90) ** 2 < 1
    (polygon,) = outlines(mask)
    assert area(polygon) == pytest.approx(mask.sum(), rel=1e-3)
    assert area(polygon) < mask.sum()

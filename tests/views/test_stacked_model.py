"""The grid steps 5 × 2 × 3 mm (slice, row, column); the patient's left is at large columns, the back at large rows."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from steelyard.labels import CHAOS_MR
from steelyard.views.shown_cases import ShownCase
from steelyard.views.slabs import Drawing, View, Window, draw, window
from steelyard.views.stacked_model import coloured_pixels, grey_pixels, stacked_model
from steelyard.volume import Geometry, LabelMap, Volume

NORMAL = np.array([[0.0, 0, 3, -50], [0, 2, 0, 30], [5, 0, 0, -20], [0, 0, 0, 1]])
SHAPE = (10, 30, 24)
FRONT, HEAD, FEET = View(0.0), View(90.0), View(-90.0)
LIVER, RIGHT, LEFT, SPLEEN = (organ.index for organ in CHAOS_MR.organs)


def label_map(boxes: dict[int, tuple[slice, slice, slice]], affine: np.ndarray = NORMAL) -> LabelMap:
    labels = np.zeros(SHAPE, np.uint8)
    for index, box in boxes.items():
        labels[box] = index
    return LabelMap(labels, Geometry(SHAPE, affine), CHAOS_MR)


def seen(labels: LabelMap, view: View, *, px_per_mm: float = 2.0) -> np.ndarray:
    """The classes on the screen."""
    return draw(labels, view, window([labels], view, px_per_mm, margin_mm=10.0)).classes


def middle(classes: np.ndarray, index: int) -> tuple[float, float]:
    """Row and column of a class's middle."""
    row, column = np.argwhere(classes == index).mean(0)
    return float(row), float(column)


def spread(classes: np.ndarray, index: int) -> tuple[int, int]:
    """Height and width of a class in pixels."""
    height, width = np.ptp(np.argwhere(classes == index), axis=0) + 1
    return int(height), int(width)


KIDNEYS = label_map({RIGHT: np.s_[2:5, 20:25, 3:8], LEFT: np.s_[5:8, 20:25, 15:20], LIVER: np.s_[3:6, 2:8, 10:13]})


@pytest.mark.parametrize("view", [FRONT, HEAD, FEET, View(35.0, 18.0), View(-35.0, 18.0)])
def test_the_patients_left_is_on_the_right_from_every_side_that_is_drawn(view):
    classes = seen(KIDNEYS, view)
    assert middle(classes, RIGHT)[1] < middle(classes, LEFT)[1]


def test_the_front_is_on_top_from_the_feet_and_below_from_the_head():
    from_feet, from_head = seen(KIDNEYS, FEET), seen(KIDNEYS, HEAD)
    assert middle(from_feet, LIVER)[0] < middle(from_feet, LEFT)[0]
    assert middle(from_head, LIVER)[0] > middle(from_head, LEFT)[0]


def test_the_head_is_on_top_from_the_front():
    classes = seen(KIDNEYS, FRONT)
    assert middle(classes, LEFT)[0] < middle(classes, RIGHT)[0]


def test_what_is_nearer_hides_what_lies_behind():
    both = label_map({LIVER: np.s_[3:6, 2:8, 10:13], SPLEEN: np.s_[3:6, 15:20, 10:13]})
    assert set(np.unique(seen(both, FRONT))) == {0, LIVER}
    assert set(np.unique(seen(both, View(0.0, 180.0)))) == {0, SPLEEN}
    above = label_map({LIVER: np.s_[1:3, 5:9, 5:9], SPLEEN: np.s_[6:9, 5:9, 5:9]})
    assert set(np.unique(seen(above, HEAD))) == {0, SPLEEN}
    assert set(np.unique(seen(above, FEET))) == {0, LIVER}


def test_plates_are_as_thick_as_the_slice_step_and_have_the_pixels_size():
    box = label_map({LIVER: np.s_[2:6, 4:14, 5:11]})  # 4 · 5 = 20 mm high, 10 · 2 = 20 mm deep, 6 · 3 = 18 mm wide
    assert spread(seen(box, FRONT), LIVER) == pytest.approx((40, 36), abs=1)
    deeper = label_map({LIVER: np.s_[2:6, 4:20, 5:11]})  # 32 mm deep
    assert spread(seen(deeper, FEET), LIVER) == pytest.approx((64, 36), abs=1)


def test_seen_from_an_angle_a_box_shows_its_front_and_its_top_foreshortened():
    box = label_map({LIVER: np.s_[2:6, 4:20, 5:11]})  # 20 × 32 × 18 mm
    shown = np.count_nonzero(seen(box, View(30.0), px_per_mm=4.0)) / 4.0**2
    assert shown == pytest.approx(18 * (20 * np.cos(np.pi / 6) + 32 * np.sin(np.pi / 6)), rel=0.01)


def test_there_are_no_cracks_between_faces():
    box = label_map({LIVER: np.s_[1:9, 4:20, 3:20]})
    for view in (FRONT, HEAD, View(35.0, 18.0), View(-35.0, 18.0), View(13.0, -71.0)):
        filled = seen(box, view, px_per_mm=3.0) > 0
        assert (ndimage.binary_fill_holes(filled) == filled).all()
        assert filled.any()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_mirrored_grid_shows_the_same_picture(axis):
    labels = np.flip(KIDNEYS.labels, axis)
    affine = NORMAL.copy()
    affine[:3, 3] += affine[:3, axis] * (SHAPE[axis] - 1)
    affine[:3, axis] *= -1
    mirrored = LabelMap(labels, Geometry(SHAPE, affine), CHAOS_MR)
    for view in (View(35.0, 18.0), View(-35.0, 18.0)):
        assert (seen(mirrored, view) == seen(KIDNEYS, view)).mean() > 0.999


def test_who_walks_round_a_turned_patient_sees_the_same():
    angle = np.deg2rad(20)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    turned = LabelMap(KIDNEYS.labels, Geometry(SHAPE, turn @ NORMAL), CHAOS_MR)
    assert (seen(turned, View(30.0, 20.0)) == seen(KIDNEYS, View(30.0, 0.0))).mean() > 0.999


def test_a_lone_voxel_is_seen():
    lone = label_map({LIVER: np.s_[1:4, 4:10, 3:9], SPLEEN: np.s_[8:9, 25:26, 20:21]})
    assert np.count_nonzero(seen(lone, View(35.0, 18.0)) == SPLEEN) >= 20  # at least its front, 3 · 5 mm · cos 35°, ×4


def test_nothing_found_is_an_empty_picture():
    drawn = draw(label_map({}), FRONT, window([label_map({})], FRONT, 2.0, margin_mm=10.0))
    assert drawn.classes.shape == (40, 40)
    assert not drawn.classes.any()


def test_light_falls_from_above_left():
    j, i = np.meshgrid(np.arange(24) - 11.5, np.arange(30) - 14.5)
    pillar = np.zeros(SHAPE, np.uint8)
    pillar[2:8] = (3 * j) ** 2 + (2 * i) ** 2 <= 20**2  # round in mm
    labels = LabelMap(pillar, Geometry(SHAPE, NORMAL), CHAOS_MR)
    drawn = draw(labels, FRONT, window([labels], FRONT, 4.0, margin_mm=10.0))
    columns = np.argwhere(drawn.classes.any(0)).ravel()
    left, right = (np.median(drawn.light[drawn.classes.any(1)][:, at]) for at in (columns[15], columns[-15]))
    assert left > right + 0.2


def test_plates_are_told_apart_by_a_seam():
    box = label_map({LIVER: np.s_[2:6, 4:20, 5:11]})  # four plates
    drawn = draw(box, FRONT, window([box], FRONT, 8.0, margin_mm=10.0))
    column = drawn.light[:, drawn.light.shape[1] // 2][drawn.classes.any(1)][5:-5]
    dark = column < 0.9 * np.median(column)
    assert np.count_nonzero(np.diff(dark.astype(int)) == 1) >= 3  # between plates


def test_organs_have_their_colours_and_grey_has_none():
    drawn = Drawing(np.array([[0, LIVER], [SPLEEN, LEFT]], np.uint8), np.array([[0.2, 1.0], [0.5, 1.0]]))
    assert coloured_pixels(drawn, CHAOS_MR).tolist() == [
        [[255, 255, 255], [213, 94, 0]],
        [[43, 90, 116], [0, 158, 115]],
    ]
    assert (np.ptp(grey_pixels(drawn), axis=-1) == 0).all()


def test_the_sheet_shows_reference_and_predictions_from_both_sides_at_one_scale():
    spleen_only = label_map({SPLEEN: np.s_[5:8, 20:25, 15:20]})
    image = Volume(np.zeros(SHAPE, np.float32), KIDNEYS.geometry)
    sheet = np.asarray(stacked_model(ShownCase("p1", image, KIDNEYS, {"dice": spleen_only})))
    height, width, _ = sheet.shape
    blue = (sheet[..., 2].astype(int) - sheet[..., 1] > 20)[: height // 2]  # the spleen's colour, in the upper row
    orange = (sheet[..., 0].astype(int) - sheet[..., 2] > 60)[: height // 2]
    quarters = np.array_split(np.arange(width), 4)
    assert [bool(blue[:, q].any()) for q in quarters] == [False, True, False, True]
    assert [bool(orange[:, q].any()) for q in quarters] == [True, False, True, False]
    lower = sheet[height // 2 : -80]
    assert (np.ptp(lower.astype(int), axis=-1) == 0).all()
    assert (lower < 240).any()


def test_one_organ_alone_is_drawn_larger():
    image = Volume(np.zeros(SHAPE, np.float32), KIDNEYS.geometry)
    case = ShownCase("p1", image, KIDNEYS, {})
    kidney = np.asarray(stacked_model(case, organ=CHAOS_MR.organ("left_kidney")))
    green = kidney[..., 1].astype(int) - kidney[..., 0] > 30
    orange = kidney[..., 0].astype(int) - kidney[..., 2] > 60
    assert green.any()
    assert not orange.any()


def test_a_window_has_its_size_in_pixels():
    assert Window(-10.0, 20.0, 5.0, 25.0, 2.5).shape == (50, 75)

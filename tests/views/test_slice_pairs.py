from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from shown import AFFINE, LEFT, LIVER, SHAPE, labels_of, shown_case
from steelyard.errors import BadSpec
from steelyard.labels import CHAOS_MR
from steelyard.views.canvas import BLACK, Panel, scaled, sheet
from steelyard.views.case_on_screen import CaseOnScreen
from steelyard.views.slice_pairs import PANEL_PX, SlicePair, chosen_slices, slice_numbered, slice_pairs
from steelyard.views.slices import displayed_sides, windowed
from steelyard.volume import Geometry, Volume

ORANGE, GREEN, BLUE = (213, 94, 0), (0, 158, 115), (86, 180, 233)


def pixels_of(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """(row, column) of every pixel of exactly that colour."""
    return np.argwhere((picture == colour).all(-1))


def test_a_slice_on_the_screen_has_true_proportions_and_its_sides():
    case = shown_case()
    screen = CaseOnScreen(case)
    assert screen.size_mm == (60, 120)  # 30 rows of 2 mm, 40 columns of 3 mm
    picture = screen.on_black(case.reference, 2, 4.0)
    assert picture.shape == (240, 480, 3)
    rows, columns = pixels_of(picture, ORANGE).T  # rows 5–19 of 8 px, columns 4–15 of 12 px
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (40, 160, 48, 192)
    assert pixels_of(picture, BLUE)[:, 1].min() == 30 * 12
    assert displayed_sides(case.image.geometry) == ("R", "A")


def test_sides_are_named_by_the_body_and_not_by_the_files_order():
    coronal = np.array([[0.0, 0, -3, 0], [5, 0, 0, 0], [0, 2, 0, 0], [0, 0, 0, 1]])
    sagittal = np.array([[5.0, 0, 0, 0], [0, 0, 2, 0], [0, -3, 0, 0], [0, 0, 0, 1]])
    assert displayed_sides(Geometry(SHAPE, coronal)) == ("R", "H")
    assert displayed_sides(Geometry(SHAPE, sagittal)) == ("A", "H")
    assert displayed_sides(Geometry(SHAPE, AFFINE[:, [0, 2, 1, 3]])) == ("R", "A")


def test_labels_on_the_image_are_half_transparent():
    case = shown_case()
    over = CaseOnScreen(case).on_image(case.predictions["iou0515"], 2, 1.0)
    inside, outside = over[30, 30], over[30, 66]  # mm: in the liver, and between the organs
    assert outside.tolist() == [255, 255, 255]
    assert inside.tolist() == [234, 174, 128]  # (255 + 213) / 2, (255 + 94) / 2, (255 + 0) / 2, rounded to even


def test_the_place_is_said_as_scanners_say_it():
    screen = CaseOnScreen(shown_case())
    assert screen.where(0) == "slice 1 of 6 · F 12.0 mm"
    assert screen.where(4) == "slice 5 of 6 · H 8.0 mm"
    # Coronal, rows to the feet: the slice's middle lies at y = 7 - 5 · 2, in front of the origin.
    coronal = np.array([[0.0, 0, 3, 0], [-5, 0, 0, 7], [0, -2, 0, 0], [0, 0, 0, 1]])
    assert CaseOnScreen(shown_case(affine=coronal)).where(2) == "slice 3 of 6 · A 3.0 mm"
    # A slice tilted about the patient's left-right axis: z = -12 + 5 · 0.8 · k + 2 · 0.6 · row, at row 14.5.
    tilted = np.array([[0.0, 0, 3, 0], [-3, 1.6, 0, 0], [4, 1.2, 0, -12], [0, 0, 0, 1]])
    assert CaseOnScreen(shown_case(affine=tilted)).where(1) == "slice 2 of 6 · H 9.4 mm"


def test_dice_is_said_of_organs_that_have_one():
    screen = CaseOnScreen(shown_case(dice={"liver": 0.934, "left_kidney": 1.0}))
    assert screen.dice("iou0515") == "Dice: liver 0.93, left kidney 1.00"
    assert CaseOnScreen(shown_case()).dice("iou0515") == ""


def test_the_figure_shows_reference_on_black_left_and_prediction_on_the_image_right():
    figure = np.asarray(slice_pairs([SlicePair(shown_case(), 2, "worst")]))
    half = figure.shape[1] // 2
    picture = figure[:-60]  # without the legend
    assert len(pixels_of(picture[:, :half], ORANGE)) > 1000
    assert len(pixels_of(picture[:, half:], ORANGE)) == 0
    assert len(pixels_of(picture[:, half:], (234, 174, 128))) > 1000
    assert len(pixels_of(picture[:, :half], BLUE)) > 100  # the spleen, which the prediction lacks
    black = (figure[60:-80, 20 : half - 20] == 0).all(-1)
    assert black.mean() > 0.5


def test_without_a_reference_the_bare_image_stands_on_the_left():
    figure = np.asarray(slice_pairs([SlicePair(shown_case(reference=False), 2)]))
    half = figure.shape[1] // 2
    assert len(pixels_of(figure[:-60, :half], ORANGE)) == 0
    assert len(pixels_of(figure[:-60, :half], (255, 255, 255))) > 1000


def test_without_a_prediction_the_reference_is_laid_over_the_image():
    figure = np.asarray(slice_pairs([SlicePair(replace(shown_case(), predictions={}), 2)]))
    half = figure.shape[1] // 2
    assert len(pixels_of(figure[:-60, half:], (234, 174, 128))) > 1000


def test_every_row_has_one_scale():
    small, wide = shown_case(), shown_case(affine=AFFINE @ np.diag([1, 2, 2, 1.0]))
    figure = np.asarray(slice_pairs([SlicePair(small, 2), SlicePair(wide, 2)]))
    rows = pixels_of(figure[:-60], GREEN)[:, 0]
    heights = [np.ptp(part) + 1 for part in np.split(np.unique(rows), np.flatnonzero(np.diff(np.unique(rows)) > 5) + 1)]
    assert heights[1] == pytest.approx(2 * heights[0], abs=2)
    assert figure.shape[1] < 2 * PANEL_PX + 60  # the wider case fills its panel


def test_the_chosen_slice_goes_through_all_organs_rather_than_the_largest():
    labels = labels_of({LIVER: np.s_[0:6, 2:25, 2:25], LEFT: np.s_[3:4, 26:29, 28:34]})
    labels.labels[3, 2:12] = 0
    case = replace(shown_case(), reference=labels)
    assert chosen_slices(case) == (3,)
    assert chosen_slices(case, organ=CHAOS_MR.organ("liver")) == (0,)


def test_several_slices_are_spread_over_the_organs_without_their_ends():
    case = replace(shown_case(), reference=labels_of({LIVER: np.s_[1:6, 2:5, 2:5]}))
    assert chosen_slices(case, 3) == (2, 3, 4)
    assert chosen_slices(case, 20) == (1, 2, 3, 4, 5)


def test_where_the_reference_is_empty_the_prediction_decides_and_then_the_middle():
    nothing = labels_of({})
    assert chosen_slices(replace(shown_case(), reference=nothing), organ=CHAOS_MR.organ("right_kidney")) == (3,)
    assert chosen_slices(replace(shown_case(reference=False), predictions={"none": nothing})) == (3,)


def test_slices_are_numbered_from_one():
    assert slice_numbered(shown_case(), 6) == 5
    with pytest.raises(BadSpec, match="p1 has slices 1 to 6; came 7"):
        slice_numbered(shown_case(), 7)


def test_ct_is_shown_in_the_window_of_soft_tissue():
    intensities = np.linspace(-1000, 1000, 2001, dtype=np.float32).reshape(1, 1, -1)
    grey = windowed(intensities)[0, 0]
    assert grey[: 1000 - 160].max() == 0
    assert grey[1000 + 240 :].min() == 255
    assert int(grey[1000 + 40]) == pytest.approx(127.5, abs=1)


def test_labels_keep_their_values_when_they_are_scaled():
    labels = np.array([[0, 1], [4, 2]], np.uint8)
    assert set(np.unique(scaled(labels, (2.0, 3.0), 7.3, smooth=False))) == {0, 1, 2, 4}


def test_a_sheet_has_even_sides_and_room_for_its_longest_words():
    panel = Panel(np.zeros((31, 33, 3), np.uint8), ("a case with a very long name that is wider than its picture",))
    page = sheet([[panel]], CHAOS_MR.organs, paper=BLACK, foot=("below",))
    assert page.width % 2 == page.height % 2 == 0
    right_edge = np.asarray(page)[:, -6:]
    assert not right_edge.any()


def test_a_flat_image_is_black_and_still_has_a_size():
    case = replace(shown_case(), image=Volume(np.zeros(SHAPE, np.float32), Geometry(SHAPE, AFFINE)))
    assert not CaseOnScreen(case).image(0, 2.0).any()

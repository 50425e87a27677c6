from __future__ import annotations

import base64
import io
import re

import numpy as np
from PIL import Image

from steelyard.report.overlays import Figure, Panel, draw, pick_cases, shown_condition
from steelyard.report.read import read_study
from written_study import GRID, LABELS, WrittenRun, block, write_images, write_prediction, write_study

LIVER = LABELS.organs[0]


def run_with(loss: str, livers: dict[str, float | None], *, pooled: float = 0.5, state: str = "done") -> WrittenRun:
    cases = {case: {"liver": value, "left_kidney": 0.5} for case, value in livers.items()}
    return WrittenRun(loss, cases, {"liver": pooled, "left_kidney": 0.5}, state=state)


def picks(folder, livers: dict[str, float | None]) -> list[tuple[str, str]]:
    study = read_study(write_study(folder, [run_with("first", livers)]))
    (condition,) = study.conditions
    return [(pick.place, pick.case_id) for pick in pick_cases(study, condition, LIVER)]


def test_worst_median_and_best_are_by_the_organs_iou(tmp_path):
    livers = {"p1_a": 0.5, "p2_a": 0.9, "p3_a": 0.1, "p4_a": 0.6, "p5_a": None, "p6_a": 0.2}
    assert picks(tmp_path, livers) == [("worst", "p3_a"), ("median", "p1_a"), ("best", "p2_a")]


def test_of_two_middle_cases_the_lower_is_the_median(tmp_path):
    livers = {"p1_a": 0.5, "p2_a": 0.9, "p3_a": 0.1, "p4_a": 0.6}
    assert picks(tmp_path, livers) == [("worst", "p3_a"), ("median", "p1_a"), ("best", "p2_a")]


def test_few_cases_are_not_shown_twice(tmp_path):
    assert picks(tmp_path / "two", {"p1_a": 0.5, "p2_a": 0.3}) == [("worst", "p2_a"), ("best", "p1_a")]
    assert picks(tmp_path / "one", {"p1_a": 0.5}) == [("worst", "p1_a")]
    assert picks(tmp_path / "none", {"p1_a": None}) == []


def test_the_loss_with_the_highest_average_is_pictured_but_never_an_unfinished_one(tmp_path):
    runs = [
        run_with("first", {"p1_a": 0.5}, pooled=0.4),
        run_with("second", {"p1_a": 0.5}, pooled=0.7),
        run_with("third", {"p1_a": 0.5}, pooled=0.99, state="unfinished"),
    ]
    shown = shown_condition(read_study(write_study(tmp_path, runs)))
    assert shown is not None
    assert shown.loss == "second"


def drawn(folder, reference: np.ndarray, prediction: np.ndarray, *, other: np.ndarray | None = None) -> Figure:
    runs = [run_with("first", {"p1_a": 0.5}, pooled=0.9), run_with("second", {"p1_a": 0.4}, pooled=0.2)]
    write_study(folder, runs)
    write_images(folder, "p1_a", reference)
    write_prediction(folder, runs[0], "p1_a", prediction)
    if other is not None:
        write_prediction(folder, runs[1], "p1_a", other)
    study = read_study(folder)
    return draw(study, pick_cases(study, study.conditions[0], LIVER)[0])


def pixels(panel: Panel) -> np.ndarray:
    embedded = re.search(r"base64,([^\"]+)", panel.svg)
    assert embedded is not None
    return np.array(Image.open(io.BytesIO(base64.b64decode(embedded[1]))))


def test_reference_and_segmentation_are_drawn_where_they_lie(tmp_path):
    reference = block(slice(0, 1), slice(4, 6), slices=slice(2, 3))  # front, patient's left, in the last slice
    figure = drawn(tmp_path, reference, block(slice(3, 4), slice(0, 1), slices=slice(2, 3)))
    assert figure.where == "slice 3 of 3, the one with the largest reference area"
    left, right, _both = map(pixels, figure.panels)
    assert left.shape == (4, 6, 3)
    assert [tuple(int(n) for n in at) for at in np.argwhere(left.any(-1))] == [(0, 4), (0, 5)]
    assert left[0, 4].tolist() == list(LIVER.colour)
    assert [tuple(int(n) for n in at) for at in np.argwhere(right.any(-1))] == [(3, 0)]
    assert [panel.caption for panel in figure.panels][:2] == ["reference", "segmentation, first"]


def test_contours_keep_the_grids_proportions(tmp_path):
    figure = drawn(tmp_path, block(slice(0, 1), slice(4, 6)), block(slice(3, 4), slice(0, 1)))
    svg = figure.panels[2].svg
    assert 'viewBox="0 0 18.00 8.00"' in svg  # 6 columns of 3 mm, 4 rows of 2 mm
    solid, dashed = (re.search(rf'class="{kind}"[^>]* d="([^"]+)"', svg) for kind in ("solid", "dashed"))
    assert solid is not None
    assert dashed is not None
    xs, ys = np.array([[float(n) for n in p.split(",")] for p in re.findall(r"[\d.]+,[\d.]+", solid[1])]).T
    assert (xs.min(), xs.max(), ys.min(), ys.max()) == (12.0, 18.0, 0.0, 2.0)
    xs, ys = np.array([[float(n) for n in p.split(",")] for p in re.findall(r"[\d.]+,[\d.]+", dashed[1])]).T
    assert (xs.min(), xs.max(), ys.min(), ys.max()) == (0.0, 3.0, 6.0, 8.0)


def test_an_invented_organ_is_shown_where_the_segmentation_has_it(tmp_path):
    figure = drawn(tmp_path, np.zeros(GRID.shape, np.uint8), block(slice(1, 2), slice(1, 2), slices=slice(0, 1)))
    assert figure.where == "slice 1 of 3, the one with the largest segmentation area"


def test_the_same_slice_is_shown_under_the_other_losses(tmp_path):
    reference = block(slice(0, 2), slice(0, 2))
    figure = drawn(tmp_path, reference, reference, other=block(slice(2, 3), slice(5, 6)))
    (other,) = figure.others
    assert other.caption == "second"
    assert [tuple(int(n) for n in at) for at in np.argwhere(pixels(other).any(-1))] == [(2, 5)]


def test_a_dagger_follows_a_loss_that_lacks_runs(tmp_path):
    runs = [run_with("first", {"p1_a": 0.5}), run_with("second", {"p1_a": 0.4})]
    study = read_study(write_study(tmp_path, [*runs, WrittenRun("second", fold=1, state="unfinished")]))
    write_images(tmp_path, "p1_a", block(slice(0, 1), slice(0, 1)))
    for run in runs:
        write_prediction(tmp_path, run, "p1_a", block(slice(0, 1), slice(0, 1)))
    whole, half = (draw(study, pick_cases(study, condition, LIVER)[0]) for condition in study.conditions)
    assert (whole.panels[1].caption, half.panels[1].caption) == ("segmentation, first", "segmentation, second †")
    assert [panel.caption for panel in whole.others] == ["second †"]


def test_a_deleted_prediction_leaves_words_instead_of_a_picture(tmp_path):
    study = read_study(write_study(tmp_path, [run_with("first", {"p1_a": 0.5})]))
    write_images(tmp_path, "p1_a", block(slice(0, 1), slice(0, 1)))
    figure = draw(study, pick_cases(study, study.conditions[0], LIVER)[0])
    assert figure.panels == ()
    assert figure.missing == "no picture: p1_a.nii.gz of p1_a was not kept"

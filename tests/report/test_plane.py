from __future__ import annotations

import re
from pathlib import Path

import pytest

from steelyard.report.comparison import Comparison, comparisons
from steelyard.report.drawing import ticks
from steelyard.report.label_places import around, free_place
from steelyard.report.plane import planes
from steelyard.report.read import read_study
from steelyard.report.write import write_report
from steelyard.scores import Score
from written_study import WrittenRun, write_study


def share(metric: str, value: float | None, case: str | None = None) -> Score:
    status = "undefined" if value is None else "ok"
    patient = case.split("_")[0] if case else None
    return Score(metric, value, "1", "counts", status, "liver", case, patient, "t1_in")


def run_at(loss: str, sensitivity: float | None, precision: float | None, patients=()) -> WrittenRun:
    scores = [share("sensitivity", sensitivity), share("precision", precision)]
    for number, (s, p) in enumerate(patients):
        scores += [share("sensitivity", s, f"p{number}_a"), share("precision", p, f"p{number}_a")]
    return WrittenRun(loss, {"p0_a": {"liver": 0.5}}, others=scores)


def compared(folder: Path, *runs: WrittenRun) -> Comparison:
    return comparisons(read_study(write_study(folder, list(runs))))[0]


def test_each_loss_sits_at_its_sensitivity_across_and_its_precision_up(tmp_path):
    (plane,) = planes(compared(tmp_path, run_at("misses", 0.6, 0.95), run_at("spills", 0.9, 0.75)))
    assert plane.title == "liver"
    places = {
        loss: (float(x), float(y))
        for x, y, loss in re.findall(r"translate\(([\d.]+),([\d.]+)\)[^>]*><title>(\w+): sens", plane.svg)
    }
    assert places["misses"][0] < places["spills"][0]
    assert places["misses"][1] < places["spills"][1]  # further up
    ticks_x = {float(t): float(x) for x, t in re.findall(r'x="([\d.]+)" y="280.0"[^>]*>([\d.]+)<', plane.svg)}
    low, high = min(ticks_x), max(ticks_x)
    per_unit = (ticks_x[high] - ticks_x[low]) / (high - low)
    assert places["spills"][0] == pytest.approx(ticks_x[low] + (0.9 - low) * per_unit, abs=0.3)
    assert "misses: sensitivity 0.600, precision 0.950; spills: sensitivity 0.900, precision 0.750." in plane.svg


def test_on_a_grey_curve_the_iou_is_the_same(tmp_path):
    (plane,) = planes(compared(tmp_path, run_at("misses", 0.6, 0.9), run_at("spills", 0.9, 0.6)))
    # The plane spans .555 to .945 both ways, 250 pixels: pooled points ± 65 % of their distance from the middle.
    drawn = re.findall(r'd="M([^"]+)" fill="none" stroke="#dddddd"[^>]*></path><text[^>]*>IoU ([\d.]+)<', plane.svg)
    assert len(drawn) > 2
    for curve, level in drawn:
        for point in curve.split("L")[::4]:
            x, y = map(float, point.split(","))
            sensitivity, precision = 0.555 + (x - 50) / 250 * 0.39, 0.945 - (y - 14) / 250 * 0.39
            tp, fn, fp = 1, 1 / sensitivity - 1, 1 / precision - 1
            assert tp / (tp + fn + fp) == pytest.approx(float(level), abs=0.003)


def test_patients_outside_of_the_plane_are_counted_not_squeezed_in(tmp_path):
    cloud = [(0.82, 0.85), (0.1, 0.99), (0.84, None)]
    (plane,) = planes(compared(tmp_path, run_at("only", 0.8, 0.9, cloud)))
    assert plane.outside == 1  # p1; p2 has no precision and so no place
    assert plane.svg.count("<title>p0, only") == 1
    assert "p1, only" not in plane.svg


def test_a_loss_without_precision_has_no_place(tmp_path):
    assert planes(compared(tmp_path, run_at("lost", 0.0, None))) == ()


def test_a_loss_that_lacks_runs_is_drawn_open_under_a_dagger(tmp_path):
    lost = run_at("half", 0.9, 0.75)
    never = WrittenRun("half", fold=1, state="unfinished")
    comparison = compared(tmp_path, run_at("whole", 0.6, 0.95), lost, never)
    (plane,) = planes(comparison)
    fills = re.findall(r'fill="(#\w+)"[^>]*><title>([^:]+): sens', plane.svg)
    assert [(fill == "#ffffff", name) for fill, name in fills] == [(False, "whole"), (True, "half †")]
    assert ">half †</text>" in plane.svg
    assert comparison.shortfalls.endswith("patients may be with them: half (1 of 2 runs finished).")
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert page.count(comparison.shortfalls) == 3  # below the planes, the patients and the pictures


def test_equal_losses_get_labels_side_by_side(tmp_path):
    (plane,) = planes(compared(tmp_path, *(run_at(f"loss{i}", 0.8, 0.9) for i in range(6))))
    labels = [
        (float(x), float(y)) for x, y in re.findall(r'<text x="([\d.]+)" y="([\d.]+)"[^>]*>loss\d</text>', plane.svg)
    ]
    assert len(labels) == 6
    for i, (x, y) in enumerate(labels):
        assert all(abs(x - other_x) > 36 or abs(y - other_y) > 11 for other_x, other_y in labels[i + 1 :])


def test_a_label_avoids_what_is_taken_and_stays_in_the_frame():
    frame = (0.0, 0.0, 200.0, 100.0)
    free = free_place(50, 50, "abc", [around(50, 50, 5)], frame)
    assert free[0] >= 55  # to the right, where most readers look first
    beside = free_place(50, 50, "abc", [around(50, 50, 5), free], frame)
    assert beside[2] <= free[0] or beside[1] >= free[3] or beside[3] <= free[1]
    at_the_edge = free_place(198, 50, "abc", [], frame)
    assert at_the_edge[2] <= 200


def test_ticks_are_round_and_hold_the_ends():
    assert ticks(-7.3, 11.2) == [-10, -5, 0, 5, 10, 15]
    assert ticks(0.555, 0.945, about=4) == [0.5, 0.6, 0.7, 0.8, 0.9, 1.0]


@pytest.mark.parametrize("value", [0.0, 0.85, -40.0])
def test_ticks_about_equal_values_leave_room_on_both_sides(value: float):
    found = ticks(value, value, about=4)
    assert found[0] < value < found[-1]

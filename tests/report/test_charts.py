from __future__ import annotations

import re
from pathlib import Path

import polars as pl

from steelyard.report.charts import iou_charts, loss_charts, loss_styles, patient_charts
from steelyard.report.comparison import Comparison, comparisons
from steelyard.report.read import read_study
from written_study import WrittenRun, write_study

CASES = {"p1_a": {"liver": 0.25, "left_kidney": 0.5}, "p2_a": {"liver": 0.75, "left_kidney": None}}


def only(folder: Path, *runs: WrittenRun) -> Comparison:
    (comparison,) = comparisons(read_study(write_study(folder, list(runs))))
    return comparison


def test_each_patient_is_a_dot_at_its_iou(tmp_path):
    liver, kidney = patient_charts(only(tmp_path, WrittenRun("first", CASES)))
    assert (liver.title, kidney.title) == ("liver", "left kidney")
    dots = dict(re.findall(r'<path aria-label="(p\d)[^"]*"[^>]*transform="translate\(([\d.]+),', liver.svg))
    zero, one = (
        float(re.findall(rf"translate\(([\d.]+),[^>]*>{tick}</text>", liver.svg)[0]) for tick in ("0.0", "1.0")
    )
    assert abs(float(dots["p1"]) - (zero + 0.25 * (one - zero))) < 0.6
    assert abs(float(dots["p2"]) - (zero + 0.75 * (one - zero))) < 0.6
    assert "p2" not in kidney.svg  # an undefined IoU is no dot at 0
    assert "first: 2 patients from 0.250 to 0.750" in liver.svg


def test_the_dots_of_a_loss_that_lacks_runs_are_open_under_a_dagger(tmp_path):
    never = WrittenRun("half", fold=1, state="unfinished")
    liver, _ = patient_charts(only(tmp_path, WrittenRun("whole", CASES), WrittenRun("half", CASES), never))
    dots = re.findall(r'<path aria-label="p1 · (\w+ ?†?) · [^"]*"[^>]*?fill="(#\w+)"', liver.svg)
    assert sorted(dots) == [("half †", "#ffffff"), ("whole", "#d55e00")]  # the liver's own colour
    assert len(re.findall(r"<text[^>]*>half †", liver.svg)) == 1


def test_a_long_training_is_drawn_with_few_points_and_its_last_epoch(tmp_path):
    run = WrittenRun("first", CASES)
    comparison = only(tmp_path, run)
    epochs = pl.int_range(1, 803, 2, eager=True)  # 401 values, of epochs 1, 3, 5, … 801
    pl.DataFrame({"epoch": epochs, "value": 1 / epochs}).with_columns(
        pl.lit("training_loss").alias("quantity"), pl.lit(None, dtype=pl.String).alias("organ")
    ).write_parquet(tmp_path / run.name / "history.parquet")
    (chart,) = loss_charts(comparison)
    line = re.search(r'aria-roledescription="line mark" d="([^"]+)"', chart.svg)
    assert line is not None
    assert line[1].count("L") == 200  # every second of 401 values: 201 points
    assert "first, fold 0, seed 1 ends at 0.001" in chart.svg  # 1 / 801


def test_curves_of_unfinished_runs_are_not_drawn(tmp_path):
    lost = WrittenRun("second", CASES, state="unfinished")
    comparison = only(tmp_path, WrittenRun("first", CASES), lost)
    assert [chart.title for chart in loss_charts(comparison)] == ["first"]
    assert all("second" not in chart.svg for chart in iou_charts(comparison))
    assert [style.label for style in loss_styles(comparison.study)] == ["first"]


def test_sixteen_losses_are_told_apart_by_stroke_and_dash(tmp_path):
    styles = loss_styles(only(tmp_path, *(WrittenRun(f"loss{i}", CASES) for i in range(16))).study)
    assert len({(style.stroke, style.dash) for style in styles}) == 16

"""Where the gradient goes, on the page: heights that are the shares, means that are worked by hand, words for both."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest

from steelyard.report.comparison import Comparison, comparisons
from steelyard.report.gradient_charts import HEIGHT, LINE, TOP, WIDTH, kind_charts, organ_charts
from steelyard.report.gradient_shares import (
    KIND_COLOURS,
    balance_sentence,
    gradient_table,
    lacking_sentence,
    percent,
    spent_by_kind,
    spent_by_organ,
)
from steelyard.report.read import read_study
from steelyard.report.write import write_report
from steelyard.study.gradient_kinds import KINDS
from written_study import WrittenRun, write_study

CASES = {"p1_a": {"liver": 0.25, "left_kidney": 0.5}, "p2_a": {"liver": 0.75, "left_kidney": None}}
EARLY = {
    ("missed", "liver"): 0.5,
    ("missed", "left_kidney"): 0.1,
    ("spilled", "liver"): 0.3,
    ("boundary", "background"): 0.1,
}
LATE = {
    ("missed", "liver"): 0.05,
    ("missed", "left_kidney"): 0.15,
    ("spilled_organ_free", "left_kidney"): 0.002,
    ("interior", "liver"): 0.2,
    ("boundary", "liver"): 0.198,
    ("background", "background"): 0.4,
}
NOTHING = dict.fromkeys(LATE)


def only(folder: Path, *runs: WrittenRun) -> Comparison:
    (comparison,) = comparisons(read_study(write_study(folder, list(runs))))
    return comparison


def heights(svg: str) -> dict[str, tuple[float, float]]:
    """What each band covers at the first look and at the last, of the whole height, by what is said of it."""
    found = {}
    for path, told in re.findall(r'<path d="M([^"]+)Z"[^>]*><title>([^<]+)</title>', svg):
        points = [tuple(map(float, point.split(","))) for point in path.split("L")]
        upper, lower = points[: len(points) // 2], points[len(points) // 2 :][::-1]
        assert [x for x, _ in upper] == [x for x, _ in lower]
        found[told.split(":")[0]] = tuple((lower[i][1] - upper[i][1]) / HEIGHT for i in (0, -1))
    return found


def test_a_band_is_as_high_as_its_share(tmp_path):
    comparison = only(tmp_path, WrittenRun("first", CASES, gradient={1: EARLY, 5: LATE}))
    (by_kind,), (by_organ,) = kind_charts(comparison), organ_charts(comparison)
    assert by_kind.title == by_organ.title == "first"
    expected = {
        "missed": (0.6, 0.2),
        "spilled": (0.3, 0),
        "spilled, organ-free": (0, 0.002),
        "right, boundary": (0.1, 0.198),
        "right, inside organ": (0, 0.2),
        "right, background": (0, 0.4),
        "right, organ-free": (0, 0),
    }
    found = heights(by_kind.svg)
    assert list(found) == [kind.title for kind in KINDS]
    for title, shares in expected.items():
        assert found[title] == pytest.approx(shares, abs=0.002), title
    found = heights(by_organ.svg)  # .05 + .2 + .198, .15 + .002, .4
    assert found["liver"] == pytest.approx((0.8, 0.448), abs=0.002)
    assert found["left kidney"] == pytest.approx((0.1, 0.152), abs=0.002)
    assert found["background"] == pytest.approx((0.1, 0.4), abs=0.002)
    assert 'fill="#d55e00"' in by_organ.svg  # the liver's own


def test_a_heavy_line_lies_on_top_of_the_wrong_pixels(tmp_path):
    (chart,) = kind_charts(only(tmp_path, WrittenRun("first", CASES, gradient={1: EARLY, 5: LATE})))
    (line,) = re.findall(r'<path d="M([^"]+)" fill="none" stroke="#222222" stroke-width="2"', chart.svg)
    (_, early), (_, late) = ([float(v) for v in point.split(",")] for point in line.split("L"))
    assert early == pytest.approx(TOP + HEIGHT * 0.1, abs=0.06)
    assert late == pytest.approx(TOP + HEIGHT * 0.798, abs=0.06)


def test_words_say_what_the_areas_show(tmp_path):
    (chart,) = kind_charts(only(tmp_path, WrittenRun("first", CASES, gradient={1: EARLY, 5: LATE})))
    alt = re.findall(r'aria-label="([^"]+)"', chart.svg)[0]
    assert alt.startswith(
        "Share of the gradient of first by kind of pixel, over the epochs. missed: 60 % after epoch 1, 20 "
    )
    labels = re.findall(r"<text[^>]*>([^<]+)</text>", chart.svg)
    assert "missed 20 %" in labels
    assert "spilled, organ-free &lt; 1 %" in labels
    assert not [label for label in labels if label.startswith("spilled 0")]
    heights_of = [float(y) for y in re.findall(r'<text x="2\d\d\.\d" y="([\d.]+)"[^>]*text-anchor="start"', chart.svg)]
    assert len(heights_of) == 5
    heights_of.sort()
    assert all(low + LINE <= high + 0.11 for low, high in pairwise(heights_of))


def test_folds_and_seeds_are_averaged_and_losses_are_not(tmp_path):
    half = {("missed", "liver"): 0.2, ("background", "background"): 0.8}
    comparison = only(
        tmp_path,
        WrittenRun("first", CASES, gradient={1: EARLY, 5: half}),
        WrittenRun(
            "first", CASES, gradient={1: EARLY, 5: {("missed", "liver"): 0.5, ("spilled", "liver"): 0.5}}, seed=2
        ),
        WrittenRun("second", CASES, gradient={1: half, 5: LATE}),
        WrittenRun("second", CASES, gradient={1: EARLY, 5: EARLY}, seed=2, state="unfinished"),
    )
    first, second = spent_by_kind(comparison)
    assert (first.loss, first.runs) == ("first", 2)
    assert first.shares[5]["missed"] == pytest.approx(0.35)
    assert first.shares[5]["spilled"] == pytest.approx(0.25)
    assert first.shares[5]["background"] == pytest.approx(0.4)
    assert (second.shares[1]["missed"], second.runs) == (0.2, 1)
    assert balance_sentence(comparison) == (
        "After the last epoch: first 35 % on missed, 25 % on spilled pixels; "
        "second 20 % on missed, < 1 % on spilled pixels."
    )
    table = gradient_table(comparison)
    missed = table.sections[0].rows[0]
    assert missed.header.label == "missed"
    assert [cell.number for cell in missed.cells] == ["0.350", "0.200"]


def test_networks_of_one_organ_each_add_up_to_one(tmp_path):
    liver = WrittenRun(
        "first", CASES, organ="liver", gradient={2: {("missed", "liver"): 0.6, ("background", "background"): 0.4}}
    )
    kidney = WrittenRun("first", CASES, organ="left_kidney", gradient={2: {("missed", "left_kidney"): 1.0}})
    (spent,) = spent_by_organ(only(tmp_path, liver, kidney))
    assert spent.shares[2] == pytest.approx({"liver": 0.3, "left_kidney": 0.5, "background": 0.2})


def test_a_look_without_a_gradient_is_a_gap_and_not_a_zero(tmp_path):
    comparison = only(tmp_path, WrittenRun("first", CASES, gradient={1: EARLY, 2: LATE, 3: NOTHING, 4: EARLY}))
    (spent,) = spent_by_kind(comparison)
    assert spent.shares[3] is None
    (chart,) = kind_charts(comparison)
    areas = re.findall(r'<path d="M([^"]+)Z"[^>]*fill="#b5302a"', chart.svg)  # of missed pixels
    reach = [sorted({float(point.split(",")[0]) for point in area.split("L")}) for area in areas]
    assert len(reach) == 2
    assert reach[0][-1] - reach[0][0] == pytest.approx(WIDTH / 3, abs=0.2)  # epochs 1 to 2 of 1 to 4
    assert reach[1][-1] - reach[1][0] == pytest.approx(2, abs=0.2)  # epoch 4 alone, at the right end
    (empty,) = kind_charts(only(tmp_path / "none", WrittenRun("first", CASES, gradient={1: NOTHING, 2: NOTHING})))
    assert "no gradient at any look" in empty.svg
    assert "nan" not in empty.svg.lower()


def test_a_single_look_fills_the_width_and_a_long_training_has_few_points(tmp_path):
    (chart,) = kind_charts(only(tmp_path / "one", WrittenRun("first", CASES, gradient={3: EARLY})))
    assert heights(chart.svg)["missed"] == pytest.approx((0.6, 0.6), abs=0.002)
    looks = dict.fromkeys(range(1, 500), EARLY) | {500: LATE}
    (chart,) = kind_charts(only(tmp_path / "long", WrittenRun("first", CASES, gradient=looks)))
    assert heights(chart.svg)["missed"] == pytest.approx((0.6, 0.2), abs=0.002)
    assert len(chart.svg) < 60_000


def test_losses_trained_without_a_record_are_named(tmp_path):
    comparison = only(tmp_path, WrittenRun("first", CASES, gradient={1: LATE}), WrittenRun("older", CASES))
    assert lacking_sentence(comparison) == "Not recorded while training: older."
    assert [chart.title for chart in kind_charts(comparison)] == ["first"]
    assert [row.cells[1].number for row in gradient_table(comparison).sections[0].rows] == ["–"] * 7


def test_the_section_appears_where_there_is_something_to_show(tmp_path):
    told = write_report(write_study(tmp_path / "new", [WrittenRun("first", CASES, gradient={1: EARLY, 5: LATE})]))
    text = told.read_text(encoding="utf-8")
    assert '<section id="gradient">' in text
    assert '<a href="#gradient">' in text
    for kind in KINDS:
        assert f"<dt>{kind.title}</dt><dd>{kind.meaning}</dd>" in text
    assert "missed,0.2" in (told.parent / "tables" / "gradient.csv").read_text()
    old = write_report(write_study(tmp_path / "old", [WrittenRun("first", CASES)]))
    assert "gradient" not in old.read_text(encoding="utf-8").split("</style>")[1]
    assert not (old.parent / "tables" / "gradient.csv").exists()


def test_every_kind_has_a_colour_of_its_own():
    assert list(KIND_COLOURS) == [kind.name for kind in KINDS]
    assert len(set(KIND_COLOURS.values())) == len(KINDS)


def test_a_share_that_would_round_to_nothing_is_not_called_nothing():
    assert [percent(share) for share in (0.0, 0.004, 0.01, 0.316, 1.0)] == ["0 %", "< 1 %", "1 %", "32 %", "100 %"]

"""The comparison with the baseline, on made-up regressions."""

from __future__ import annotations

from dataclasses import replace

import pytest
from benchmarks.check import baseline_here, baseline_of, compared_lines, regressions
from benchmarks.growth_fit import Growth, exponent, read_growth, write_growth
from benchmarks.line import Limit
from benchmarks.pair import Measured
from benchmarks.results import Result

MEASURED = Measured("a1_loss", 0.02, 0.2, 10.0, 9.0, 11.0, 100.0, 500.0, Limit(0.01, ""), (), 31)
BASELINE = {"a1_loss": {"ratio": 10.0, "ours_mib": 100.0}}


def test_a_ratio_that_falls_by_a_quarter_fails_and_by_a_tenth_does_not():
    assert regressions(BASELINE, {"a1_loss": replace(MEASURED, ratio=7.5)}) == [
        "a1_loss: ratio 7.50, was 10.00; tolerance 20%"
    ]
    assert regressions(BASELINE, {"a1_loss": replace(MEASURED, ratio=9.0)}) == []
    assert regressions(BASELINE, {"a1_loss": replace(MEASURED, ratio=30.0)}) == []


def test_memory_that_grows_by_a_fifth_fails_where_it_was_measured():
    grown = replace(MEASURED, ours_mib=120.0)
    assert regressions(BASELINE, {"a1_loss": grown}) == ["a1_loss: 120 MiB, was 100 MiB; tolerance 10% and 8 MiB"]
    assert regressions(BASELINE, {"a1_loss": replace(MEASURED, ours_mib=117.0)}) == []
    assert regressions(BASELINE, {"a1_loss": replace(MEASURED, ours_mib=None)}) == []
    unknown = {"a1_loss": BASELINE["a1_loss"] | {"ours_mib": None}}
    assert regressions(unknown, {"a1_loss": grown}) == []


def test_the_baseline_holds_what_each_machine_measured_and_nothing_else():
    lacking = Result(None, "2026-11-26", {}, 0.1, "needs cuda")
    other = Result(replace(MEASURED, ratio=3.0), "2026-11-26", {}, 0.1)
    results = {
        "a machine": {"a1_loss": Result(MEASURED, "2026-11-26", {}, 0.1), "i1_gpu": lacking},
        "another": {"a1_loss": other},
    }
    assert baseline_of(results) == {"a machine": BASELINE, "another": {"a1_loss": {"ratio": 3.0, "ours_mib": 100.0}}}


def test_a_machine_is_compared_with_itself_or_told_what_to_do():
    content = {"a machine": BASELINE, "another": {"a1_loss": {"ratio": 3.0, "ours_mib": 100.0}}}
    assert baseline_here(content, "another")["a1_loss"]["ratio"] == 3.0
    with pytest.raises(SystemExit, match=r"this machine \(a third\), only from a machine; another.*accept"):
        baseline_here(content, "a third")


def test_a_line_named_is_compared_or_told_to_be_unknown_here():
    assert compared_lines([], BASELINE) == compared_lines(["a1"], BASELINE) == ["a1_loss"]
    with pytest.raises(SystemExit, match=r"nothing of d1_scores from this machine.*python -m benchmarks d1_scores"):
        compared_lines(["a1", "d1"], BASELINE)


def test_exponents_are_those_of_the_upper_half():
    sizes = [10, 20, 40, 80, 160, 320]
    assert exponent(sizes, [5.0 + 0.001 * n for n in sizes]) < 0.1
    assert exponent(sizes, [7.0, 7.0, 7.0, 3 * 80**1.5, 3 * 160**1.5, 3 * 320**1.5]) == pytest.approx(1.5)
    assert exponent([1, 10, 100, 1000], [9.0, 20.0, 200.0, 2000.0]) == pytest.approx(1.0)


def test_growth_is_worse_than_linear_in_time_or_in_memory():
    sizes = (1, 2, 4, 8)
    linear = Growth("x", "things", sizes, (1.0, 2.0, 4.0, 8.0), (20.0, 40.0, 80.0, 160.0), "here")
    assert not linear.is_worse_than_linear
    assert replace(linear, seconds=(1.0, 4.0, 16.0, 64.0)).is_worse_than_linear
    assert replace(linear, mib=(20.0, 80.0, 320.0, 1280.0)).is_worse_than_linear
    assert not replace(linear, mib=(0.1, 0.4, 1.6, 6.4)).is_worse_than_linear  # noise


def test_growth_comes_back_from_its_file(tmp_path):
    growth = [Growth("x", "things", (1, 2, 4), (1.0, 2.0, 4.0), (20.0, 40.0, 80.0), "here")]
    write_growth(growth, tmp_path / "growth.json")
    assert read_growth(tmp_path / "growth.json") == growth

"""The report repeats what the study's files say: every number here was written into them by hand."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from steelyard.errors import BadData
from steelyard.report.comparison import comparisons
from steelyard.report.forest import forest
from steelyard.report.paired import Pair, paired_table, pairs
from steelyard.report.paired_points import paired_charts
from steelyard.report.read import read_study
from steelyard.report.statistics import Statistics, read_statistics
from steelyard.report.statistics_tables import difference_table, organ_rank_table, rank_table
from steelyard.report.table_files import to_csv, to_latex, to_markdown
from steelyard.report.verdicts import verdict_sentence
from steelyard.report.wording import in_short
from steelyard.report.write import write_report
from steelyard.scores import Score
from steelyard.study.compare import write_comparisons
from written_study import WrittenRun, difference, write_differences, write_ranks, write_study

FIRST = WrittenRun(
    "first",
    {
        "p1_a": {"liver": 0.2, "left_kidney": 0.5},
        "p1_b": {"liver": 0.6, "left_kidney": 0.7},
        "p2_a": {"liver": 0.9, "left_kidney": None},
    },
)
SECOND = WrittenRun(
    "second",
    {
        "p1_a": {"liver": 0.5, "left_kidney": 0.4},
        "p1_b": {"liver": 0.7, "left_kidney": 0.4},
        "p2_a": {"liver": 0.7, "left_kidney": 0.3},
    },
)
ROWS = [
    difference("third", "liver", (-3.0, -9.0, 3.0), minimum_detectable=0.052),
    difference("second", "left_kidney", (-7.25, -9.5, -5.0), verdict="worse", p_holm=0.004),
    difference("second", "liver", (5.125, 2.0, 8.25), verdict="better"),
    difference("second", None, (-1.0, -4.0, 2.0), p_holm=None),
]


def found(folder: Path, rows=ROWS) -> Statistics:
    write_study(folder, [FIRST, SECOND, WrittenRun("third", FIRST.cases)])
    write_differences(folder, rows)
    statistics = read_statistics(comparisons(read_study(folder))[0])
    assert statistics is not None
    return statistics


def test_the_sentence_names_what_is_decided_and_what_could_not_be_seen(tmp_path):
    assert verdict_sentence(found(tmp_path)) == (
        "Against first, second is better for liver (+5.1 points of IoU, 2.0 to 8.2); "
        "second is worse for left kidney (−7.2 points of IoU, −9.5 to −5.0); "
        "all else is undecided with 14 patients (a single test would find a true difference of 5.2 points "
        "with 80 % power; within this family the power is less). "
        "Not compared, for want of runs: third (left kidney)."
    )


def test_a_loss_that_was_not_compared_is_named(tmp_path):
    rows = [difference("second", "liver", (5.0, 2.0, 8.0), verdict="better")]
    assert verdict_sentence(found(tmp_path, rows)).endswith(
        " Not compared, for want of runs: second (left kidney), third."
    )


def test_the_sentence_opens_the_page(tmp_path):
    statistics = found(tmp_path)
    assert in_short(statistics.comparison.study)[0] == verdict_sentence(statistics)


def test_nothing_decided_is_said_as_such(tmp_path):
    rows = [
        difference("second", "liver", (1.0, -2.0, 4.0)),
        difference("second", "left_kidney", (1.0, -2.0, 4.0), minimum_detectable=0.068, patients=13),
        difference("third", "liver", (1.0, -2.0, 4.0)),
    ]
    assert verdict_sentence(found(tmp_path, rows)) == (
        "Against first, every difference is undecided with 13 to 14 patients (a single test would find a true "
        "difference of 4.1 to 6.8 points with 80 % power; within this family the power is less). "
        "Not compared, for want of runs: third (left kidney)."
    )


def test_a_family_of_one_comparison_has_the_power_of_a_single_test(tmp_path):
    rows = [difference("second", "liver", (1.0, -2.0, 4.0), family_size=1)]
    assert "4.1 points with 80 % power)." in verdict_sentence(found(tmp_path, rows))


def test_one_verdict_for_every_organ_is_told_once(tmp_path):
    organs = {"liver": 5.1, "left_kidney": 7.4, "spleen": 3.2}
    written = [WrittenRun(loss, {"p1_a": dict.fromkeys(organs, 0.5)}) for loss in ("first", "second")]
    write_study(tmp_path, written)
    plan = json.loads((tmp_path / "study.json").read_text())
    spleen = {"name": "spleen", "index": 3, "source_value": 252, "colour": [1, 2, 3]}
    plan["label_set"]["organs"].append(spleen)
    (tmp_path / "study.json").write_text(json.dumps(plan))
    write_differences(tmp_path, [difference("second", o, (-v, -9.0, -1.0), verdict="worse") for o, v in organs.items()])
    statistics = read_statistics(comparisons(read_study(tmp_path))[0])
    assert statistics is not None
    assert (
        verdict_sentence(statistics) == "Against first, second is worse for every organ (−3.2 to −7.4 points of IoU)."
    )


def test_too_few_patients_are_no_undecided_question(tmp_path):
    rows = [difference("second", "liver", (1.0, -2.0, 4.0), verdict="too few", patients=4)]
    assert verdict_sentence(found(tmp_path, rows)).startswith(
        "Against first, every difference is undecided: 4 patients are too few for a test."
    )


def test_one_patient_is_told_in_the_singular(tmp_path):
    rows = [difference("second", "liver", (1.0, -2.0, 4.0), verdict="too few", patients=1)]
    assert ": 1 patient is too few for a test." in verdict_sentence(found(tmp_path, rows))


def test_distances_are_told_in_millimetres_and_lower_is_better(tmp_path):
    row = difference(
        "second", "liver", (-420.0, -600.0, -200.0), metric="hd95_mm", convention="chaos", verdict="better"
    )
    statistics = found(tmp_path, [row])
    assert "second is better for liver (−4.2 mm of HD95, −6.0 to −2.0)" in verdict_sentence(statistics)
    assert forest(statistics).index("better than first") < forest(statistics).index("worse than first")


def test_of_signed_errors_the_size_is_compared_and_a_smaller_one_is_better(tmp_path):
    errors = {"first": (-900.0, 400.0), "second": (100.0, -450.0)}  # ml of p1 and p2: 800 nearer to 0, 50 further away
    runs = [
        WrittenRun(
            loss,
            {"p1_a": {"liver": 0.5}, "p2_a": {"liver": 0.5}},
            others=[
                Score("volume_error_ml", value, "ml", "counts", "ok", "liver", f"{patient}_a", patient)
                for patient, value in zip(("p1", "p2"), values, strict=True)
            ],
        )
        for loss, values in errors.items()
    ]
    write_study(tmp_path, runs)
    signed = {"metric": "volume_error_ml", "convention": "counts"}
    write_differences(tmp_path, [difference("second", "liver", (-37500.0, -80000.0, 5000.0), **signed)])
    statistics = read_statistics(comparisons(read_study(tmp_path))[0])
    assert statistics is not None
    svg = forest(statistics)
    assert svg.index("better than first") < svg.index("worse than first")
    assert "mean difference in size of the volume error (ml)" in svg
    (chart,) = paired_charts(statistics)
    lines = dict(re.findall(r'stroke="(#\w+)"[^>]*><title>(p\d): [\d.]+ → ', chart.svg)[i] for i in (0, 3))
    assert lines == {"#0072b2": "p1", "#d55e00": "p2"}
    assert re.findall(r">(p\d)</text>", chart.svg) == ["p2"]  # named as the one that fares worst


def test_the_table_keeps_the_order_of_organs_and_losses_and_the_mean_outside(tmp_path):
    table = difference_table(found(tmp_path))
    assert [(s.title, [r.header.label for r in s.rows]) for s in table.sections] == [
        ("liver", ["second", "third"]),
        ("left kidney", ["second"]),
        ("mean of organs (outside the family)", ["second"]),
    ]
    cells = table.sections[0].rows[0].cells
    assert [cell.number for cell in cells] == [
        "5.1", "2.0", "8.2", "0.0123", "0.0111", "0.0369", "4.1", "14", "better",
    ]  # fmt: skip

    assert cells[0].link == "cases/01-net-second.html#paired-liver"
    assert table.sections[2].rows[0].cells[-1].number == "none"  # a descriptive mean gets no verdict
    assert "over the 24 comparisons that the study declares" in table.notes[0]


def test_the_forest_draws_each_difference_between_its_ends(tmp_path):
    svg = forest(found(tmp_path))
    zero, ten = (float(re.findall(rf'x="([\d.]+)"[^>]*>{said}</text>', svg)[0]) for said in ("0", r"\+10"))
    per_point = (ten - zero) / 10
    mark = re.search(r"translate\(([\d.]+),[^>]*><title>second: \+5.1", svg)
    assert mark is not None
    assert float(mark[1]) == pytest.approx(zero + 5.125 * per_point, abs=0.2)
    ends = re.search(r'd="M([\d.]+),[\d.]+L([\d.]+),[\d.]+"[^>]*stroke-width="2.2"', svg)
    assert ends is not None
    assert float(ends[1]) == pytest.approx(zero + 2.0 * per_point, abs=0.2)
    assert float(ends[2]) == pytest.approx(zero + 8.25 * per_point, abs=0.2)
    assert "liver, second +5.1 (2.0 to 8.2), better" in svg
    assert "mean of organs, second −1.0 (−4.0 to 2.0)." in svg
    assert svg.count(">worse</text>") == 1


def test_an_interval_without_end_is_drawn_as_an_arrow_and_told_as_infinite(tmp_path):
    endless = {"low": -0.02, "high": float("inf"), "p_holm": float("nan")}
    statistics = found(tmp_path, [difference("second", "liver", (5.0, 0.0, 0.0), **endless)])
    assert statistics.differences[0].interval == "+5.0 (−2.0 to ∞)"
    assert statistics.differences[0].p_holm is None
    svg = forest(statistics)
    cap, head = re.findall(r'd="M([^"]+)"[^>]*stroke-width="1.6"></path>', svg)
    places = [[float(point.split(",")[0]) for point in drawn.split("L")] for drawn in (cap, head)]
    assert places[0][0] == places[0][1]  # straight across the finite end
    assert places[1] == [584.0, 590.0, 584.0]  # its tip outwards, at the edge of the plot
    table = difference_table(statistics)
    assert [cell.number for cell in table.sections[0].rows[0].cells[1:3]] == ["−2.0", "∞"]
    assert "| ∞ |" in to_markdown(table)
    assert r"& $\infty$ &" in to_latex(table)
    assert ",-2.0,inf," in to_csv(table)


def test_headings_of_the_forest_never_lie_over_each_other(tmp_path):
    rows = [difference("second", "liver", (-30.0, -40.0, -20.0), baseline="cross_entropy")]  # zero is the right end
    svg = forest(found(tmp_path, rows))
    heights = {
        said: float(re.findall(rf'y="([\d.]+)"[^>]*>{said}</text>', svg)[0])
        for said in ("better than cross_entropy →", "points, 95 % interval")
    }
    assert heights["better than cross_entropy →"] - heights["points, 95 % interval"] > 12


def test_pairs_are_means_over_a_patients_cases_lowest_difference_first(tmp_path):
    statistics = found(tmp_path)
    liver = pairs(statistics, "second", "liver")
    assert [(p.patient_id, round(p.baseline, 3), round(p.loss, 3)) for p in liver] == [
        ("p2", 0.9, 0.7),
        ("p1", 0.4, 0.6),
    ]
    assert [pair.patient_id for pair in pairs(statistics, "second", "left_kidney")] == [
        "p1"
    ]  # p2 has no baseline value
    mean = {pair.patient_id: pair for pair in pairs(statistics, "second", None)}
    assert mean["p1"].loss == pytest.approx((0.6 + 0.4) / 2)
    assert mean["p2"] == Pair("p2", 0.9, 0.7)  # the kidney is left out under both
    table = paired_table(statistics, "second", "liver")
    assert table is not None
    assert [cell.number for cell in table.sections[0].rows[0].cells] == ["0.900", "0.700", "−20.0"]
    assert paired_table(statistics, "first", "liver") is None


def test_a_case_that_is_undefined_under_one_loss_is_left_out_under_both(tmp_path):
    gap = WrittenRun("second", SECOND.cases | {"p1_b": {"liver": None, "left_kidney": 0.4}})
    write_study(tmp_path, [FIRST, gap])
    write_differences(tmp_path, ROWS)
    statistics = read_statistics(comparisons(read_study(tmp_path))[0])
    assert statistics is not None
    assert pairs(statistics, "second", "liver")[1] == Pair("p1", 0.2, 0.5)  # p1_a alone


def test_a_patient_that_fares_worse_is_dashed_and_named(tmp_path):
    (liver, _) = paired_charts(found(tmp_path))
    assert liver.title == "liver"
    assert "1 of 2 higher" in liver.svg
    dashed = re.findall(r'stroke-dasharray="4 2"[^>]*><title>(p\d)', liver.svg)
    assert dashed == ["p2"]
    assert re.search(r'font-size="10"[^>]*>p2<', liver.svg)
    rising = re.search(r'd="M[\d.]+,([\d.]+)L[\d.]+,([\d.]+)"[^>]*stroke="#0072b2"[^>]*><title>p1', liver.svg)
    assert rising is not None
    assert float(rising[2]) < float(rising[1])  # higher IoU, higher on the page


def test_the_pairs_on_the_page_are_those_of_the_statistics(tmp_path):
    values = np.random.default_rng(5).uniform(0.3, 0.9, (2, 14, 2, 2))  # loss, patient, sequence, organ
    values[0, 3, 1, 0] = values[1, 6, :, 1] = np.nan
    runs = [
        WrittenRun(
            loss,
            {
                f"p{i:02}_{sequence}": {
                    organ: None if np.isnan(v := values[k, i, j, o]) else float(v)
                    for o, organ in enumerate(("liver", "left_kidney"))
                }
                for i in range(14)
                for j, sequence in enumerate("ab")
            },
        )
        for k, loss in enumerate(("first", "second"))
    ]
    write_study(tmp_path, runs)
    write_comparisons(tmp_path)
    statistics = read_statistics(comparisons(read_study(tmp_path))[0])
    assert statistics is not None
    assert [d.organ for d in statistics.differences] == ["liver", "left_kidney", None]
    for d in statistics.differences:
        found = pairs(statistics, "second", d.organ)
        assert len(found) == d.patients
        assert 100 * np.mean([pair.difference for pair in found]) == pytest.approx(d.difference)
    assert [d.patients for d in statistics.differences] == [14, 13, 14]
    assert "true difference of 5 points" in statistics.power
    assert rank_table(statistics) is not None


def test_ranks_are_shares_in_percent(tmp_path):
    statistics = found(tmp_path)
    assert rank_table(statistics) is None
    ranks = [("second", None, 1.0, 0.75, 1.25), ("second", None, 2.0, 0.25, 1.25), ("first", None, 1.5, 0.004, 1.8)]
    ranks += [("first", None, 2.0, 0.996, 1.8), ("first", "liver", 1.0, 1.0, 1.0)]
    write_ranks(tmp_path, ranks)
    again = read_statistics(statistics.comparison)
    assert again is not None
    table = rank_table(again)
    assert table is not None
    assert [header.label for header in table.columns] == ["rank 1", "rank 2", "mean rank"]  # 1.5 rounds to 0 %
    assert [[cell.number for cell in row.cells] for row in table.sections[0].rows] == [
        ["0", "100", "1.80"],
        ["75", "25", "1.25"],
    ]
    assert table.sections[0].rows[1].cells[0].shade == 0.75
    per_organ = organ_rank_table(again)
    assert per_organ is not None
    assert [section.title for section in per_organ.sections] == ["liver"]


def test_another_network_has_no_part_in_the_comparisons(tmp_path):
    write_study(tmp_path, [FIRST, WrittenRun("first", FIRST.cases, network="other")])
    write_differences(tmp_path, ROWS)
    (tmp_path / "power.json").write_text(
        json.dumps(
            {
                "sentence": "A. B.",
                "groups": [{"network": n, "task": "multiclass", "sentence": n} for n in ("other", "net")],
            }
        )
    )
    ours, other = comparisons(read_study(tmp_path))
    assert read_statistics(other) is None
    statistics = read_statistics(ours)
    assert statistics is not None
    assert statistics.power == "net"


def statistics_section(folder: Path) -> str:
    page = write_report(folder).read_text(encoding="utf-8")
    return page.partition('<section id="statistics">')[2].partition("</section>")[0]


def test_a_family_declared_after_results_is_told_as_such(tmp_path):
    write_study(tmp_path, [WrittenRun("first"), WrittenRun("second")])
    late = "The comparisons as they stand were declared on 2026-11-23, when 2 of 2 runs were done."
    (tmp_path / "power.json").write_text(json.dumps({"declaration": late, "groups": []}))
    assert f"<p>{late}</p>" in write_report(tmp_path).read_text()


def test_a_baseline_that_lacks_a_run_is_told_with_the_studys_own_reason(tmp_path):
    lost = WrittenRun("first", fold=3, seed=7, state="failed", reason="out of memory")
    rest = [WrittenRun("first", fold=4, seed=7, state="missing"), WrittenRun("second", fold=3, state="failed")]
    write_study(tmp_path, [FIRST, SECOND, lost, *rest])
    (tmp_path / "power.json").write_text(json.dumps({"reason": "The baseline <first> is not finished.", "groups": []}))
    said = statistics_section(tmp_path)
    assert "<p>The baseline &lt;first&gt; is not finished.</p>" in said
    assert ("<p>Runs that the baseline first lacks: fold 3, seed 7 (failed); fold 4, seed 7 (not started).</p>") in said
    assert "This study holds no comparisons of net. Run the study again" in said


def test_a_finished_baseline_lacks_nothing(tmp_path):
    lost = WrittenRun("second", fold=3, state="failed")
    write_study(tmp_path, [SECOND, FIRST, lost], spec={"compare": {"baseline": "first"}})
    assert "lacks" not in statistics_section(tmp_path)


def test_damaged_statistics_end_in_one_line(tmp_path):
    write_study(tmp_path, [FIRST])
    (tmp_path / "comparisons.parquet").write_bytes(b"PAR1")
    with pytest.raises(BadData, match=r"comparisons\.parquet: cannot be read"):
        read_statistics(comparisons(read_study(tmp_path))[0])

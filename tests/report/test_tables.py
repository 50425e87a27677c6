"""Every number was worked out by hand from the scores that `written_study` puts on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from steelyard.report.comparison import Comparison, comparisons
from steelyard.report.means import ranks
from steelyard.report.metric_tables import further_metric_table, metric_table
from steelyard.report.read import read_study
from steelyard.report.table import Cell, Table
from steelyard.report.tables import global_table, organ_table, patient_table, summary_table
from steelyard.scores import Score
from written_study import WrittenRun, write_study

UNEVEN = WrittenRun(
    "first",
    cases={
        "p1_a": {"liver": 0.2, "left_kidney": 0.5},
        "p1_b": {"liver": 0.6, "left_kidney": None},
        "p2_a": {"liver": 0.9, "left_kidney": 0.0},
    },
    pooled={"liver": 0.75, "left_kidney": 0.25},
)
BETTER = WrittenRun(
    "second",
    cases={
        "p1_a": {"liver": 0.3, "left_kidney": 0.7},
        "p1_b": {"liver": 0.7, "left_kidney": None},
        "p2_a": {"liver": 0.8, "left_kidney": 0.6},
    },
    pooled={"liver": 0.75, "left_kidney": 0.65},
    background=(90, 8, 2 + 12),
)


def only(folder: Path, *runs: WrittenRun) -> Comparison:
    (comparison,) = comparisons(read_study(write_study(folder, list(runs))))
    return comparison


def cells(table: Table, row: str, section: str = "") -> tuple[Cell, ...]:
    return next(r.cells for s in table.sections if s.title == section for r in s.rows if r.header.label == row)


def shown(table: Table, row: str, section: str = "") -> list[str]:
    return [cell.number for cell in cells(table, row, section)]


def best(table: Table, row: str, section: str = "") -> list[bool]:
    return [cell.best for cell in cells(table, row, section)]


def test_pooled_and_patient_means_are_different_numbers_side_by_side(tmp_path):
    table = summary_table(only(tmp_path, UNEVEN, BETTER))
    assert shown(table, "pooled", "liver") == ["0.750", "0.750"]
    # Patient p1 has two volumes and counts once: ((.2 + .6) / 2 + .9) / 2, not (.2 + .6 + .9) / 3.
    assert shown(table, "mean over patients", "liver") == ["0.650", "0.650"]
    assert [(c.number, c.note) for c in cells(table, "lowest patient", "left kidney")] == [
        ("0.000", "p2"),
        ("0.600", "p2"),
    ]


def test_an_undefined_value_is_left_out_of_the_mean_and_counted(tmp_path):
    comparison = only(tmp_path, UNEVEN, BETTER)
    first, second = cells(summary_table(comparison), "mean over patients", "left kidney")
    assert (first.number, first.undefined) == ("0.250", 1)  # (.5 + 0) / 2: a lost kidney is 0, an absent one is nothing
    assert (second.number, second.undefined) == ("0.650", 1)
    assert "2 of 12 values are undefined" in patient_table(comparison).caption


def test_a_patient_without_any_value_gets_a_dash(tmp_path):
    run = WrittenRun("first", cases={"p1_a": {"liver": 0.5, "left_kidney": None}}, pooled={"liver": 0.5})
    table = patient_table(only(tmp_path, run))
    assert shown(table, "p1", "left kidney") == ["–"]
    assert cells(table, "p1", "left kidney")[0].remark == "1 undefined"


def test_organ_table_has_background_both_averages_and_shared_ranks(tmp_path):
    table = organ_table(only(tmp_path, UNEVEN, BETTER))
    # Background counts are the same in all three cases: 90 / (90 + 6 + 4) = .9 and 90 / (90 + 8 + 14) = .804.
    assert shown(table, "background") == ["0.900", "0.804"]
    assert shown(table, "average with background") == ["0.633", "0.735"]  # (.9 + .75 + .25) / 3
    assert shown(table, "average of organs") == ["0.500", "0.700"]
    assert shown(table, "rank by average of organs") == ["2.0", "1.0"]
    assert shown(table, "mean of the ranks per organ") == ["1.75", "1.25"]  # liver tied at 1.5 each
    assert best(table, "liver") == [True, True]
    assert best(table, "left kidney") == [False, True]


def test_an_average_over_organs_is_undefined_when_one_of_them_is(tmp_path):
    run = WrittenRun("first", cases={"p1_a": {"liver": 0.5}}, pooled={"liver": 0.5, "left_kidney": None})
    assert shown(organ_table(only(tmp_path, run)), "average of organs") == ["–"]


def test_three_way_ties_share_the_mean_of_their_places():
    assert ranks({"a": 0.5, "b": 0.7, "c": 0.5, "d": 0.5, "e": None}) == {"a": 3, "b": 1, "c": 3, "d": 3}


def test_pooled_values_are_averaged_over_folds(tmp_path):
    folds = [
        WrittenRun(
            "first", cases={f"p{fold}_a": {"liver": 0.1}}, pooled={"liver": value, "left_kidney": 0.5}, fold=fold
        )
        for fold, value in ((0, 0.2), (1, 0.9))
    ]
    table = organ_table(only(tmp_path, *folds))
    assert shown(table, "liver") == ["0.550"]
    assert "2 cases of 2 patients, 2 finished runs, then the mean over folds and seeds" in table.caption


@pytest.mark.parametrize("state", ["failed", "unfinished", "missing"])
def test_a_run_without_done_is_marked_and_never_enters_a_number(tmp_path, state):
    lost = WrittenRun("second", BETTER.cases, BETTER.pooled, state=state, reason="the loss became NaN")
    table = organ_table(only(tmp_path, UNEVEN, lost))
    assert [header.remark for header in table.columns] == ["", "no run finished"]
    assert shown(table, "liver") == ["0.750", "–"]
    assert best(table, "liver") == [False, False]  # nothing to be better than
    assert any(note.startswith("†") for note in table.notes)


def test_a_loss_with_fewer_finished_folds_is_shown_but_not_ranked(tmp_path):
    runs = [
        WrittenRun("first", {"p1_a": {"liver": 0.4}}, {"liver": 0.4, "left_kidney": 0.4}, fold=0),
        WrittenRun("first", {"p2_a": {"liver": 0.6}}, {"liver": 0.6, "left_kidney": 0.6}, fold=1),
        WrittenRun("second", {"p1_a": {"liver": 0.9}}, {"liver": 0.9, "left_kidney": 0.9}, fold=0),
        WrittenRun("second", {"p2_a": {"liver": 0.1}}, {"liver": 0.1, "left_kidney": 0.1}, fold=1, state="unfinished"),
        WrittenRun("third", {"p1_a": {"liver": 0.3}}, {"liver": 0.3, "left_kidney": 0.3}, fold=0),
        WrittenRun("third", {"p2_a": {"liver": 0.5}}, {"liver": 0.5, "left_kidney": 0.5}, fold=1),
    ]
    table = organ_table(only(tmp_path, *runs))
    assert [header.remark for header in table.columns] == ["", "1 of 2 runs finished", ""]
    assert shown(table, "liver") == ["0.500", "0.900", "0.400"]
    assert best(table, "liver") == [True, False, False]
    assert shown(table, "rank by average of organs") == ["1.0", "–", "2.0"]


def test_global_table_lists_the_losses_under_their_network(tmp_path):
    def run(loss: str, network: str, accuracy: float, mean_iou: float) -> WrittenRun:
        values = {"accuracy": accuracy, "mean_iou": mean_iou}
        others = [Score(metric, value, "1", "matlab", "ok") for metric, value in values.items()]
        others.append(Score("accuracy", 0.111, "1", "matlab", "ok", organ="liver"))  # an organ's accuracy is another
        return WrittenRun(loss, {"p1_a": {"liver": 0.5}}, others=others, network=network)

    runs = [run("a", "x", 0.99, 0.6), run("b", "x", 0.98, 0.7), run("a", "y", 0.97, 0.8), run("b", "y", 0.96, 0.9)]
    table = global_table(read_study(write_study(tmp_path, runs)))
    assert [section.title for section in table.sections] == ["x", "y"]
    titles = [header.label for header in table.columns]
    row = cells(table, "b", "x")
    assert row[titles.index("accuracy")].number == "0.980"
    assert row[titles.index("mean IoU")].number == "0.700"
    assert row[titles.index("mean IoU")].best  # best on network x, although y has .9
    assert row[titles.index("mean BF score")].number == "–"


def metric_score(metric: str, value: float | None, case: str, *, convention: str = "chaos", organ="liver") -> Score:
    status = "undefined" if value is None else "ok"
    return Score(metric, value, "mm", convention, status, organ, case, case.split("_")[0], "t1_in")


def with_metrics(loss: str, *scores: Score) -> WrittenRun:
    return WrittenRun(loss, {"p1_a": {"liver": 0.5}, "p2_a": {"liver": 0.0}}, others=list(scores))


def test_small_distances_are_better_and_signed_errors_are_never_marked(tmp_path):
    first = with_metrics(
        "first",
        metric_score("hd95_mm", 4.0, "p1_a"),
        metric_score("hd95_mm", 7.0, "p2_a"),
        metric_score("volume_error_ml", -30.0, "p1_a", convention="counts"),
    )
    second = with_metrics(
        "second",
        metric_score("hd95_mm", 9.0, "p1_a"),
        metric_score("hd95_mm", 3.0, "p2_a"),
        metric_score("volume_error_ml", 2.0, "p1_a", convention="counts"),
    )
    table = metric_table(only(tmp_path, first, second))
    assert shown(table, "liver", "HD95 (mm), chaos") == ["5.5", "6.0"]
    assert best(table, "liver", "HD95 (mm), chaos") == [True, False]
    assert shown(table, "liver", "volume error (ml), counts") == ["−30.0", "2.0"]
    assert best(table, "liver", "volume error (ml), counts") == [False, False]


def test_losing_an_organ_wins_no_precision_prize(tmp_path):
    first = with_metrics(
        "first",
        metric_score("precision", 0.95, "p1_a", convention="counts"),
        metric_score("precision", None, "p2_a", convention="counts"),
    )
    second = with_metrics(
        "second",
        metric_score("precision", 0.9, "p1_a", convention="counts"),
        metric_score("precision", 0.7, "p2_a", convention="counts"),
    )
    table = metric_table(only(tmp_path, first, second))
    found = cells(table, "liver", "precision, counts")
    assert [(cell.number, cell.undefined, cell.best) for cell in found] == [
        ("0.950", 1, False),
        ("0.800", 0, False),
    ]


def test_missed_organs_are_counted_in_cases(tmp_path):
    table = metric_table(only(tmp_path, with_metrics("first")))
    assert shown(table, "liver", "predictions that miss the organ") == ["1"]
    assert shown(table, "liver", "predictions that invent the organ") == ["0"]


def test_a_metric_that_the_report_does_not_know_is_still_listed(tmp_path):
    table = further_metric_table(only(tmp_path, with_metrics("first", metric_score("my_metric", 0.25, "p1_a"))))
    assert shown(table, "liver", "my metric, chaos") == ["0.250"]

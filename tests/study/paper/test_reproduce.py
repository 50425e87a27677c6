"""Ours in the shape of the paper's tables, with averages, ranks, intervals and differences worked out by hand."""

from __future__ import annotations

import polars as pl
import pytest

from paper_scores import FOUR, extremes, ours, run
from steelyard.study.paper.printed import LOSSES, ORGANS, Printed, PrintedTable, printed_tables
from steelyard.study.paper.reproduce import permuted, ranks, reproduce_table

POOLED = {"liver": 0.9, "right_kidney": 0.8, "left_kidney": 0.6, "spleen": 0.7}  # mean .75


def at(cells: pl.DataFrame, row: str, column: str) -> dict[str, object]:
    return cells.filter(pl.col("row") == row, pl.col("column") == column).row(0, named=True)


def with_background(background: float, organs: dict[str, float]) -> dict[str | None, float]:
    return {"background": background, **organs}


def test_the_average_holds_the_background_and_the_organ_average_does_not():
    cells = reproduce_table(printed_tables()["table3"], ours(run("dice", with_background(1.0, POOLED))), extremes)
    assert at(cells, "average", "dice")["ours"] == pytest.approx(0.8)  # (1 + 3) / 5
    assert at(cells, "average_of_organs", "dice")["ours"] == pytest.approx(0.75)
    assert at(cells, "average_of_organs", "dice")["difference"] == pytest.approx(0.75 - 0.81)


def test_one_network_per_organ_has_an_organ_average_and_none_with_background():
    runs = [run("iou11", {organ: value}, task="uniclass") for organ, value in POOLED.items()]
    cells = reproduce_table(printed_tables()["table4"], ours(*runs), extremes)
    assert at(cells, "average_of_organs", "uniclass/iou11")["ours"] == pytest.approx(0.75)
    assert at(cells, "average_of_organs", "uniclass/iou11")["difference"] == pytest.approx(0.08)
    assert at(cells, "average", "uniclass/iou11")["ours"] is None
    assert at(cells, "spleen", "uniclass/iou11")["ours"] == 0.7
    assert at(cells, "average_of_organs", "multiclass/iou11")["ours"] is None


def test_an_organ_that_was_not_run_leaves_the_average_undefined():
    runs = [run("iou11", {organ: POOLED[organ]}, task="uniclass") for organ in FOUR[:3]]
    cells = reproduce_table(printed_tables()["table4"], ours(*runs), extremes)
    assert at(cells, "average_of_organs", "uniclass/iou11")["ours"] is None


def test_pooled_values_are_averaged_over_folds_and_patients_over_their_cases():
    folds = [
        run("dice", {"liver": 0.5}, {"p1_in": {"liver": 0.2}, "p1_out": {"liver": 0.6}}, fold=0),
        run("dice", {"liver": 0.9}, {"p2_in": {"liver": 0.7}}, fold=1),
    ]
    cell = at(reproduce_table(printed_tables()["table3"], ours(*folds), extremes), "liver", "dice")
    assert cell["ours"] == pytest.approx(0.7)
    assert cell["patient_mean"] == pytest.approx(0.55)  # of .4 and .7; over the three cases it would be .5
    assert (cell["low"], cell["high"], cell["patients"]) == (pytest.approx(0.4), 0.7, 2)


def test_a_patient_enters_the_organ_average_only_with_all_organs():
    cases = {"p1_in": dict(POOLED), "p2_in": {"liver": 0.1}}
    cell = at(
        reproduce_table(printed_tables()["table3"], ours(run("dice", POOLED, cases)), extremes),
        "average_of_organs",
        "dice",
    )
    assert (cell["patient_mean"], cell["patients"]) == (pytest.approx(0.75), 1)
    assert cell["low"] is None


def test_the_average_by_patient_is_the_mean_over_the_cases_classes():
    frame = run("dice", with_background(1.0, POOLED), {"p1_in": {None: 0.3}, "p2_in": {None: 0.5}})
    cell = at(reproduce_table(printed_tables()["table3"], ours(frame), extremes), "average", "dice")
    assert (cell["patient_mean"], cell["low"], cell["high"]) == (pytest.approx(0.4), 0.3, 0.5)


def test_equal_averages_share_their_places_and_a_loss_outside_the_paper_takes_none():
    values = {"crossE": 0.5, "iou11": 0.7, "iou0515": 0.7, "cross_entropy": 0.9}
    runs = [run(loss, with_background(v, dict.fromkeys(FOUR, v))) for loss, v in values.items()]
    cells = reproduce_table(printed_tables()["table3"], ours(*runs), extremes)
    places = {loss: at(cells, "rank", loss)["ours"] for loss in values}
    assert places == {"crossE": 3.0, "iou11": 1.5, "iou0515": 1.5, "cross_entropy": None}


def test_a_rank_among_fewer_losses_is_not_set_against_one_among_six():
    values = dict(zip(LOSSES, (0.8, 0.3, 0.4, 0.5, 0.6, 0.7), strict=True))
    runs = {loss: run(loss, with_background(v, dict.fromkeys(FOUR, v))) for loss, v in values.items()}
    cells = reproduce_table(printed_tables()["table3"], ours(*runs.values()), extremes)
    assert at(cells, "rank_by_organs", "crossE")["difference"] == pytest.approx(1 - 2.5)
    del runs["iou11"]
    cells = reproduce_table(printed_tables()["table3"], ours(*runs.values()), extremes)
    assert at(cells, "rank_by_organs", "crossE")["ours"] == 1  # among five
    assert cells.filter(pl.col("row") == "rank_by_organs")["difference"].null_count() == len(LOSSES)
    assert at(cells, "average_of_organs", "crossE")["difference"] == pytest.approx(0.8 - 0.815)


def test_the_background_can_turn_the_ranks_round():
    runs = [
        run("crossE", with_background(0.1, dict.fromkeys(FOUR, 0.6))),  # .5 with background
        run("iou11", with_background(0.9, dict.fromkeys(FOUR, 0.5))),  # .58
    ]
    cells = reproduce_table(printed_tables()["table3"], ours(*runs), extremes)
    assert at(cells, "rank", "iou11")["ours"] == 1
    assert at(cells, "rank_by_organs", "iou11")["ours"] == 2


def test_the_printed_organ_means_rank_in_pairs():
    cells = reproduce_table(printed_tables()["table3"], None, extremes)
    places = {loss: at(cells, "rank_by_organs", loss)["printed"] for loss in LOSSES}
    assert places == {"crossE": 2.5, "iou11": 4.5, "iou1505": 6, "iou0515": 1, "dice": 4.5, "diceBK": 2.5}
    assert at(cells, "rank", "dice")["printed"] is None
    assert at(cells, "rank", "dice")["printed_word"] == "not at hand"


def test_a_loss_with_a_fold_missing_is_shown_and_not_ranked():
    full = [run("dice", with_background(0.9, POOLED), fold=fold) for fold in (0, 1)]
    part = run("iou11", with_background(0.99, dict.fromkeys(FOUR, 0.99)), fold=0)
    cells = reproduce_table(printed_tables()["table3"], ours(*full, part), extremes)
    assert at(cells, "liver", "iou11")["ours"] == 0.99
    assert not at(cells, "liver", "iou11")["complete"]
    assert at(cells, "rank", "iou11")["ours"] is None
    assert at(cells, "rank", "dice")["ours"] == 1


def test_without_a_study_the_printed_side_stands_alone():
    cells = reproduce_table(printed_tables()["table3"], None, extremes)
    assert cells["ours"].null_count() == cells["difference"].null_count() == len(cells)
    assert at(cells, "average_of_organs", "iou0515")["printed"] == 0.87
    assert cells["column"].unique(maintain_order=True).to_list() == list(LOSSES)


def test_networks_are_known_by_name_whatever_their_options():
    runs = [
        run("crossE", {"liver": 0.4}, network="fcn8s_vgg16(fc_channels=512)"),
        run("dice", {"liver": 0.9}, network="fcn8s_vgg16(fc_channels=512)"),
        run("crossE", {"liver": 0.6}, network="unet_vgg16"),
    ]
    cells = reproduce_table(printed_tables()["table1"], ours(*runs), extremes)
    assert at(cells, "liver", "fcn8s_vgg16")["ours"] == 0.4
    assert at(cells, "liver", "unet_vgg16")["ours"] == 0.6
    assert at(cells, "liver", "deeplabv3plus_resnet18")["ours"] is None


def test_a_planned_loss_without_a_finished_run_has_a_column():
    study = ours(run("dice", POOLED), also_planned=(("net", "multiclass", "cross_entropy"),))
    cells = reproduce_table(printed_tables()["table3"], study, extremes)
    assert at(cells, "liver", "cross_entropy")["ours"] is None
    assert not at(cells, "liver", "cross_entropy")["complete"]


def test_the_permuted_reading_moves_three_organs_and_nothing_else():
    values = {"background": 0.99, "liver": 0.9, "spleen": 0.7, "right_kidney": 0.8, "left_kidney": 0.6, "average": 0.8}
    table = PrintedTable(
        "table3", "T", "s", "", ("dice",), tuple(values), {(r, "dice"): Printed(v, "", "s") for r, v in values.items()}
    )
    other = permuted(table)
    moved = {row: other.cell(row, "dice").value for row in values}
    # the paper's second column, "spleen", is grey 126: the right kidney; its third is 189, its fourth 252
    assert moved == values | {"right_kidney": 0.7, "left_kidney": 0.8, "spleen": 0.6}
    cells = reproduce_table(other, ours(run("dice", POOLED)), extremes)
    assert at(cells, "spleen", "dice")["difference"] == pytest.approx(0.7 - 0.6)
    assert set(ORGANS) == set(FOUR)


def test_ranks_know_ties_that_differ_in_the_last_bit_only():
    assert ranks({"a": 0.1 + 0.2, "b": 0.3, "c": 0.1, "d": None}) == {"a": 1.5, "b": 1.5, "c": 3.0}

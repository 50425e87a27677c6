"""Networks that find one organ each: what their tables leave out, what stands beside them, and how they are drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from steelyard.report.case_pages import case_sections
from steelyard.report.comparison import comparisons
from steelyard.report.label_maps import predicted_labels, reference_labels
from steelyard.report.overlays import draw, pick_cases, shown_condition
from steelyard.report.read import Study, read_study
from steelyard.report.table import Table
from steelyard.report.tables import global_table, organ_table
from steelyard.report.tasks_table import tasks_tables
from steelyard.report.write import write_report
from written_study import LABELS, WrittenRun, block, write_images, write_prediction, write_study


def together(loss: str, liver: float, kidney: float) -> WrittenRun:
    values = {"liver": liver, "left_kidney": kidney}
    return WrittenRun(loss, {"p1_a": values}, values)


def alone(loss: str, organ: str, value: float, **others) -> WrittenRun:
    return WrittenRun(loss, {"p1_a": {organ: value}}, {organ: value}, organ=organ, **others)


def study(folder: Path) -> Study:
    runs = [
        together("first", 0.8, 0.5),
        together("second", 0.6, 0.3),
        alone("second", "liver", 0.5),
        alone("second", "left_kidney", 0.45),
        alone("third", "liver", 0.1),
        alone("third", "left_kidney", 0.2, state="failed", reason="diverged"),
    ]
    return read_study(write_study(folder, runs))


def shown(table: Table) -> dict[str, list[str]]:
    return {row.header.label: [cell.number for cell in row.cells] for part in table.sections for row in part.rows}


def test_both_ways_stand_side_by_side_with_their_difference_in_points(tmp_path):
    (table,) = tasks_tables(study(tmp_path))
    assert [header.label for header in table.columns] == [
        "second, multiclass", "second, uniclass", "second, difference (points)",
    ]  # fmt: skip
    rows = shown(table)
    assert rows["liver"] == ["0.600", "0.500", "−10.0"]
    assert rows["left kidney"] == ["0.300", "0.450", "15.0"]
    assert rows["average of organs"] == ["0.450", "0.475", "2.5"]
    assert rows["background"] == ["0.900", "–", "–"]
    assert rows["average with background"] == ["0.600", "–", "–"]  # (.9 + .6 + .3) / 3


def test_networks_of_one_organ_have_no_background_and_no_global_row(tmp_path):
    found = study(tmp_path)
    multiclass, uniclass = comparisons(found)
    assert "background" in shown(organ_table(multiclass))
    assert list(shown(organ_table(uniclass))) == [
        "liver", "left kidney", "average of organs", "rank by average of organs", "mean of the ranks per organ",
    ]  # fmt: skip
    whole = global_table(found)
    assert whole is not None
    assert [section.title for section in whole.sections] == ["net, multiclass"]
    assert "2 finished runs" in whole.caption


def test_a_study_of_one_organ_networks_alone_has_a_page_without_global_table(tmp_path):
    folder = write_study(tmp_path, [alone("second", "liver", 0.5), alone("second", "left_kidney", 0.45)])
    page = write_report(folder).read_text(encoding="utf-8")
    assert global_table(read_study(folder)) is None
    assert "mean accuracy" not in page
    assert "One network for all organs" not in page


def test_one_lost_organ_marks_the_loss(tmp_path):
    conditions = {(c.task, c.loss): c for c in study(tmp_path).conditions}
    assert conditions["uniclass", "third"].shortfall == "1 of 2 runs finished"
    assert conditions["uniclass", "second"].shortfall == ""
    assert conditions["uniclass", "second"].done == {(0, 1, "liver"), (0, 1, "left_kidney")}


def test_the_cases_of_one_organ_networks_are_joined_in_one_row(tmp_path):
    uniclass = comparisons(study(tmp_path))[1]
    whole, liver, kidney = case_sections(uniclass, uniclass.conditions[0])
    assert [[cell.number for cell in row.cells] for row in whole.rows] == [["0.475", "0.500", "0.450"]]
    assert [row.run.organ for row in liver.rows] == ["liver"]
    assert [row.header.label for row in kidney.runs.sections[0].rows] == ["net-second-f0-s1-left_kidney-0a1b2c3d"]


def test_the_ones_of_a_kidney_network_are_drawn_as_kidney(tmp_path):
    run = alone("second", "left_kidney", 0.45)
    write_study(tmp_path, [run, alone("second", "liver", 0.5)])
    reference = block(slice(0, 1), slice(0, 2)) + block(slice(2, 3), slice(3, 5), index=2)
    write_images(tmp_path, "p1_a", reference)
    write_prediction(tmp_path, run, "p1_a", block(slice(2, 3), slice(4, 6), index=1))
    found = read_study(tmp_path)
    kidney = next(r for r in found.done if r.organ == "left_kidney")
    assert np.unique(predicted_labels(found, kidney, "p1_a")).tolist() == [0, 2]
    assert np.unique(reference_labels(found, "p1_a", "left_kidney")).tolist() == [0, 2]
    assert np.unique(reference_labels(found, "p1_a")).tolist() == [0, 1, 2]
    (pick,) = pick_cases(found, found.conditions[0], LABELS.organ("left_kidney"))
    assert pick.run == kidney
    figure = draw(found, pick)
    assert figure.missing == ""
    assert figure.where == "slice 2 of 3, the one with the largest reference area"
    assert "#009e73" in figure.panels[2].svg  # the kidney's colour round the kidney
    assert "#d55e00" not in figure.panels[2].svg  # and no liver, which the network was not asked for


@pytest.mark.parametrize("better", [0.1, 0.99])
def test_pictures_show_the_network_of_all_organs_where_there_is_one(tmp_path, better):
    runs = [together("first", 0.5, 0.5), alone("second", "liver", better), alone("second", "left_kidney", better)]
    condition = shown_condition(read_study(write_study(tmp_path, runs)))
    assert condition is not None
    assert condition.task == "multiclass"

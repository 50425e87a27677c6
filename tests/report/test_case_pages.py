"""Click a number, see its cases: which they are, in which order, and what the number was made of."""

from __future__ import annotations

from pathlib import Path

import pytest

from steelyard.report.case_pages import CaseSection, case_sections
from steelyard.report.comparison import comparisons
from steelyard.report.links import cases_link, cases_page
from steelyard.report.missed_spilled import missed_and_spilled
from steelyard.report.missed_table import missed_table
from steelyard.report.read import read_study
from steelyard.report.tables import organ_table, patient_table, summary_table
from steelyard.scores import Score
from written_study import WrittenRun, block, difference, write_differences, write_prediction, write_study


def error(value: float, case: str, organ: str = "liver") -> Score:
    return Score("volume_error_ml", value, "ml", "counts", "ok", organ, case, case.split("_")[0], "t1_in")


CASES = {
    "p1_a": {"liver": 0.6, "left_kidney": 0.8},
    "p1_b": {"liver": 0.2, "left_kidney": None},
    "p2_a": {"liver": None, "left_kidney": 0.4},
}
COUNTS = {
    "p1_a": {"liver": (70, 30, 10, 9), "left_kidney": (40, 5, 5, 9)},
    "p1_b": {"liver": (20, 4, 76, 9), "left_kidney": (0, 0, 0, 9)},
    "p2_a": {"liver": (0, 0, 0, 9), "left_kidney": (8, 6, 6, 9)},
}
# 20 voxels too many are 3 ml, so a voxel of p1_a has .15 ml; 72 too few are 18 ml, so one of p1_b has .25 ml.
ERRORS = [
    error(3.0, "p1_a"),
    error(0.0, "p1_a", "left_kidney"),
    error(-18.0, "p1_b"),
    error(0.0, "p2_a", "left_kidney"),
]
RUN = WrittenRun("first", CASES, {"liver": 0.5, "left_kidney": 0.75}, others=ERRORS, counts=COUNTS)


def sections(folder: Path, *runs: WrittenRun) -> dict[str, CaseSection]:
    if not (folder / "study.json").exists():
        write_study(folder, list(runs))
    comparison = comparisons(read_study(folder))[0]
    return {section.anchor: section for section in case_sections(comparison, comparison.conditions[0])}


def test_the_worst_case_comes_first_and_one_without_value_last(tmp_path):
    liver = sections(tmp_path, RUN)["liver"]
    assert [(row.case_id, row.patient_id, row.cells[0].number, row.status) for row in liver.rows] == [
        ("p1_b", "p1", "0.200", "ok"),
        ("p1_a", "p1", "0.600", "ok"),
        ("p2_a", "p2", "–", "undefined"),
    ]


def test_missed_and_spilled_voxels_become_millilitres_of_their_own_case(tmp_path):
    liver = sections(tmp_path, RUN)["liver"]
    assert liver.columns[:3] == ("IoU", "missed (ml)", "spilled (ml)")
    assert [[cell.number for cell in row.cells[1:3]] for row in liver.rows] == [
        ["19.0", "1.0"],  # 76 and 4 voxels of .25 ml
        ["1.5", "4.5"],  # 10 and 30 voxels of .15 ml
        ["–", "–"],  # no volume error of this case says how large its voxels are
    ]


def test_one_organs_volume_error_tells_the_voxel_of_the_whole_case(tmp_path):
    write_study(tmp_path, [RUN])
    kidneys = missed_and_spilled(read_study(tmp_path)).filter(organ="left_kidney", case_id="p1_a")
    assert kidneys["missed_ml"].item() == pytest.approx(5 * 0.15)  # as many missed as spilled: its own error is 0


def test_millilitres_count_each_patient_once(tmp_path):
    write_study(tmp_path, [RUN])
    table = missed_table(comparisons(read_study(tmp_path))[0])
    rows = {row.header.label: row.cells[0].number for row in table.sections[0].rows}
    assert rows["missed (ml)"] == "10.2"  # (1.5 + 19) / 2 for p1; p2 has no value
    assert rows["spilled (ml)"] == "2.8"


def test_the_runs_that_make_a_pooled_number_are_listed_with_it(tmp_path):
    other = WrittenRun("first", {"p3_a": {"liver": 0.3}}, {"liver": 0.9}, fold=1, seed=4)
    found = sections(tmp_path, RUN, other)
    rows = found["liver"].runs.sections[0].rows
    assert [[cell.number for cell in row.cells[:3]] for row in rows] == [["0", "1", "0.500"], ["1", "4", "0.900"]]
    all_organs = found["all-organs"]
    assert [header.label for header in all_organs.runs.columns[:4]] == [
        "fold", "seed", "IoU of background, pooled", "IoU of liver, pooled",
    ]  # fmt: skip
    assert all_organs.runs.sections[0].rows[0].cells[2].number == "0.900"


def test_all_organs_of_a_case_stand_in_one_row_with_their_mean(tmp_path):
    rows = sections(tmp_path, RUN)["all-organs"].rows
    assert [(row.case_id, [cell.number for cell in row.cells[:3]]) for row in rows] == [
        ("p1_b", ["0.200", "0.200", "–"]),
        ("p2_a", ["0.400", "–", "0.400"]),
        ("p1_a", ["0.700", "0.600", "0.800"]),
    ]


def test_a_prediction_that_was_kept_is_linked_and_one_that_was_not_is_none(tmp_path):
    write_study(tmp_path, [RUN])
    write_prediction(tmp_path, RUN, "p1_a", block(slice(0, 1), slice(0, 1)))
    files = {row.case_id: row.file for row in sections(tmp_path)["liver"].rows}
    assert files["p1_a"] == f"../../{RUN.name}/predictions/p1_a.nii.gz"
    assert files["p1_b"] == ""


def test_each_patient_beside_the_baseline_ends_the_section(tmp_path):
    second = WrittenRun("second", {case: {"liver": 0.9} for case in CASES})
    write_study(tmp_path, [second, RUN])
    write_differences(tmp_path, [difference("second", "liver", (50.0, 40.0, 60.0))])
    paired = sections(tmp_path)["liver"].paired
    assert paired is not None
    assert [[cell.number for cell in row.cells] for row in paired.sections[0].rows] == [["0.400", "0.900", "50.0"]]


def test_a_loss_that_the_statistics_left_out_is_set_beside_no_baseline(tmp_path):
    second = WrittenRun("second", {case: {"liver": 0.9, "left_kidney": 0.3} for case in CASES})
    write_study(tmp_path, [second, RUN])
    write_differences(tmp_path, [difference("second", "liver", (50.0, 40.0, 60.0))])
    found = sections(tmp_path)
    assert [name for name, section in found.items() if section.paired] == ["liver"]  # no row on the kidney or the mean


def test_names_that_look_alike_in_an_address_get_pages_of_their_own(tmp_path):
    runs = [WrittenRun(loss, CASES) for loss in ("a/b", "a:b", "a b")]
    study = read_study(write_study(tmp_path, runs))
    assert [cases_page(study, condition) for condition in study.conditions] == [
        "00-net-a-b.html", "01-net-a-b.html", "02-net-a-b.html",
    ]  # fmt: skip


def test_tables_lead_to_the_loss_and_organ_of_their_cell(tmp_path):
    lost = WrittenRun("lost", state="failed")
    study = read_study(write_study(tmp_path, [lost, RUN]))
    (comparison,) = comparisons(study)
    rows = {row.header.label: row.cells for section in organ_table(comparison).sections for row in section.rows}
    assert [cell.link for cell in rows["left kidney"]] == ["", "cases/01-net-first.html#left_kidney"]
    assert rows["average of organs"][1].link == "cases/01-net-first.html#all-organs"
    for table in (summary_table(comparison), patient_table(comparison)):
        for section, organ in zip(table.sections, ("liver", "left_kidney"), strict=True):
            links = {cell.link for row in section.rows for cell in row.cells if cell.value is not None}
            assert links == {f"cases/01-net-first.html#{organ}"}
    assert cases_link(study, study.conditions[0], "liver") == ""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from steelyard.errors import BadData
from steelyard.report.beside_section import beside_section, different_settings
from steelyard.report.read import Study, read_study
from steelyard.report.write import write_report
from written_study import WrittenRun, write_study

PATIENT = {"folds": {"by": "patient", "count": 5}, "compare": {"baseline": "a"}, "study": {"name": "x"}}
SEQUENCE = {"folds": {"by": "sequence", "count": 5}, "study": {"name": "y"}}


def write(folder: Path, name: str, liver: float, spec: dict[str, Any]) -> Study:
    values = {"liver": liver, "left_kidney": 0.4}
    runs = [WrittenRun("first", {"p1_a": values}, values), WrittenRun("second", {"p1_a": values}, values)]
    return read_study(write_study(folder / name, runs, name=name, spec=spec))


def beside(
    study: Study, *rows: tuple[str | None, str | None, float, float | None, float | None], other="other"
) -> None:
    """Each row: loss, organ, mean difference, low, high."""
    frame = pl.DataFrame(
        list(rows), schema=["loss", "organ", "mean_difference", "low", "high"], orient="row", infer_schema_length=None
    )
    same = {"study": study.name, "other": other, "network": "net", "task": "multiclass"}
    frame.with_columns(**{key: pl.lit(value) for key, value in same.items()}, patients=pl.lit(14)).write_parquet(
        study.folder / "beside.parquet"
    )


ROWS = (
    (None, None, 0.0425, 0.021, 0.0635),
    ("first", None, 0.05, 0.01, 0.09),
    ("first", "liver", 0.0625, 0.0125, 0.1),
    ("second", None, 0.03, -0.01, 0.07),
)


def test_a_sequence_split_beside_a_patient_split_says_how_much_is_leakage(tmp_path):
    here, there = write(tmp_path, "here", 0.5, PATIENT), write(tmp_path, "other", 0.7, SEQUENCE)
    beside(here, *ROWS)
    found = beside_section(here, there)
    assert found.settings == (("folds by", "patient", "sequence"),)
    assert found.sentences == (
        "On net: +4.2 points of the mean organ IoU are leakage "
        "(the mean over 2 losses, 14 patients in pairs, 95 % interval 2.1 to 6.3).",
    )


def test_seen_from_the_leaking_study_the_leak_is_the_same(tmp_path):
    here, there = write(tmp_path, "here", 0.7, SEQUENCE), write(tmp_path, "other", 0.5, PATIENT)
    beside(here, (None, None, -0.0425, -0.0635, -0.021), ("first", None, -0.05, -0.09, -0.01))
    assert beside_section(here, there).sentences == (
        "On net: +4.2 points of the mean organ IoU are leakage (14 patients in pairs, 95 % interval 2.1 to 6.3).",
    )


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (-0.02, 0.06, "95 % interval −2.0 to 6.0). The interval holds 0: it may be none."),
        (None, None, "95 % interval −∞ to ∞). The interval holds 0: it may be none."),
        (-0.06, -0.01, "95 % interval −6.0 to −1.0)."),
    ],
)
def test_a_leak_that_may_be_none_is_not_claimed(tmp_path, low, high, words):
    here, there = write(tmp_path, "here", 0.5, PATIENT), write(tmp_path, "other", 0.7, SEQUENCE)
    beside(here, (None, None, 0.02, low, high), ("first", None, 0.02, low, high))
    assert beside_section(here, there).sentences[0].endswith(words)


def test_other_settings_are_named_and_never_called_leakage(tmp_path):
    strong, none = ({"train": {"augment": name, "epochs": 5}} for name in ("strong", "none"))
    here, there = write(tmp_path, "here", 0.5, strong), write(tmp_path, "other", 0.4, none)
    beside(here, (None, None, -0.031, -0.05, -0.01), ("first", None, -0.031, -0.05, -0.01))
    found = beside_section(here, there)
    assert found.settings == (("train augment", "strong", "none"),)
    assert found.sentences == (
        "On net: there, the mean organ IoU differs by −3.1 points (14 patients in pairs, 95 % interval −5.0 to −1.0).",
    )


def test_two_changes_at_once_are_laid_to_neither(tmp_path):
    here, there = (
        write(tmp_path, "here", 0.5, PATIENT),
        write(tmp_path, "other", 0.7, SEQUENCE | {"train": {"epochs": 9}}),
    )
    beside(here, *ROWS)
    assert "leakage" not in beside_section(here, there).sentences[0]
    page = write_report(here.folder, beside=there.folder).read_text(encoding="utf-8")
    assert "Several settings differ" in page
    assert '<th scope="row">train epochs</th><td>not set</td><td>9</td>' in page


def test_other_losses_and_folds_in_use_are_no_setting_since_shared_conditions_are_paired(tmp_path):
    many = [{"name": "dice"}, {"name": "tversky", "fp_weight": 0.3}]
    one = PATIENT | {"grid": {"loss": many, "network": ["net"], "seed": [1]}}
    two = SEQUENCE | {"grid": {"loss": many[:1], "network": ["net", "other"], "seed": [1]}}
    two["folds"] = two["folds"] | {"use": [0, 1]}
    here, there = write(tmp_path, "here", 0.5, one), write(tmp_path, "other", 0.7, two)
    beside(here, *ROWS)
    found = beside_section(here, there)
    assert found.settings == (("folds by", "patient", "sequence"),)
    assert "+4.2 points of the mean organ IoU are leakage" in found.sentences[0]


def test_other_seeds_are_a_setting(tmp_path):
    one, two = ({"grid": {"loss": ["dice"], "seed": seeds}} for seeds in ([1], [2, 3]))
    assert different_settings(write(tmp_path, "a", 0.5, one), write(tmp_path, "b", 0.5, two)) == (
        ("grid seed", "1", "2, 3"),
    )


SHIPPED = Path(__file__).parents[2] / "studies"


@pytest.mark.parametrize("scale", ["paper", "paper-laptop"])
def test_the_shipped_split_by_sequence_differs_from_table_3_in_the_split_alone(tmp_path, scale):
    specs = [tomllib.loads((SHIPPED / scale / f"{name}.toml").read_text()) for name in ("table3", "sequence-split")]
    here, there = (write(tmp_path, str(i), 0.5, spec) for i, spec in enumerate(specs))
    assert [name for name, _, _ in different_settings(here, there)] == ["folds by"]


def test_pooled_values_of_different_cases_are_not_subtracted(tmp_path):
    values = {"liver": 0.5, "left_kidney": 0.4}
    lost = {"liver": 0.5}  # the kidney of p2_a was not scored there
    folds = [WrittenRun("first", {case: values}, values, fold=i) for i, case in enumerate(("p1_a", "p2_a"))]
    here = read_study(write_study(tmp_path / "here", folds, name="here", spec=PATIENT))
    there = read_study(
        write_study(
            tmp_path / "other",
            [folds[0], WrittenRun("first", {"p2_a": lost}, {"liver": 0.7, "left_kidney": 0.6}, fold=1)],
            name="other",
            spec=SEQUENCE,
        )
    )
    beside(here, *ROWS)
    (table,) = beside_section(here, there).tables
    pooled = {row.header.label: row.cells[2].number for row in table.sections[0].rows}
    assert pooled == {"liver": "10.0", "left kidney": "other cases", "average of organs": "other cases"}
    assert "not subtracted" in table.notes[1]


def test_pooled_values_and_paired_differences_stand_in_one_row(tmp_path):
    here, there = write(tmp_path, "here", 0.5, PATIENT), write(tmp_path, "other", 0.7, SEQUENCE)
    beside(here, *ROWS)
    (table,) = beside_section(here, there).tables
    first, second = ({row.header.label: row.cells for row in section.rows} for section in table.sections)
    numbers = {label: [cell.number for cell in cells] for label, cells in first.items()}
    assert numbers["liver"] == ["0.500", "0.700", "20.0", "6.2", "1.2", "10.0", "14"]
    assert numbers["left kidney"] == ["0.400", "0.400", "0.0", "–", "–", "–", "–"]
    assert numbers["average of organs"] == ["0.450", "0.550", "10.0", "5.0", "1.0", "9.0", "14"]
    assert [cell.number for cell in second["average of organs"]][3:] == ["3.0", "−1.0", "7.0", "14"]
    assert [cell.link for cell in first["liver"][:2]] == ["cases/00-net-first.html#liver", ""]
    write_report(there.folder)
    (table,) = beside_section(here, there).tables
    link = table.sections[0].rows[0].cells[1].link
    assert link == "../../other/report/cases/00-net-first.html#liver"
    assert (here.folder / "report" / link.split("#")[0]).resolve().is_file()


def test_differences_of_another_pair_of_studies_are_refused(tmp_path):
    here, there = write(tmp_path, "here", 0.5, PATIENT), write(tmp_path, "other", 0.7, SEQUENCE)
    with pytest.raises(BadData, match=r"beside\.parquet: cannot be read"):
        beside_section(here, there)
    beside(here, *ROWS, other="a third")
    with pytest.raises(BadData, match="here beside other was wanted"):
        beside_section(here, there)

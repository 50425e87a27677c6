"""A run done in one study is not trained again in another one beside it, and says where it comes from."""

from __future__ import annotations

import io
import json
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from steelyard.runstore import RunFolder
from steelyard.study.plan import make_plan
from steelyard.study.run import run_study
from studies import tiny_spec, write_patients


@pytest.fixture(scope="module")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_patients(tmp_path_factory.mktemp("patients"))


def carry_out(patients: Path, out: Path, name: str, losses: list[str], **tables: dict) -> tuple[Path, str]:
    """The study's folder and what was said."""
    console = Console(file=io.StringIO(), width=200)
    spec = tiny_spec(patients, out, study={"name": name}, grid={"loss": losses}, **tables)
    return run_study(make_plan(spec), console=console), console.file.getvalue()


def run_of(study: Path, loss: str) -> RunFolder:
    runs = json.loads((study / "study.json").read_text())["runs"]
    (found,) = [run["run"] for run in runs if run["loss"] == loss]
    return RunFolder(study / found)


def test_a_shared_run_is_taken_over_whole_and_the_others_are_trained(patients: Path, tmp_path: Path) -> None:
    first, _ = carry_out(patients, tmp_path, "first", ["iou11", "dice"])
    second, said = carry_out(patients, tmp_path, "second", ["dice", "diceBK"])
    third, _ = carry_out(patients, tmp_path, "third", ["dice"])

    made, taken, again = (run_of(study, "dice") for study in (first, second, third))
    assert f"{taken.name}: taken from the study first" in said
    assert taken.weights.stat().st_ino == made.weights.stat().st_ino
    for run in (taken, again):
        assert run.is_done
        assert run.history.read_bytes() == made.history.read_bytes()
        assert [file.name for file in sorted((run.path / "predictions").iterdir())] == [
            file.name for file in sorted((made.path / "predictions").iterdir())
        ]
        assert json.loads(run.manifest.read_text())["taken_from"] == "first"
    scores = [pl.read_parquet(run.scores) for run in (made, taken)]
    assert set(scores[1]["study"]) == {"second"}
    assert scores[0].drop("study").equals(scores[1].drop("study"))
    assert json.loads(taken.manifest.read_text())["study"] == "second"
    assert run_of(second, "diceBK").is_done
    assert "diceBK" not in said.split("taken from")[0]


@pytest.mark.parametrize("key", ["commit", "version"])
def test_a_run_of_other_code_is_not_taken(patients: Path, tmp_path: Path, key: str) -> None:
    first, _ = carry_out(patients, tmp_path, "first", ["iou11"])
    file = run_of(first, "iou11").manifest
    record = json.loads(file.read_text())
    if key == "commit":
        record["manifest"]["commit"] = "0123456789ab"
    else:
        record["manifest"]["versions"]["steelyard"] = "0.0.9"
    file.write_text(json.dumps(record))
    _, said = carry_out(patients, tmp_path, "second", ["iou11"])
    assert "taken from" not in said


@pytest.mark.parametrize("damage", ["", "{", "[]", None], ids=["empty", "cut off", "another thing", "gone"])
def test_a_damaged_record_of_another_study_is_no_error_of_this_one(
    patients: Path, tmp_path: Path, damage: str | None
) -> None:
    first, _ = carry_out(patients, tmp_path, "first", ["iou11"])
    file = run_of(first, "iou11").manifest
    file.unlink()
    if damage is not None:
        file.write_text(damage)
    second, said = carry_out(patients, tmp_path, "second", ["iou11"])
    assert "taken from" not in said
    assert run_of(second, "iou11").is_done


def test_a_run_that_differs_in_one_setting_is_trained_anew(patients: Path, tmp_path: Path) -> None:
    carry_out(patients, tmp_path, "first", ["iou11"])
    _, said = carry_out(patients, tmp_path, "second", ["iou11"], train={"l2": 0.01})
    assert "taken from" not in said


def test_a_family_declared_over_runs_that_are_taken_was_not_declared_before_them(
    patients: Path, tmp_path: Path
) -> None:
    carry_out(patients, tmp_path, "first", ["iou11", "dice"])
    second, _ = carry_out(patients, tmp_path, "second", ["dice", "diceBK"])
    declared = json.loads((second / "study.json").read_text())["declaration"]
    assert (declared["done"], declared["runs"]) == (1, 2)


def test_an_unfinished_run_is_not_taken(patients: Path, tmp_path: Path) -> None:
    first, _ = carry_out(patients, tmp_path, "first", ["iou11"])
    (run_of(first, "iou11").path / "DONE").unlink()
    _, said = carry_out(patients, tmp_path, "second", ["iou11"])
    assert "taken from" not in said

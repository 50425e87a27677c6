"""[crf] in a study: no run is trained again, its own files stay, and what the CRF decided lies beside them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from rich.console import Console

import steelyard.postprocess.crf as crf_module
import steelyard.study.crf as crf_step
from steelyard.cli.studies import report_on
from steelyard.errors import BadSpec, Interrupted, RunsFailed
from steelyard.evaluate import evaluate_case
from steelyard.io.nifti import read_label_map
from steelyard.postprocess.crf import DenseCrf
from steelyard.predict import to_label_map
from steelyard.runstore import RunFolder
from steelyard.study.model import load_model
from steelyard.study.plan import make_plan
from steelyard.study.run import run_study
from steelyard.study.spec import parse_spec
from studies import tiny_spec, tiny_study, write_patients

ONE = {"loss": ["cross_entropy"]}
SETTINGS = {"smoothness_weight": 2.0, "smoothness_mm": 4.0, "appearance_mm": 12.0, "iterations": 3}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_patients(tmp_path_factory.mktemp("patients"))


def carry_out(root: Path, out: Path, **tables: dict[str, Any]) -> tuple[Path, str]:
    """The study's folder and what was said."""
    console = Console(file=io.StringIO(), width=200)
    return run_study(make_plan(tiny_spec(root, out, **tables)), console=console), console.file.getvalue()


def runs_of(study: Path) -> list[RunFolder]:
    return [RunFolder(study / run["run"]) for run in json.loads((study / "study.json").read_text())["runs"]]


def written(folder: Path) -> dict[str, tuple[int, bytes]]:
    """The files of a folder, not of those in it: when each was written, and its content."""
    files = [file for file in folder.iterdir() if file.is_file() and file.name != "lock"]
    return {file.name: (file.stat().st_mtime_ns, file.read_bytes()) for file in files}


@pytest.fixture(scope="module")
def done(root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict, str]:
    """A study done without a CRF and then, [crf] added, again: its folder, the run's files before, what was said."""
    out = tmp_path_factory.mktemp("out")
    study, _ = carry_out(root, out, grid=ONE)
    before = written(runs_of(study)[0].path)
    return study, before, carry_out(root, out, grid=ONE, crf=SETTINGS)[1]


def test_a_finished_run_gets_its_crf_without_being_trained_again(done: tuple[Path, dict, str]) -> None:
    study, before, said = done
    (run,) = runs_of(study)
    assert written(run.path) == before
    assert "epoch" not in said
    assert f"run 1/1: {run.name}: CRF" in said
    assert sorted(file.name for file in run.crf.path.iterdir()) == [
        "DONE", "counts.parquet", "predictions", "run.json", "scores.parquet",
    ]  # fmt: skip


def test_what_the_crf_decided_is_the_networks_probabilities_and_the_image_put_together(
    root: Path, done: tuple[Path, dict, str]
) -> None:
    study, *_ = done
    plan = make_plan(tiny_spec(root, study.parent, grid=ONE, crf=SETTINGS))
    (run,) = runs_of(study)
    model = load_model(run.path, device="cpu")
    assert DenseCrf(**model.crf) == DenseCrf(**SETTINGS)  # which were added after it was trained
    scores = pl.read_parquet(run.crf.scores)
    changed = 0
    for key in plan.runs[0].fold.test:
        case = plan.dataset.read(key)
        plain = model.probabilities(case.image)
        decided = DenseCrf(**SETTINGS).apply(plain, case.image.intensities, case.image.geometry.spacing_mm)
        wanted = to_label_map(decided, case.image.geometry, case.reference.label_set)
        found = read_label_map(run.crf.prediction(key.case_id), case.reference.label_set)
        np.testing.assert_array_equal(found.labels, wanted.labels)
        changed += int((found.labels != plain.argmax(0)).sum())
        evaluated = evaluate_case(case.reference, wanted, case_id=key.case_id, patient_id=key.patient_id)
        for score in evaluated.scores:
            row = scores.filter(
                pl.col("case_id") == key.case_id,
                pl.col("metric") == score.metric,
                pl.col("convention") == score.convention,
                pl.col("organ").eq_missing(pl.lit(score.organ, pl.String)),
            ).row(0, named=True)
            assert (row["value"], row["status"], row["run"]) == (score.value, score.status, run.name)
    about = json.loads(run.crf.manifest.read_text())
    assert changed == sum(case["voxels_changed"] for case in about["cases"]) > 0
    assert {case["voxels_unlike_the_runs_own"] for case in about["cases"]} == {0}
    assert about["backend"] == "pydensecrf2"
    assert "pydensecrf2" in about["manifest"]["versions"]
    assert about["crf"] == SETTINGS | {"appearance_weight": 4.0, "appearance_contrast": 0.05}


def test_the_report_pairs_the_two_decisions(done: tuple[Path, dict, str]) -> None:
    study, *_ = done
    report_on(study)
    about = json.loads((study / "crf.json").read_text())
    assert about["lacking"] == []
    assert about["conditions"][0]["share_changed"] > 0
    page = (study / "report" / "index.html").read_text()
    assert f"{about['conditions'][0]['cases']} cases decided by pydensecrf2" in page
    assert "points of the mean organ IoU with the CRF" in page


def test_a_crf_that_is_there_is_left_alone_and_other_settings_make_it_anew(root: Path, tmp_path: Path) -> None:
    study, said = carry_out(root, tmp_path, grid=ONE, crf=SETTINGS)
    (run,) = runs_of(study)
    first = written(run.crf.path)
    assert "CRF" in said
    _, said = carry_out(root, tmp_path, grid=ONE, crf=SETTINGS)
    assert "run 1/1: " in said
    assert "CRF" not in said
    assert written(run.crf.path) == first
    trained = written(run.path)
    carry_out(root, tmp_path, grid=ONE, crf=SETTINGS | {"smoothness_mm": 9.0})
    assert written(run.path) == trained
    assert json.loads(run.crf.manifest.read_text())["crf"]["smoothness_mm"] == 9.0
    assert written(run.crf.path)["scores.parquet"][1] != first["scores.parquet"][1]


def test_an_interrupted_crf_is_done_by_the_next_command(root: Path, tmp_path: Path, monkeypatch) -> None:
    def stopped(*args: object, **kwargs: object) -> None:
        raise Interrupted("stopped while scoring")

    monkeypatch.setattr(crf_step, "judge", stopped)
    with pytest.raises(Interrupted):
        carry_out(root, tmp_path, grid=ONE, crf=SETTINGS)
    monkeypatch.undo()
    (run,) = runs_of(tmp_path / "tiny")
    assert run.is_done
    assert not run.crf.is_done
    before = written(run.path)
    carry_out(root, tmp_path, grid=ONE, crf=SETTINGS)
    assert run.crf.is_done
    assert written(run.path) == before


def test_a_crf_that_fails_fails_the_study_but_not_the_run_and_is_tried_again(
    root: Path, tmp_path: Path, monkeypatch
) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(DenseCrf, "apply", full)
    with pytest.raises(RunsFailed, match="1 of 1 runs failed"):
        carry_out(root, tmp_path, grid=ONE, crf=SETTINGS)
    (run,) = runs_of(tmp_path / "tiny")
    assert run.failure.read_text() == "CRF: no room\n"
    assert run.is_done
    monkeypatch.undo()
    carry_out(root, tmp_path, grid=ONE, crf=SETTINGS)
    assert run.crf.is_done
    assert not run.failure.exists()


def test_networks_of_one_organ_are_decided_again_and_scored_on_it_alone(
    root: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(crf_module, "find_spec", lambda name: None)
    study, _ = carry_out(root, tmp_path, grid=ONE | {"task": ["uniclass"]}, train={"epochs": 1}, crf=SETTINGS)
    liver = next(run for run in runs_of(study) if "-liver-" in run.name)
    assert set(pl.read_parquet(liver.crf.scores)["organ"]) == {"liver"}
    assert json.loads(liver.crf.manifest.read_text())["backend"] == "mean_field"


def test_a_run_taken_from_another_study_is_decided_again_with_the_settings_of_this_one(
    root: Path, tmp_path: Path
) -> None:
    first, _ = carry_out(root, tmp_path, study={"name": "first"}, grid=ONE, crf=SETTINGS)
    other = SETTINGS | {"smoothness_mm": 9.0}
    second, said = carry_out(root, tmp_path, study={"name": "second"}, grid=ONE, crf=other)
    assert "taken from the study first" in said
    (made,), (taken,) = runs_of(first), runs_of(second)
    for run, study, settings in ((made, "first", SETTINGS), (taken, "second", other)):
        assert json.loads(run.crf.manifest.read_text())["crf"]["smoothness_mm"] == settings["smoothness_mm"]
        assert set(pl.read_parquet(run.crf.scores)["study"]) == {study}
    (plain,) = runs_of(carry_out(root, tmp_path, study={"name": "third"}, grid=ONE)[0])
    assert plain.is_done
    assert not plain.crf.path.exists()


def test_a_run_trained_anew_forgets_what_the_old_network_decided(root: Path, tmp_path: Path) -> None:
    study, _ = carry_out(root, tmp_path, grid=ONE, crf=SETTINGS)
    (run,) = runs_of(study)
    before = written(run.crf.path)["run.json"][0]
    (run.path / "DONE").unlink()
    carry_out(root, tmp_path, grid=ONE, crf=SETTINGS)
    assert run.crf.is_done
    assert written(run.crf.path)["run.json"][0] > before


def test_the_table_is_off_when_it_is_missing_and_has_the_defaults_of_the_crf() -> None:
    study = tiny_study(Path("d"), Path("o"))
    assert parse_spec(study, source="s").crf is None
    assert DenseCrf(**parse_spec(study | {"crf": {}}, source="s").crf.model_dump()) == DenseCrf()


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"smoothness": 3}, "[crf] has no key 'smoothness'. Did you mean 'smoothness_mm'?"),
        ({"iterations": 0}, "[crf] iterations: wanted greater than or equal to 1; came 0."),
        ({"smoothness_weight": 0, "appearance_weight": 0}, "one of smoothness_weight and appearance_weight must be"),
    ],
)
def test_a_wrong_table_is_refused(table: dict[str, Any], said: str) -> None:
    with pytest.raises(BadSpec) as caught:
        parse_spec(tiny_study(Path("d"), Path("o")) | {"crf": table}, source="s.toml")
    assert said in str(caught.value)

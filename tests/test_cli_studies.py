"""The verbs around a study: what is planned, how it stands, two studies beside each other, the paper, the metrics."""

from __future__ import annotations

from pathlib import Path

import pytest

from studies import steelyard, tiny_study, write_patients, write_toml


@pytest.fixture(scope="module")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_patients(tmp_path_factory.mktemp("patients"))


def write(folder: Path, patients: Path, name: str, **tables: dict) -> Path:
    folder.mkdir(exist_ok=True)
    both_phases = {"sequences": ["t1_in", "t1_out"]}
    all_folds = {"count": 2, "seed": 1}
    study = tiny_study(patients, folder / "runs", study={"name": name}, data=both_phases)
    study |= {"folds": all_folds | tables.pop("folds", {})}
    for table, keys in tables.items():
        study[table] = study.get(table, {}) | keys
    return write_toml(folder / f"{name}.toml", study)


def test_a_plan_is_listed_without_a_file_being_written(patients: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "s", patients, "planned", grid={"loss": ["iou11"], "task": ["multiclass", "uniclass"]})
    told = steelyard("run", file, "--dry-run")
    assert told.returncode == 0, told.stderr
    assert "10 runs: 10 to do" in told.stdout  # two folds of one network for all organs, and of one for each of four
    assert "right_kidney" in told.stdout
    assert not (tmp_path / "s" / "runs").exists()


def test_the_status_of_a_study_that_was_never_started_is_one_line(patients: Path, tmp_path: Path) -> None:
    told = steelyard("status", write(tmp_path / "s", patients, "unborn"))
    assert (told.returncode, told.stdout) == (3, "")
    assert "no study has been started in" in told.stderr
    assert len(told.stderr.splitlines()) == 1


@pytest.mark.slow
def test_the_papers_studies_run_in_order_and_share_their_runs(patients: Path, tmp_path: Path) -> None:
    folder = tmp_path / "paper"
    grid = {"loss": ["crossE", "iou0515"]}
    write(folder, patients, "table3", grid=grid)
    write(folder, patients, "table4", grid=grid | {"task": ["multiclass", "uniclass"]})
    split = write(folder, patients, "sequence-split", grid=grid, folds={"by": "sequence"})
    done = steelyard("paper", folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("taken from the study table3") == 4
    page = Path(done.stdout.splitlines()[-1].removeprefix("paper: "))
    assert "Table 4" in page.read_text()

    again = steelyard("paper", folder, "--dry-run")
    assert again.returncode == 0, again.stderr
    assert "4 runs: 4 done" in again.stdout
    assert "20 runs: 20 done" in again.stdout

    status = steelyard("status", split)
    assert "4 runs: 4 done" in status.stdout

    both = steelyard("report", folder / "table3.toml", "--beside", split)
    assert both.returncode == 0, both.stderr
    assert "sequence" in (folder / "runs" / "table3" / "report" / "index.html").read_text()

    audit = steelyard("metric-audit", folder / "table3.toml", "--cases", 1, "--out", tmp_path / "audit")
    assert audit.returncode == 0, audit.stderr
    assert (tmp_path / "audit" / "index.html").is_file()


def test_an_option_of_another_engine_is_refused(patients: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "s", patients, "refused")
    for options, said in (
        (["--address", "auto"], "--address is not for the local engine, which has --workers."),
        (["--engine", "ray", "--workers", 2], "--workers is not for the ray engine, which has --address, --gpu-share."),
        (["--engine", "slurm", "--gpu-share", 0.5], "--gpu-share is not for the slurm engine, which has --slurm."),
    ):
        told = steelyard("run", file, *options, "--dry-run")
        assert told.returncode == 2
        assert told.stderr.startswith(said)
        assert not (tmp_path / "s" / "runs").exists()

"""The status of a study says of every run what its files say, foretells the end, and leaves no trace."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console

from steelyard.errors import BadData
from steelyard.runstore import RunFolder, read_json, write_json
from steelyard.study.heartbeat import beat_file
from steelyard.study.plan import make_plan
from steelyard.study.status import plan_status, render, render_plan, study_status, summary
from studies import tiny_spec, write_patients

EPOCHS = 24
RUNS = ("finished", "slow", "quick", "broken", "left", "new")


@pytest.fixture
def study(tmp_path: Path) -> Iterator[Path]:
    """One run done in 100 s (80 of them training), two under way, one failed, one left by a killed process, one new."""
    described = [
        {"run": name, "network": "unet", "loss": "dice", "fold": 0, "seed": 1, "task": "multiclass", "organ": None}
        for name in RUNS
    ]
    write_json(
        tmp_path / "study.json", {"schema": 1, "name": "s", "spec": {"train": {"epochs": EPOCHS}}, "runs": described}
    )
    finished, slow, quick, broken, left, _ = (RunFolder(tmp_path / name) for name in RUNS)
    write_json(finished.manifest, {"manifest": {"seconds": 100.0, "training_seconds": 80.0}})
    finished.mark_done()
    beat(slow, epoch=6, seconds_per_epoch=3.0)
    beat(quick, epoch=22, seconds_per_epoch=5.0)
    beat(left, epoch=9, seconds_per_epoch=4.0)
    broken.mark_failed("ArithmeticError: the loss became nan")
    with ExitStack() as held:
        for folder in (slow, quick):
            assert held.enter_context(folder.locked())
        for folder in (finished, broken, left):  # locks that were let go of
            with folder.locked():
                pass
        yield tmp_path


def beat(folder: RunFolder, *, epoch: int, seconds_per_epoch: float, host: str = "here", age_s: float = 0.0) -> None:
    updated = datetime.now(UTC) - timedelta(seconds=age_s)
    write_json(
        beat_file(folder),
        {
            "epoch": epoch,
            "epochs": EPOCHS,
            "seconds_per_epoch": seconds_per_epoch,
            "host": host,
            "pid": 1,
            "updated": updated.isoformat(timespec="seconds"),
        },
    )


def said(renderable: object) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(renderable)
    return console.file.getvalue()  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def this_machine_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "here")


def test_every_run_is_in_the_state_that_its_files_tell(study: Path) -> None:
    status = study_status(study)
    states = {run.run: run.state for run in status.runs}
    assert states == {
        "finished": "done",
        "slow": "running",
        "quick": "running",
        "broken": "failed",
        "left": "stopped",
        "new": "to do",
    }
    assert [run.epoch for run in status.runs] == [24, 6, 22, 0, 9, 0]
    assert status.runs[3].reason == "ArithmeticError: the loss became nan"


def test_a_finished_run_tells_that_its_crf_is_still_to_come(study: Path) -> None:
    about = read_json(study / "study.json")
    finished = RunFolder(study / "finished")
    finished.scores.write_bytes(b"")  # it has held-out cases
    assert study_status(study).runs[0].reason is None
    about["spec"]["crf"] = {"iterations": 10}
    write_json(study / "study.json", about)
    assert study_status(study).runs[0].reason == "its CRF is still to come"
    assert "its CRF is still to come" in said(render(study_status(study)))
    for iterations, reason in ((5, "its CRF is still to come"), (10, None)):
        record = {"schema": 1, "crf": {"iterations": iterations}, "backend": "x", "cases": []}
        write_json(finished.crf.manifest, record)
        finished.crf.mark_done()
        assert study_status(study).runs[0].reason == reason
    finished.scores.unlink()
    (finished.crf.path / "DONE").unlink()
    assert study_status(study).runs[0].reason is None  # a final network holds nobody out


def test_the_end_is_foretold_from_the_pace_of_the_runs_and_the_number_of_workers(study: Path) -> None:
    status = study_status(study)
    left = {run.run: run.seconds_left for run in status.runs}
    assert left["slow"] == 18 * 3.0 + 20  # 100 - 80 s are for prediction and scoring
    assert left["quick"] == 2 * 5.0 + 20
    assert left["left"] == 15 * 4.0 + 20
    assert left["new"] == 100
    # Two workers: one is free after 30 s and takes the left one (80 s), the other after 74 s and takes the new one.
    assert status.seconds_left == 74 + 100
    assert summary(status) == "6 runs: 1 done, 2 running, 1 stopped, 1 failed, 1 to do; about 3 min left"


def test_with_nobody_at_work_no_end_is_foretold(tmp_path: Path) -> None:
    run = {"run": "a", "network": "unet", "loss": "dice", "fold": 0, "seed": 1, "task": "uniclass", "organ": "liver"}
    write_json(tmp_path / "study.json", {"schema": 1, "name": "s", "spec": {"train": {"epochs": 2}}, "runs": [run]})
    status = study_status(tmp_path)
    assert status.seconds_left is None
    assert summary(status) == "1 runs: 1 to do; nobody is at work on them"


@pytest.mark.parametrize(
    ("host", "age_s", "state"), [("elsewhere", 10, "running"), ("elsewhere", 300, "stopped"), ("here", 10, "stopped")]
)
def test_a_fresh_sign_of_life_counts_where_a_lock_cannot_be_seen(
    study: Path, host: str, age_s: float, state: str
) -> None:
    beat(RunFolder(study / "left"), epoch=9, seconds_per_epoch=4.0, host=host, age_s=age_s)
    assert study_status(study).runs[4].state == state


def test_a_failed_run_that_is_tried_again_is_running(study: Path) -> None:
    with RunFolder(study / "broken").locked():
        assert study_status(study).runs[3].state == "running"


def test_a_look_leaves_no_trace(study: Path) -> None:
    def files() -> dict[Path, int]:
        return {file: file.stat().st_mtime_ns for file in study.rglob("*")}

    before = files()
    study_status(study)
    assert files() == before
    assert not (study / "new").exists()
    with RunFolder(study / "left").locked() as mine:
        assert mine  # the look has let go of it


def test_the_table_shows_pace_place_and_reason(study: Path) -> None:
    rows = said(render(study_status(study))).splitlines()
    slow = next(row for row in rows if "6/24" in row)
    assert "running" in slow
    assert "74 s left" in slow
    assert "on here" in slow
    assert any("failed" in row and "the loss became nan" in row for row in rows)
    assert not any("organ" in row for row in rows)


def test_a_plan_shows_what_would_be_done_before_anything_is_there(tmp_path: Path) -> None:
    plan = make_plan(tiny_spec(write_patients(tmp_path / "data"), tmp_path / "out", grid={"task": ["uniclass"]}))
    status = plan_status(plan)
    assert {run.state for run in status.runs} == {"to do"}
    assert [run.organ for run in status.runs[:4:2]] == ["liver", "right_kidney"]
    assert not plan.folder.exists()
    table = said(render_plan(plan))
    assert "right_kidney" in table
    assert "8 runs: 8 to do" in table
    plan.run_folder(plan.runs[1]).mark_done()
    write_json(plan.run_folder(plan.runs[1]).manifest, {"manifest": {"seconds": 7.0}})
    assert "1 done, 7 to do" in said(render_plan(plan))


def test_where_no_study_is_one_line_says_so(tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"no study has been started in .*Run it first") as caught:
        study_status(tmp_path)
    assert "\n" not in str(caught.value)


def test_the_status_needs_no_torch() -> None:
    asked = "import sys, steelyard.study.status; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.lower()) is False

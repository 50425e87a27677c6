"""Local workers: whatever is killed, every run is done once, and with the very weights of a study left in peace."""

from __future__ import annotations

import errno
import io
import multiprocessing
import os
import random
import re
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from engine_processes import (
    PATIENCE_S,
    epochs_said,
    folders_of,
    processes_in_the_middle,
    results,
    said_by,
    start,
    wait_until,
    write_study,
)
from steelyard.errors import Interrupted, RunsFailed, disk_full
from steelyard.study.engines import local
from steelyard.study.engines.local import gpus_at, usual_workers
from steelyard.study.plan import make_plan, plan_file
from steelyard.study.run import run_study
from steelyard.study.status import is_held
from studies import tiny_spec, write_patients

STARTED = re.compile(r"run \d+/\d+: (\S+)$")
TWELVE = {
    "network": ["slow_network:SlowNetwork"],
    "loss": ["dice", "iou0515"],
    "seed": [1, 2, 3],
    "folds": [0, 1],
    "epochs": 20,
}


@pytest.fixture(scope="module")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_patients(tmp_path_factory.mktemp("patients"))


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def quiet() -> Console:
    return Console(file=io.StringIO(), width=200)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_kills_of_workers_and_of_the_command_cost_nothing_but_time(
    patients: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = write_study(tmp_path / "a", patients, **TWELVE)
    killed = write_study(tmp_path / "b", patients, **TWELVE)

    random.seed(20)
    kills: Counter[str] = Counter()
    victims: set[int] = set()
    done_at: dict[str, int] = {}

    def kill_one() -> bool:
        found = [
            (folder, pid)
            for folder, pid in processes_in_the_middle(killed, epoch=random.choice([1, 4, 7]))
            if pid not in victims and kills[folder.name] < 2  # the third death would be held against the run
        ]
        for folder, pid in found[:1]:
            os.kill(pid, signal.SIGKILL)
            kills[folder.name] += 1
            victims.add(pid)
        done_at.update({f.name: (f.path / "DONE").stat().st_mtime_ns for f in folders_of(killed) if f.is_done})
        return bool(found)

    def replaced() -> int:
        return sum("was killed by SIGKILL" in line and "another goes on" in line for line in said_by(killed))

    command = start(killed, workers=2)
    for number in (1, 2):
        wait_until(kill_one, command)
        wait_until(lambda number=number: replaced() == number, command)
    wait_until(lambda: list(processes_in_the_middle(killed)), command)
    command.kill()
    assert command.wait() == -signal.SIGKILL
    wait_until(lambda: not any(is_held(folder) for folder in folders_of(killed)))  # its workers end by themselves
    left = sum(not folder.is_done for folder in folders_of(killed))
    assert left > 0

    command = start(killed, workers=2)
    wait_until(kill_one, command)
    assert command.wait(timeout=PATIENCE_S) == 0

    lines = said_by(killed)
    starts = Counter(found[1] for line in lines if (found := STARTED.fullmatch(line)))
    assert len(starts) == 12
    assert starts.total() <= 12 + 3 + 2  # three killed workers, and the two that their command left alone
    assert replaced() == 3
    for epochs in epochs_said(killed).values():
        assert epochs == sorted(epochs)  # every start goes on from what was saved
    for name, at in done_at.items():
        assert (killed.parent / "out" / "tiny" / name / "DONE").stat().st_mtime_ns == at
    monkeypatch.setattr("slow_network.SECONDS_PER_FORWARD", 0.0)  # nobody has to catch it in the middle
    run_study(plan_file(undisturbed), console=quiet(), workers=1)
    assert results(killed) == results(undisturbed)


def test_two_commands_on_one_study_share_its_runs(patients: Path, tmp_path: Path) -> None:
    study = write_study(tmp_path, patients, network=["slow_network:SlowNetwork"], seed=[1, 2, 3, 4], epochs=20)
    commands = [start(study, workers=1) for _ in range(2)]
    assert [command.wait(timeout=PATIENCE_S) for command in commands] == [0, 0]
    starts = Counter(found[1] for line in said_by(study) if (found := STARTED.fullmatch(line)))
    assert sorted(starts) == sorted(folder.name for folder in folders_of(study))
    assert set(starts.values()) == {1}


def test_a_run_that_always_kills_its_process_fails_and_the_others_get_done(
    patients: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    networks = [f"slow_network:{name}" for name in ("DeadlyNetwork", "ExplodingNetwork", "SlowNetwork")]
    plan = make_plan(tiny_spec(patients, tmp_path, grid={"network": networks, "loss": ["dice"]}))
    console = quiet()
    with pytest.raises(RunsFailed, match="2 of 3 runs failed"):
        run_study(plan, console=console, workers=2)
    deadly, exploding, fine = (plan.run_folder(run) for run in plan.runs)
    how = "was killed by SIGKILL (often: no memory left)"
    assert deadly.failure.read_text() == f"its process died 3 times; the last one {how}\n"
    assert exploding.failure.read_text().startswith("ArithmeticError: the loss became nan")
    assert fine.is_done
    assert console.file.getvalue().count(f"{how} at {deadly.name}; another goes on") == 3  # type: ignore[attr-defined]
    tries = [line for line in capfd.readouterr().out.splitlines() if f"{exploding.name}: failed" in line]
    assert len(tries) == 1  # both workers saw it, and three came after them


def test_a_worker_that_is_told_to_stop_is_replaced_and_the_study_goes_on(patients: Path, tmp_path: Path) -> None:
    study = write_study(tmp_path, patients, network=["slow_network:SlowNetwork"], seed=[1, 2], epochs=30)
    command = start(study, workers=2)
    folder, worker = wait_until(lambda: next(processes_in_the_middle(study), None), command)
    os.kill(worker, signal.SIGTERM)
    assert command.wait(timeout=PATIENCE_S) == 0
    assert all(folder.is_done for folder in folders_of(study))
    (line,) = (line for line in said_by(study) if "another goes on" in line)
    assert line.endswith(f"was told to stop at {folder.name}; another goes on")


def full_disk(*_: object, **__: object) -> None:
    try:
        raise OSError(errno.ENOSPC, "No space left on device")
    except OSError as error:
        raise disk_full(error, "labels.nii.gz") from None


def stopped(*_: object, **__: object) -> None:
    raise Interrupted("stopped in epoch 2 of 50")


@pytest.mark.usefixtures("one_thread")
def test_a_worker_tells_of_a_full_disk_and_not_of_a_signal_to_itself(
    patients: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(tiny_spec(patients, tmp_path))
    ours, theirs = multiprocessing.Pipe(duplex=False)
    with ours, theirs:
        monkeypatch.setattr(local, "take_runs", full_disk)
        local._work(plan, {}, 1, os.getppid(), theirs)
        assert "no space left for labels.nii.gz" in str(ours.recv())
        monkeypatch.setattr(local, "take_runs", stopped)
        with pytest.raises(SystemExit) as ended:
            local._work(plan, {}, 1, os.getppid(), theirs)
        assert ended.value.code == local.TOLD_TO_STOP != 0
        assert not ours.poll()


def test_workers_are_as_many_after_a_kill_as_before(
    patients: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(tiny_spec(patients, tmp_path, grid={"seed": [1, 2, 3], "loss": ["dice"]}))
    counts = []
    for threads in (4, 13):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        counts.append(usual_workers(plan))
    assert counts == [2, 3]  # two cores each; no more than runs
    for run in plan.runs[:2]:
        folder = plan.run_folder(run)
        folder.path.mkdir(parents=True)
        folder.mark_done()
    assert usual_workers(plan) == 3


@pytest.mark.parametrize(("device", "workers", "seen"), [("auto", 2, "4"), ("cuda", 2, "4"), ("cuda:1", 1, "2,4")])
def test_a_study_on_any_gpu_has_a_worker_for_each_and_one_on_a_named_gpu_has_one(
    patients: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, workers: int, seen: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,4")
    cpu = make_plan(tiny_spec(patients, tmp_path, grid={"seed": [1, 2, 3]}))
    plan = replace(cpu, spec=tiny_spec(patients, tmp_path, train={"device": device}))
    assert usual_workers(plan) == workers
    with local._own_gpus(plan, 1):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == seen
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "2,4"


def test_a_failed_run_is_tried_again_by_the_next_command_once(patients: Path, tmp_path: Path) -> None:
    plan = make_plan(tiny_spec(patients, tmp_path, grid={"network": ["tiny_network:ExplodingNetwork"]}))
    for _ in range(2):
        console = quiet()
        with pytest.raises(RunsFailed):
            run_study(plan, console=console, workers=1)
        assert console.file.getvalue().count(": failed: ArithmeticError") == len(plan.runs) == 2  # type: ignore[attr-defined]


def test_workers_have_gpus_of_their_own_and_share_when_there_are_too_few() -> None:
    assert [gpus_at(place, 2, ["0", "1", "5"]) for place in range(3)] == [["0", "1"], ["5", "0"], ["1", "5"]]
    assert [gpus_at(place, 1, ["3"]) for place in range(2)] == [["3"], ["3"]]
    assert gpus_at(0, 2, ["4"]) == ["4"]

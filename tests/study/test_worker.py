"""A worker leaves to others what they hold, takes it over when they are gone, and loses no run on the way."""

from __future__ import annotations

import fcntl
import io
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from steelyard.errors import Interrupted
from steelyard.study import unit
from steelyard.study.heartbeat import beat_file
from steelyard.study.parallel import ProcessKilled
from steelyard.study.plan import Plan, make_plan
from steelyard.study.worker import give_up, old_failures, settle, take_runs, unsettled
from steelyard.train import fit
from studies import tiny_spec, write_patients

HOLD = """
import fcntl, sys, time
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_patients(tmp_path_factory.mktemp("patients"))


@pytest.fixture
def plan(patients: Path, tmp_path: Path) -> Plan:
    """Two runs, not begun."""
    return make_plan(tiny_spec(patients, tmp_path, train={"epochs": 1}))


def quiet() -> Console:
    return Console(file=io.StringIO(), width=200)


def never() -> bool:
    return False


def test_a_held_run_is_waited_for_and_taken_over_when_its_holder_is_killed(plan: Plan) -> None:
    first, second = (plan.run_folder(run) for run in plan.runs)
    first.path.mkdir(parents=True)
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(first.path / "lock")], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    taken = []

    def kill_the_holder_once_the_other_run_is_done() -> bool:
        if second.is_done and holder.poll() is None:
            assert taken == [second.name]
            holder.kill()
            holder.wait()
        return False

    console = quiet()
    take_runs(plan, failures={}, console=console, stop=kill_the_holder_once_the_other_run_is_done, at=taken.append)
    holder.stdout.close()
    assert taken == [second.name, first.name]
    assert first.is_done


def test_waiting_for_a_held_run_can_be_stopped(plan: Plan) -> None:
    run = plan.runs[0]
    with plan.run_folder(run).locked(), pytest.raises(Interrupted):
        settle(plan, run, title="run 1/2", failures={}, console=quiet(), stop=lambda: True)


def test_whoever_looks_at_the_lock_makes_nobody_lose_the_run(plan: Plan) -> None:
    run = plan.runs[0]
    folder = plan.run_folder(run)
    with folder.locked():
        pass
    with (folder.path / "lock").open("rb") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        end = threading.Timer(0.5, fcntl.flock, (looking, fcntl.LOCK_UN))
        end.start()
        settle(plan, run, title="run 1/2", failures={}, console=quiet(), stop=never)
        end.join()
    assert folder.is_done
    assert not beat_file(folder).exists()
    assert not folder.checkpoint.exists()


@pytest.mark.parametrize("deaths", [2, 3])
def test_a_run_beside_which_a_process_is_killed_goes_on_and_fails_at_the_third_time(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, deaths: int
) -> None:
    plan = replace(plan, runs=plan.runs[:1])
    folder = plan.run_folder(plan.runs[0])
    tries = 0

    def dying(*train: Any, **options: Any) -> Any:
        nonlocal tries
        tries += 1
        assert not folder.failure.exists()
        if tries <= deaths:
            raise ProcessKilled("process 2: ended with code -9")
        return fit(*train, **options)

    monkeypatch.setattr(unit, "fit", dying)
    console = quiet()
    take_runs(plan, failures={}, console=console, stop=never)
    assert tries == 3
    assert console.file.getvalue().count("run 1/1: " + folder.name + ": process 2: ended") == deaths  # type: ignore[attr-defined]
    assert folder.is_done == (deaths == 2)
    if deaths == 3:
        said = "its processes died 3 times; the last one: process 2: ended with code -9\n"
        assert folder.failure.read_text() == said


def test_old_failures_are_left_to_do_and_new_ones_are_not(plan: Plan) -> None:
    first, second = plan.runs
    assert unsettled(plan, old_failures(plan)) == [first, second]
    give_up(plan, second, "no memory")
    before = old_failures(plan)
    assert set(before) == {second.name}
    assert unsettled(plan, before) == [first, second]
    time.sleep(0.01)  # file systems tell times apart by a few milliseconds
    give_up(plan, second, "no memory again")
    assert unsettled(plan, before) == [first]
    assert unsettled(plan, old_failures(plan)) == [first, second]


def test_a_run_that_somebody_holds_or_that_is_done_is_not_given_up(plan: Plan) -> None:
    held, done = (plan.run_folder(run) for run in plan.runs)
    done.mark_done()
    with held.locked():
        for run in plan.runs:
            give_up(plan, run, "its process died")
    assert not held.failure.exists()
    assert not done.failure.exists()

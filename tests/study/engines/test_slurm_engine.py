"""SLURM jobs: a job that has to make room is requeued and resumes; one that dies is submitted anew, three times."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
import torch
from rich.console import Console

from engine_processes import wait_until
from steelyard.checkpoint import load_state
from steelyard.errors import BadData, BadSpec, Interrupted, RunsFailed
from steelyard.study.engines import on_slurm
from steelyard.study.heartbeat import read_beat
from steelyard.study.plan import Plan, make_plan
from steelyard.study.run import run_study
from studies import tiny_spec, write_patients

pytest.importorskip("submitit", reason="submitit is not installed: steelyard[slurm]")

# Stand-ins for SLURM's commands. They note what they are asked in calls.txt; every job is in the state that state.txt
# says, and sbatch refuses while refuse.txt is there.
COMMANDS = {
    "srun": "",
    "scancel": "",
    "scontrol": "",
    "sbatch": """
if [ -e refuse.txt ]; then echo "sbatch: error: invalid partition specified: gpuu" >&2; exit 1; fi
id=$(( $(cat next.txt) + 1 )); echo $id > next.txt
cp "$OLDPWD/$1" $id.sh 2>/dev/null || cp "$1" $id.sh
echo "Submitted batch job $id"
""",
    "sacct": """
state=$(cat state.txt)
echo "JobID|State|NodeList"
for (( id = $(cat first.txt); id <= $(cat next.txt); id++ )); do
    for job in $id ${id}_0 ${id}_1; do echo "$job|$state|"; done
done
""",
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


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the stand-ins, which are on the path."""
    folder = tmp_path / "slurm-commands"
    folder.mkdir()
    for name, text in COMMANDS.items():
        file = folder / name
        file.write_text(f'#!/bin/bash\ncd {folder}\necho "{name} $*" >> calls.txt\n{text}')
        file.chmod(0o755)
    (folder / "state.txt").write_text("FAILED")
    first = time.monotonic_ns() // 1_000_000  # submitit remembers the jobs of other tests by their ids
    for name in ("first.txt", "next.txt"):
        (folder / name).write_text(str(first))
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr("steelyard.study.engines.on_slurm.SECONDS_BETWEEN_LOOKS", 0.05)
    return folder


def calls(slurm: Path, command: str) -> list[str]:
    """What a stand-in was asked."""
    file = slurm / "calls.txt"
    lines = file.read_text().splitlines() if file.exists() else []
    return [line for line in lines if line.split()[0] == command]


def quiet() -> Console:
    return Console(file=io.StringIO(), width=300)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_a_job_told_to_make_room_is_requeued_and_resumes(
    patients: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))  # jobs find the tests' networks
    networks = ["slow_network:SlowNetwork", "slow_network:ExplodingNetwork"]
    options = {"train": {"epochs": 60}, "grid": {"network": networks, "loss": ["dice"]}}
    plan = make_plan(tiny_spec(patients, tmp_path / "jobs", **options))
    slow, exploding = (plan.run_folder(run) for run in plan.runs)
    seen = []

    def preempt() -> None:
        def is_in_the_middle() -> bool:
            return slow.checkpoint.exists() and load_state(slow.checkpoint).epoch >= 3  # type: ignore[union-attr]

        wait_until(is_in_the_middle)
        beat = read_beat(slow)
        assert beat is not None
        os.kill(beat.pid, signal.SIGUSR2)
        seen.append(beat.pid)

    preemptor = threading.Thread(target=preempt, daemon=True)
    preemptor.start()
    with pytest.raises(RunsFailed, match="1 of 2 runs failed"):
        run_study(plan, console=quiet(), engine="slurm", slurm={"cluster": "local", "timeout_min": "30"})
    preemptor.join()
    assert len(seen) == 1
    assert exploding.failure.read_text().startswith("ArithmeticError: the loss became nan")

    (log,) = (file for file in (plan.folder / "slurm").glob("*_log.out") if "SlowNetwork" in file.read_text())
    assert "Requeued" in log.read_text()
    epochs = [int(epoch) for epoch in re.findall(r"run 1/2 · epoch (\d+)/60", log.read_text())]
    assert epochs.count(1) == 1
    assert epochs == sorted(epochs)

    alone = make_plan(tiny_spec(patients, tmp_path / "alone", **options))
    with pytest.raises(RunsFailed):
        run_study(alone, console=quiet(), workers=1)
    undisturbed = alone.run_folder(alone.runs[0])
    assert slow.weights.read_bytes() == undisturbed.weights.read_bytes()
    assert pl.read_parquet(slow.scores).equals(pl.read_parquet(undisturbed.scores))


@pytest.fixture
def plan(patients: Path, tmp_path: Path) -> Plan:
    """Two runs, not begun."""
    return make_plan(tiny_spec(patients, tmp_path / "out"))


def test_jobs_that_die_are_submitted_three_times_and_then_marked(plan: Plan, slurm: Path) -> None:
    with pytest.raises(RunsFailed, match="2 of 2 runs failed"):
        run_study(plan, console=quiet(), engine="slurm")
    assert len(calls(slurm, "sbatch")) == 1 + 2 * 2  # an array, then two more jobs for each run
    for run in plan.runs:
        reason = plan.run_folder(run).failure.read_text()
        assert re.fullmatch(r"its job died 3 times; the last one ended as FAILED \(see .*_log.out\)\n", reason)


def test_the_batch_script_asks_for_what_a_run_needs_and_what_was_said(plan: Plan, slurm: Path) -> None:
    first = int((slurm / "next.txt").read_text()) + 1
    parameters = {"partition": "gpu", "gpus_per_node": "2", "timeout_min": "90", "setup": "module load cuda"}
    with pytest.raises(RunsFailed):
        run_study(plan, console=quiet(), engine="slurm", slurm=parameters)
    script = (slurm / f"{first}.sh").read_text().splitlines()
    for flag in (
        "--array=0-1%2",
        "--job-name=steelyard-tiny",
        "--partition=gpu",
        "--gpus-per-node=2",
        "--time=90",
        "--mem=16GB",
        "--cpus-per-task=4",
        "--requeue",
        "--signal=USR2@90",
        "--open-mode=append",
    ):
        assert f"#SBATCH {flag}" in script
    assert "module load cuda" in script
    assert any(line.startswith("srun ") and "submitit.core._submit" in line for line in script)


def test_stopping_leaves_the_jobs_and_the_same_command_finds_them_again(plan: Plan, slurm: Path) -> None:
    from steelyard.study.engines.on_slurm import run_on_slurm

    (slurm / "state.txt").write_text("RUNNING")
    plan.folder.mkdir(parents=True)
    (plan.folder / "study.json").write_text(json.dumps({"name": "t", "spec": {"train": {"epochs": 1}}, "runs": []}))
    for _ in range(2):
        with pytest.raises(Interrupted, match=r"The jobs go on; .* scancel \d+ ends them"):
            run_on_slurm(plan, parameters={}, failures={}, console=quiet(), stop=StopAfter(8))
    assert len(calls(slurm, "sbatch")) == 1
    assert not calls(slurm, "scancel")
    (slurm / "state.txt").write_text("CANCELLED by 0")  # by somebody, while no command was waiting
    run_on_slurm(plan, parameters={}, failures={}, console=quiet(), stop=lambda: False)
    assert len(calls(slurm, "sbatch")) == 1 + (1 + 2 * 2)  # as if for the first time


def no_answer(*_: object) -> None:
    """A file server that does not answer for a moment."""
    raise OSError(errno.ESTALE, "Stale file handle")


def test_a_summary_that_cannot_be_read_stops_nothing(plan: Plan, slurm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_slurm, "study_status", no_answer)
    monkeypatch.setattr(on_slurm, "SECONDS_BETWEEN_SUMMARIES", 0.0)
    with pytest.raises(RunsFailed, match="2 of 2 runs failed"):  # the jobs die three times each, as ever
        run_study(plan, console=quiet(), engine="slurm")
    assert not calls(slurm, "scancel")


def test_an_error_of_a_job_cancels_the_others_and_one_of_the_watching_does_not(
    plan: Plan, slurm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (slurm / "state.txt").write_text("RUNNING")
    with monkeypatch.context() as watching:
        watching.setattr(on_slurm._Queue, "ended", no_answer)
        with pytest.raises(OSError, match="Stale file handle"):
            run_study(plan, console=quiet(), engine="slurm")
        assert not calls(slurm, "scancel")
    monkeypatch.setattr(on_slurm._Queue, "ended", lambda self, runs: runs[:1])
    monkeypatch.setattr(on_slurm._Queue, "end_of", lambda self, run: BadData("patient 3: no masks. Extract it again."))
    with pytest.raises(BadData, match="patient 3"):
        run_study(plan, console=quiet(), engine="slurm")
    assert len(calls(slurm, "scancel")) == 2  # the stand-in of the first job's end leaves it in the queue


class StopAfter:
    """Asks to stop after so many questions; cases are read before that."""

    def __init__(self, questions: int) -> None:
        self._left = questions

    def __call__(self) -> bool:
        self._left -= 1
        return self._left < 0


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"partion": "gpu"}, r"no parameter is named 'partion'\. Did you mean 'partition'\?"),
        ({"nodes": "2"}, "no parameter is named 'nodes'"),
        ({"timeout_min": "1:30"}, r'"timeout_min" expected type .*1:30'),
        ({"cluster": "pbs"}, "cluster is slurm or local; came 'pbs'"),
    ],
)
def test_parameters_that_do_not_fit_are_refused_in_a_line(
    plan: Plan, slurm: Path, parameters: dict[str, str], said: str
) -> None:
    with pytest.raises(BadSpec, match=said) as caught:
        run_study(plan, console=quiet(), engine="slurm", slurm=parameters)
    assert "\n" not in str(caught.value)
    assert not calls(slurm, "sbatch")


def test_what_sbatch_says_against_it_is_told(plan: Plan, slurm: Path) -> None:
    (slurm / "refuse.txt").touch()
    with pytest.raises(BadSpec, match=r"sbatch refused the jobs: .*invalid partition specified: gpuu") as caught:
        run_study(plan, console=quiet(), engine="slurm", slurm={"partition": "gpuu"})
    assert "\n" not in str(caught.value)


def test_without_slurm_or_submitit_one_line_says_what_to_do(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadSpec, match=r"srun is not on the PATH\. Run it on .*, or add --slurm\.cluster local\."):
        run_study(plan, console=quiet(), engine="slurm")
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(BadSpec, match=r"needs submitit\. Install steelyard\[slurm\]\."):
        run_study(plan, console=quiet(), engine="slurm")

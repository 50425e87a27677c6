"""Studies of slow tiny networks in processes of their own, watched from outside, so that tests can kill them."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl

from steelyard.checkpoint import load_state
from steelyard.runstore import RunFolder, read_json
from steelyard.study.heartbeat import read_beat
from steelyard.study.status import is_held
from studies import tiny_study, write_toml
from warm_process import WarmProcess

PATIENCE_S = 600.0  # nothing takes so long, even on a machine that does much else
RUN = """
import sys
from pathlib import Path
from rich.console import Console
from steelyard.study.plan import plan_file
from steelyard.study.run import run_study
run_study(plan_file(Path(sys.argv[1])), console=Console(width=300), **eval(sys.argv[2]))
"""


def write_study(folder: Path, patients: Path, **grid: Any) -> Path:
    """A study file beside its results; two folds' worth of nothing but `grid`, ten epochs each."""
    folds = {"count": 2, "use": grid.pop("folds", [0])}
    train = {"epochs": grid.pop("epochs", 10)}
    folder.mkdir(parents=True, exist_ok=True)
    return write_toml(
        folder / "s.toml",
        tiny_study(patients, folder / "out", folds=folds, train=train, grid={"loss": ["dice"]} | grid),
    )


def start(study: Path, *, script: str = RUN, **options: Any) -> WarmProcess:
    """`run_study` with one thread, in a process of its own; its output and that of its workers can be read."""
    with study.with_suffix(".txt").open("a") as said:
        return WarmProcess(script, study, repr(options), stdout=said, stderr=subprocess.STDOUT)


def said_by(study: Path) -> list[str]:
    """All lines that its commands printed so far."""
    return study.with_suffix(".txt").read_text().splitlines()


def epochs_said(study: Path) -> dict[str, list[int]]:
    """Per run (`run 3/12`), the epochs of its lines; the first one after every start is always among them."""
    epochs: dict[str, list[int]] = {}
    for line in said_by(study):
        if found := re.search(r"(run \d+/\d+) · epoch (\d+)/", line):
            epochs.setdefault(found[1], []).append(int(found[2]))
    return epochs


def folders_of(study: Path) -> list[RunFolder]:
    """The runs in their order; empty before the study has begun."""
    file = study.parent / "out" / "tiny" / "study.json"
    return [RunFolder(file.parent / run["run"]) for run in read_json(file)["runs"]] if file.exists() else []


def processes_in_the_middle(study: Path, *, epoch: int = 1) -> Iterator[tuple[RunFolder, int]]:
    """Runs that a process holds and that have saved so many epochs, each with that process."""
    for folder in folders_of(study):
        beat = read_beat(folder)
        state = load_state(folder.checkpoint) if folder.checkpoint.exists() else None
        if beat is not None and state is not None and epoch <= state.epoch < beat.epochs and is_held(folder):
            yield folder, beat.pid


def wait_until(holds: Callable[[], Any], process: WarmProcess | None = None) -> Any:
    """What `holds` returns once that is something; fails when the process ends before, or after much patience."""
    until = time.monotonic() + PATIENCE_S
    while not (found := holds()):
        assert process is None or process.poll() is None, "the process ended too early"
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)
    return found


def results(study: Path, names: list[str] | None = None) -> dict[str, tuple[bytes, list[dict[str, Any]]]]:
    """Per run (of those names, if given), the bytes of its weights and the rows of its scores."""
    return {
        folder.name: (folder.weights.read_bytes(), pl.read_parquet(folder.scores).to_dicts())
        for folder in folders_of(study)
        if names is None or folder.name in names
    }

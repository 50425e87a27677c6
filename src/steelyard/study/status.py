"""How a study stands: which runs are done, under way, failed or to do, and when it will be over. Disturbs nobody."""

from __future__ import annotations

import fcntl
import heapq
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Group
from rich.table import Table

from steelyard.errors import BadData
from steelyard.records import run_record, study_record
from steelyard.runstore import RunFolder
from steelyard.study.heartbeat import Beat, read_beat
from steelyard.study.progress import duration

if TYPE_CHECKING:
    from steelyard.study.plan import Plan  # torch comes with it, and reading a folder needs none

SECONDS_FRESH = 60.0  # a sign of life from another machine, whose lock may not show here; clocks differ a little

State = Literal["done", "running", "stopped", "failed", "to do"]
STATES: tuple[State, ...] = ("done", "running", "stopped", "failed", "to do")


@dataclass(frozen=True)
class RunStatus:
    """One run. `stopped` has work behind it, and nobody holds it; the next command goes on with it.

    Args:
        reason: why it failed, or what a finished run still lacks; None otherwise.
        epoch: epochs done, of `epochs`.
        host: the machine that works or last worked on it; None where that is not known.
        seconds: what it took; None unless done.
        seconds_left: of work, by its own pace or else by that of its like; None where nothing tells.
    """

    run: str
    network: str
    loss: str
    fold: int
    seed: int
    organ: str | None
    state: State
    reason: str | None
    epoch: int
    epochs: int
    host: str | None
    seconds: float | None
    seconds_left: float | None


@dataclass(frozen=True)
class Status:
    """A study's runs in their order. `seconds_left` is None while nobody works on it or nothing tells the pace."""

    study: str
    runs: tuple[RunStatus, ...]
    seconds_left: float | None

    def count(self, state: State) -> int:
        return sum(run.state == state for run in self.runs)


def study_status(folder: Path) -> Status:
    """The status of the study in this folder, from its files alone.

    Raises:
        BadData: the folder holds no study.
    """
    if not (folder / "study.json").exists():
        raise BadData(f"no study has been started in {folder}: study.json is not there. Run it first.") from None
    study = study_record(folder)
    epochs = study["spec"].get("train", {}).get("epochs", 0)
    return _status(folder, study["name"], study["runs"], epochs=epochs, crf=study["spec"].get("crf"))


def plan_status(plan: Plan) -> Status:
    """The status that the runs of a plan have, whether it was ever started or not."""
    from steelyard.study.plan import describe

    described = [describe(run) | {"organ": run.organ, "epochs": plan.epochs_of(run)} for run in plan.runs]
    crf = None if plan.spec.crf is None else plan.spec.crf.model_dump()
    return _status(plan.folder, plan.spec.study.name, described, epochs=plan.spec.train.epochs, crf=crf)


def render(status: Status) -> Group:
    """A row per run, then the counts and the time left."""
    has_organs = any(run.organ is not None for run in status.runs)
    columns = ["run", "network", "loss", *(["organ"] if has_organs else []), "fold", "seed", "state", "epoch", "time"]
    table = Table(*columns, "", box=None, pad_edge=False)
    for number, run in enumerate(status.runs, 1):
        table.add_row(
            str(number),
            run.network,
            run.loss,
            *([run.organ or "all"] if has_organs else []),
            str(run.fold),
            str(run.seed),
            run.state,
            f"{run.epoch}/{run.epochs}" if run.state in ("running", "stopped") else "",
            _time(run),
            run.reason or (f"on {run.host}" if run.state == "running" and run.host else ""),
        )
    return Group(table, "", summary(status))


def render_plan(plan: Plan) -> Group:
    """What `run` would find and do: the same table, before anything is started."""
    return render(plan_status(plan))


def summary(status: Status) -> str:
    """`12 runs: 5 done, 2 running, 5 to do; about 12 min left`."""
    counts = ", ".join(f"{status.count(state)} {state}" for state in STATES if status.count(state))
    if status.count("running") == 0:
        undone = len(status.runs) - status.count("done")
        return f"{len(status.runs)} runs: {counts}" + ("; nobody is at work on them" if undone else "")
    left = "" if status.seconds_left is None else f"; about {duration(status.seconds_left)} left"
    return f"{len(status.runs)} runs: {counts}{left}"


def is_held(folder: RunFolder) -> bool:
    """Whether a process holds the run's lock.

    Asks for a shared lock and lets go of it at once. A worker that looks in that very moment takes the run for held
    and looks again a second later; no run is lost by it.
    """
    try:
        with (folder.path / "lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no lock was ever taken, or it may not be read
        return False
    return False


def _status(
    folder: Path, name: str, described: Iterable[Mapping[str, Any]], *, epochs: int, crf: Mapping[str, Any] | None
) -> Status:
    looked = [_look(RunFolder(folder / run["run"]), run, run.get("epochs", epochs), crf) for run in described]
    costs = _costs(looked)
    runs = tuple(replace(run, seconds_left=_seconds_left(run, beat, costs)) for run, beat, _ in looked)
    return Status(name, runs, _study_seconds_left(runs))


@dataclass(frozen=True)
class _Costs:
    """Mean seconds of a whole run per kind (network and organ), of any run, and of what comes after training."""

    of_kind: Mapping[tuple[str, str | None], float]
    of_any: float | None
    of_scoring: float


_Looked = tuple[RunStatus, Beat | None, Mapping[str, Any]]


def _look(folder: RunFolder, run: Mapping[str, Any], epochs: int, crf: Mapping[str, Any] | None) -> _Looked:
    """The run's state, its last sign of life, and what its manifest measured when it is done."""
    from steelyard.study.crf_effect import has_crf  # statistics come with it, and help needs none

    beat = read_beat(folder)
    measured: Mapping[str, Any] = {}
    state: State = "to do"
    reason = None
    if folder.is_done:
        state, measured = "done", run_record(folder.manifest).get("manifest", {})
        if crf is not None and folder.scores.exists() and not has_crf(folder, crf):
            reason = folder.failure_reason() if folder.failure.exists() else "its CRF is still to come"
    elif is_held(folder) or (beat is not None and _is_alive_elsewhere(beat)):
        state = "running"
    elif folder.failure.exists():
        state, reason = "failed", folder.failure_reason()
    elif beat is not None or folder.checkpoint.exists():
        state = "stopped"
    return (
        RunStatus(
            **{key: run[key] for key in ("run", "network", "loss", "fold", "seed")},
            organ=run.get("organ"),
            state=state,
            reason=reason,
            epoch=epochs if state == "done" else 0 if beat is None else beat.epoch,
            epochs=epochs,
            host=None if beat is None else beat.host,
            seconds=measured.get("seconds"),
            seconds_left=None,
        ),
        beat,
        measured,
    )


def _is_alive_elsewhere(beat: Beat) -> bool:
    age = (datetime.now(UTC) - beat.updated).total_seconds()
    return beat.host != socket.gethostname() and age < SECONDS_FRESH


def _costs(looked: list[_Looked]) -> _Costs:
    """From the runs that are done; while there are none, from the pace of those under way."""
    whole: dict[tuple[str, str | None], list[float]] = {}
    scoring = []
    for run, _, measured in looked:
        if run.seconds is not None:
            whole.setdefault((run.network, run.organ), []).append(run.seconds)
            scoring.append(run.seconds - measured.get("training_seconds", run.seconds))
    if not whole:
        for run, beat, _ in looked:
            if beat is not None:
                whole.setdefault((run.network, run.organ), []).append(beat.seconds_per_epoch * beat.epochs)
    every = [seconds for kind in whole.values() for seconds in kind]
    return _Costs(
        {kind: fmean(seconds) for kind, seconds in whole.items()},
        fmean(every) if every else None,
        fmean(scoring) if scoring else 0.0,
    )


def _seconds_left(run: RunStatus, beat: Beat | None, costs: _Costs) -> float | None:
    if run.state == "done":
        return 0.0
    if beat is not None and run.state in ("running", "stopped"):
        return (run.epochs - beat.epoch) * beat.seconds_per_epoch + costs.of_scoring
    return costs.of_kind.get((run.network, run.organ), costs.of_any)


def _study_seconds_left(runs: tuple[RunStatus, ...]) -> float | None:
    """As many workers as runs are under way; each takes the next run when it is through with its own."""
    under_way = [run.seconds_left for run in runs if run.state == "running"]
    waiting = [run.seconds_left for run in runs if run.state in ("stopped", "to do")]
    ends = [seconds for seconds in under_way if seconds is not None]
    coming = [seconds for seconds in waiting if seconds is not None]
    if not under_way or len(ends) + len(coming) < len(under_way) + len(waiting):
        return None
    heapq.heapify(ends)
    for seconds in coming:
        heapq.heapreplace(ends, ends[0] + seconds)
    return max(ends)


def _time(run: RunStatus) -> str:
    if run.state == "done":
        return "" if run.seconds is None else duration(run.seconds)
    if run.state == "failed" or run.seconds_left is None:
        return ""
    return f"{duration(run.seconds_left)} left"

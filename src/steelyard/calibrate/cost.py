"""What a calibration costs: foreseen before anything is trained, held against its budget, and counted at the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from steelyard.calibrate import search, warm
from steelyard.calibrate.bench import Bench
from steelyard.calibrate.budget import Budget
from steelyard.calibrate.trials import Trials
from steelyard.errors import BadSpec
from steelyard.records import run_record
from steelyard.study.estimate import estimate
from steelyard.study.progress import duration


@dataclass(frozen=True)
class Cost:
    """A calibration's trainings before they are made.

    Attributes:
        strategy: epochs in which the candidates are tried; at most, where some may be given up early.
        later: epochs of the networks whose decisions are moved, as far as the strategy does not train them anyway.
        outer: epochs of the calibrated weights and all rivals on the outer folds, and of the network with a bound.
        strategy_seconds, outer_seconds: of one epoch on this machine, scoring left out.
    """

    strategy: int
    later: int
    outer: int
    inner_seconds: float
    outer_seconds: float

    @property
    def epochs(self) -> int:
        return self.strategy + self.later + self.outer

    @property
    def seconds(self) -> float:
        """Of one worker on this machine."""
        return (self.strategy + self.later) * self.inner_seconds + self.outer * self.outer_seconds


def foresee(bench: Bench) -> Cost:
    """Counts all epochs, and times a few steps of the network. Reads every case once."""
    fold = bench.nested.folds[0]
    samples = [
        bench.run("inner", bench.default, fold.inner[0], bench.seeds[0]),
        bench.run("inner", bench.default, fold.outer, bench.seeds[0]),
    ]
    seconds = estimate(replace(bench.base, runs=tuple(samples))).seconds
    inner, outer = (seconds[run.name] / bench.epochs for run in samples)
    return Cost(_strategy_epochs(bench), _later_epochs(bench), _outer_epochs(bench), inner, outer)


def foreseen(bench: Bench, cost: Cost) -> str:
    """In a sentence, for the console."""
    table = bench.table
    seeds = "one seed" if len(bench.seeds) == 1 else f"{len(bench.seeds)} seeds"
    patients = {key.patient_id for key in bench.nested.bound}
    most = "at most " if table.strategy == "search" else ""
    aside = f", {len(patients)} patients set aside" if patients else ""
    return (
        f"calibration {bench.base.spec.study.name}: {len(table.values) + table.proposals} candidates by "
        f"{table.strategy}, {len(bench.nested.folds)} outer × {table.inner_folds} inner folds, {seeds}, "
        f"{len(bench.rivals)} rivals{aside}: {most}{cost.epochs} epochs, as many "
        f"as {cost.epochs / bench.epochs:.0f} full trainings, about {duration(cost.seconds)} of one worker here, "
        "scoring left out"
    )


def check_budget(bench: Bench, cost: Cost) -> Budget:
    """What the strategy may spend; proposals of `search` are left out of what must fit, since they may be fewer.

    Raises:
        BadSpec: a budget that would be exceeded, with both numbers and what to change.
    """
    table = bench.table
    needed = replace(cost, strategy=_strategy_epochs(bench, proposals=0))
    another = "" if table.strategy == "search" else ', or strategy = "search"'
    remedy = f"Raise it, or take fewer values, folds, seeds or epochs{another}."
    if table.budget_epochs is not None and needed.epochs > table.budget_epochs:
        raise BadSpec(f"[calibrate] budget_epochs is {table.budget_epochs}; {needed.epochs} are needed. {remedy}")
    if table.budget_hours is not None and needed.seconds > table.budget_hours * 3600:
        raise BadSpec(
            f"[calibrate] budget_hours is {table.budget_hours:g}; {needed.seconds / 3600:.1f} are needed. {remedy}"
        )
    allowed = [] if table.budget_epochs is None else [table.budget_epochs - cost.later - cost.outer]
    if table.budget_hours is not None:
        rest = table.budget_hours * 3600 - cost.later * cost.inner_seconds - cost.outer * cost.outer_seconds
        allowed.append(int(rest / cost.inner_seconds))
    return Budget(min(allowed, default=None))


def spent(bench: Bench, trials: Mapping[int, Trials]) -> dict[str, Any]:
    """Epochs of the strategy, of a full grid of the same values, and of all else; JSON-able."""
    own = sum(found.epochs_spent for found in trials.values())
    whole = len(bench.table.values) * bench.epochs * _places(bench)
    return {
        "strategy": bench.table.strategy,
        "strategy_epochs": own,
        "full_grid_epochs": whole,
        "share_of_full_grid": own / whole,
        "decided_later_epochs": _later_epochs(bench),
        "outer_epochs": len(bench.asked("outer")) * bench.epochs,
        "hours": _hours(bench),
    }


def _places(bench: Bench) -> int:
    """Inner folds and seeds of all outer folds: how many trainings a candidate needs."""
    return sum(len(fold.inner) for fold in bench.nested.folds) * len(bench.seeds)


def _strategy_epochs(bench: Bench, *, proposals: int | None = None) -> int:
    count, epochs, table = len(bench.table.values), bench.epochs, bench.table
    if table.strategy == "grid":
        return count * epochs * _places(bench)
    if table.strategy == "warm":
        return warm.planned_epochs(count, epochs) * _places(bench) + count * epochs
    whole, rest = divmod(table.proposals if proposals is None else proposals, search.AT_ONCE)
    rounds = [count, *[search.AT_ONCE] * whole, *([rest] if rest else [])]
    return sum(search.planned_epochs(own, epochs) for own in rounds) * _places(bench)


def _later_epochs(bench: Bench) -> int:
    tried = [bench.loss(prices) for prices in bench.candidates()] if bench.table.strategy == "grid" else []
    return sum(loss not in tried for loss in bench.decided_later) * _places(bench) * bench.epochs


def _outer_epochs(bench: Bench) -> int:
    trainings = (len(bench.rivals) + 1) * len(bench.nested.folds) * len(bench.seeds) + bool(bench.nested.bound)
    return trainings * bench.epochs


def _hours(bench: Bench) -> float:
    """Of one worker, as the manifests of all runs of this calibration say."""
    folders = (bench.run_folder(part, run) for part in ("inner", "outer", "final") for run in bench.asked(part))
    manifests = (run_record(folder.manifest).get("manifest", {}) for folder in folders if folder.is_done)
    return round(sum(about.get("seconds", 0.0) for about in manifests) / 3600, 2)

"""What a study folder holds: the plan, which runs were finished, and what each of them measured."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import polars as pl

from steelyard.errors import BadData
from steelyard.labels import LabelSet
from steelyard.records import label_set_of, read_table, run_record, study_record
from steelyard.runstore import RunFolder
from steelyard.scores import SCHEMA

BACKGROUND = "background"
UNICLASS = "uniclass"  # the task of which each run finds one organ
IDENTITY = ("run", "network", "loss", "task", "fold", "seed")
COUNTS_SCHEMA: dict[str, type[pl.DataType]] = {"case_id": pl.String, "class_name": pl.String} | dict.fromkeys(
    ("tp", "fp", "fn", "tn"), pl.Int64
)
HISTORY_SCHEMA: dict[str, type[pl.DataType]] = {
    "epoch": pl.Int64,
    "quantity": pl.String,
    "organ": pl.String,
    "value": pl.Float64,
}

State = Literal["done", "failed", "unfinished", "missing"]


@dataclass(frozen=True)
class Run:
    """One planned training: who it is, and how far it came. Only a `done` run enters tables and pictures.

    `organ` is the only organ that a uniclass run was trained to find; None for a run that finds all of them.
    """

    run: str
    network: str
    loss: str
    task: str
    organ: str | None
    fold: int
    seed: int
    state: State
    reason: str
    files: RunFolder

    @cached_property
    def record(self) -> dict[str, Any]:
        """`run.json`: the resolved spec and the manifest; empty when the run never started."""
        return run_record(self.files.manifest)

    @property
    def manifest(self) -> dict[str, Any]:
        return self.record.get("manifest", {})


@dataclass(frozen=True)
class Condition:
    """What is compared: a loss on a network. `done` are the (fold, seed, organ) triples that were finished."""

    network: str
    task: str
    loss: str
    done: frozenset[tuple[int, int, str | None]]
    planned: int

    @property
    def group(self) -> tuple[str, str]:
        """Losses are compared within one network and task."""
        return self.network, self.task

    @property
    def shortfall(self) -> str:
        """What is missing of the planned runs, in words; empty when nothing is."""
        if len(self.done) == self.planned:
            return ""
        return f"{len(self.done)} of {self.planned} runs finished" if self.done else "no run finished"

    @property
    def marked_loss(self) -> str:
        """The loss's name in a picture: with † where planned runs are missing."""
        return f"{self.loss} †" if self.shortfall else self.loss


@dataclass(frozen=True)
class Study:
    """A study folder, read. `runs` are the planned ones, in the plan's order."""

    folder: Path
    name: str
    spec: dict[str, Any]
    label_set: LabelSet
    runs: tuple[Run, ...]
    warnings: tuple[str, ...]

    @property
    def done(self) -> tuple[Run, ...]:
        return tuple(run for run in self.runs if run.state == "done")

    @cached_property
    def conditions(self) -> tuple[Condition, ...]:
        """Every planned loss on every network, in the plan's order, also those without a finished run."""
        keys = dict.fromkeys((run.network, run.task, run.loss) for run in self.runs)
        return tuple(Condition(*key, *self._progress(*key)) for key in keys)

    @property
    def groups(self) -> tuple[tuple[str, str], ...]:
        """(network, task) pairs in the plan's order."""
        return tuple(dict.fromkeys(condition.group for condition in self.conditions))

    def comparable(self, group: tuple[str, str]) -> tuple[Condition, ...]:
        """The group's conditions that were finished on the same folds and seeds, all that any of them finished.

        A loss with fewer runs was tested on other patients: it is shown, marked, and never ranked.
        """
        members = [condition for condition in self.conditions if condition.group == group]
        everything = frozenset().union(*(condition.done for condition in members))
        return tuple(condition for condition in members if condition.done and condition.done == everything)

    @cached_property
    def scores(self) -> pl.DataFrame:
        """The scores of all finished runs, with the plan's names in the identity columns."""
        frames = [_identified(read_table(run.files.scores, SCHEMA), run) for run in self.done]
        return pl.concat(frames) if frames else pl.DataFrame(schema=SCHEMA)

    @cached_property
    def counts(self) -> pl.DataFrame:
        """Voxel counts of all finished runs: case_id, class_name, tp, fp, fn, tn and the identity columns."""
        frames = [_identified(read_table(run.files.counts, COUNTS_SCHEMA), run) for run in self.done]
        return pl.concat(frames) if frames else pl.DataFrame(schema=COUNTS_SCHEMA | {k: SCHEMA[k] for k in IDENTITY})

    @cached_property
    def history(self) -> pl.DataFrame:
        """Learning curves of all finished runs: epoch, quantity, organ, value and the identity columns."""
        frames = [_identified(read_table(run.files.history, HISTORY_SCHEMA), run) for run in self.done]
        return pl.concat(frames) if frames else pl.DataFrame(schema=HISTORY_SCHEMA | {k: SCHEMA[k] for k in IDENTITY})

    def _progress(self, network: str, task: str, loss: str) -> tuple[frozenset[tuple[int, int, str | None]], int]:
        own = [run for run in self.runs if (run.network, run.task, run.loss) == (network, task, loss)]
        return frozenset((run.fold, run.seed, run.organ) for run in own if run.state == "done"), len(own)


def read_study(folder: Path) -> Study:
    """The study in `folder`. Raises BadData when `study.json` is missing, damaged or of another schema."""
    path = folder / "study.json"
    if not path.is_file():
        raise BadData(f"{folder} holds no study.json, so it is no study folder. Name the folder that `run` wrote.")
    plan = study_record(folder)
    runs = tuple(_run(folder, entry) for entry in plan["runs"])
    return Study(folder, plan["name"], plan["spec"], label_set_of(plan, path), runs, tuple(plan["warnings"]))


def _run(folder: Path, entry: dict[str, Any]) -> Run:
    files = RunFolder(folder / entry["run"])
    state: State = "unfinished"
    reason = ""
    if files.is_done:
        state = "done"
    elif files.failure.is_file():
        state = "failed"
        reason = files.failure_reason()
    elif not files.path.is_dir():
        state = "missing"
    identity = {key: entry[key] for key in IDENTITY}
    return Run(**identity, organ=entry.get("organ"), state=state, reason=reason, files=files)


def _identified(frame: pl.DataFrame, run: Run) -> pl.DataFrame:
    literals = [pl.lit(getattr(run, key), dtype=SCHEMA[key]).alias(key) for key in IDENTITY]
    return frame.with_columns(literals)

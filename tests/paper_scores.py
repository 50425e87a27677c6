"""Scores of finished runs with every number chosen by hand, for the tests of the paper's tables."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from steelyard.labels import CHAOS_MR
from steelyard.runstore import SCHEMA_VERSION
from steelyard.scores import SCHEMA, Score, to_frame
from steelyard.study.paper.reproduce import Condition, Ours

FOUR = ("liver", "right_kidney", "left_kidney", "spleen")
Values = dict[str | None, float]  # organ → IoU; None: the mean IoU with the background


def run(
    loss: str,
    pooled: Values,
    cases: dict[str, Values] | None = None,
    *,
    network: str = "net",
    task: str = "multiclass",
    fold: int = 0,
    seed: int = 1,
) -> pl.DataFrame:
    """The scores of one run. `cases`: case id → values; the patient is the part before the underscore."""
    identity = {"network": network, "loss": loss, "task": task, "fold": fold, "seed": seed, "run": f"{loss}-f{fold}"}
    scores = [_score(organ, value) for organ, value in pooled.items()]
    for case, values in (cases or {}).items():
        scores += [
            replace(_score(organ, value), case_id=case, patient_id=case.split("_")[0])
            for organ, value in values.items()
        ]
    return to_frame(replace(score, **identity) for score in scores)


def ours(*runs: pl.DataFrame, also_planned: tuple[Condition, ...] = (), organs: tuple[str, ...] = FOUR) -> Ours:
    """A study of those runs; `also_planned` are conditions without a finished one."""
    scores = pl.concat(runs) if runs else pl.DataFrame(schema=SCHEMA)
    planned = scores.select("network", "task", "loss").unique(maintain_order=True).rows()
    return Ours(scores, (*planned, *also_planned), organs)


def extremes(values: np.ndarray) -> tuple[float, float] | None:
    """An interval that can be read off: lowest and highest value, none for fewer than two."""
    return (float(values.min()), float(values.max())) if len(values) > 1 else None


def _score(organ: str | None, value: float) -> Score:
    metric, convention = ("mean_iou", "matlab") if organ is None else ("iou", "counts")
    return Score(metric, value, "1", convention, "ok", organ)


def write_runs(folder: Path, *runs: pl.DataFrame, planned: int | None = None, warnings: tuple[str, ...] = ()) -> Path:
    """A study folder in which those runs are done; with `planned`, further folds of the last one are not begun."""
    entries = []
    for number, frame in enumerate(runs):
        network, loss, task, fold, seed = frame.select("network", "loss", "task", "fold", "seed").row(0)
        organ = frame["organ"].drop_nulls()[0] if task == "uniclass" else None
        name = f"run{number}"
        entry = {"run": name, "network": network, "loss": loss, "task": task, "organ": organ}
        entries.append(entry | {"fold": fold, "seed": seed})
        (folder / name).mkdir(parents=True)
        frame.write_parquet(folder / name / "scores.parquet")
        (folder / name / "DONE").write_text("")
    for number in range(len(runs), planned or 0):
        entries.append(entries[-1] | {"run": f"run{number}", "fold": number})
    organs = [
        {"name": o.name, "index": o.index, "source_value": o.source_value, "colour": list(o.colour)}
        for o in CHAOS_MR.organs
    ]
    plan = {"schema": SCHEMA_VERSION, "name": folder.name, "spec": {"train": {"epochs": 7}}, "warnings": list(warnings)}
    (folder / "study.json").write_text(json.dumps(plan | {"label_set": {"organs": organs}, "runs": entries}))
    return folder

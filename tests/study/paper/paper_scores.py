"""Scores of finished runs with every number chosen by hand, for the tests of the paper's tables."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

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

"""Two studies beside each other, patient by patient: what a changed setting, such as a leaking split, is worth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from steelyard.metrics import METRICS
from steelyard.runstore import write_parquet
from steelyard.stats.paired import paired_differences, summarise
from steelyard.stats.studentised import studentised_interval
from steelyard.study.case_scores import case_scores
from steelyard.study.declared import Declared, read_declared

FILE = "beside.parquet"
METRIC, CONVENTION = "iou", "counts"
SEED = 20_250_102  # of the resamples; fixed, so that two studies read twice say the same
BESIDE: dict[str, type[pl.DataType]] = {
    "study": pl.String,
    "other": pl.String,
    "network": pl.String,
    "task": pl.String,
    "loss": pl.String,
    "organ": pl.String,
    "metric": pl.String,
    "convention": pl.String,
    "patients": pl.Int64,
    "mean_study": pl.Float64,
    "mean_other": pl.Float64,
    "mean_difference": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
}
CASE = ["network", "task", "loss", "organ", "patient_id", "case_id"]  # what both studies must share to be a pair


def write_beside(study_folder: Path, other_folder: Path) -> None:
    """Write `<study>/beside.parquet`: IoU of the other study less this one's, for each condition and organ of both.

    One row per network, task, loss and organ; `organ` null is the mean over a patient's organs, `loss` null the mean
    over the losses of both. It is IoU whatever metric the studies declared: both have it, in one unit. A case counts
    where both studies have a value; seeds of a case are averaged first, then cases of a patient. `low` and `high` bound
    the mean difference with 95 % (studentised bootstrap); they are infinite below four patients and null below two.
    Nothing is tested: two studies are no declared family.

    Raises:
        BadData: a study or the scores of a finished run are missing or damaged.
    """
    study, other = read_declared(study_folder), read_declared(other_folder)
    frames = [
        _cases(declared, folder, study.organs) for declared, folder in ((study, study_folder), (other, other_folder))
    ]
    both = frames[0].join(frames[1], on=CASE, suffix="_other")
    rows = [
        {"study": study.study, "other": other.study, "metric": METRIC, "convention": CONVENTION} | row
        for row in _rows(both)
    ]
    write_parquet(study_folder / FILE, pl.DataFrame(rows, schema=BESIDE))


def _rows(both: pl.DataFrame) -> list[dict[str, Any]]:
    values = pl.col("value", "value_other").mean()
    organs = both.group_by("network", "task", "loss", "organ", "patient_id").agg(values)
    no_organ, no_loss = (pl.lit(None, dtype=pl.String).alias(name) for name in ("organ", "loss"))
    of_losses = organs.group_by("network", "task", "loss", "patient_id").agg(values).with_columns(no_organ)
    of_all = of_losses.group_by("network", "task", "patient_id").agg(values).with_columns(no_organ, no_loss)
    means = pl.concat([organs, of_losses, of_all], how="diagonal")
    rows = []
    for key, own in means.sort("patient_id").group_by("network", "task", "loss", "organ", maintain_order=True):
        differences = paired_differences(own["value_other"].to_numpy(), own["value"].to_numpy())[:, None]
        low, high = studentised_interval(differences, seed=SEED)
        rows.append(
            dict(zip(("network", "task", "loss", "organ"), key, strict=True))
            | {"patients": len(own), "mean_study": own["value"].mean(), "mean_other": own["value_other"].mean()}
            | {"mean_difference": float(summarise(differences).mean[0])}
            | {name: None if np.isnan(end[0]) else float(end[0]) for name, end in (("low", low), ("high", high))}
        )
    return sorted(rows, key=lambda row: tuple(str(row[name] or "") for name in ("network", "task", "loss", "organ")))


def _cases(declared: Declared, folder: Path, organs: tuple[str, ...]) -> pl.DataFrame:
    """The columns of `CASE` and `value`, the mean over the seeds of a case; cases without a value are left out."""
    scores = case_scores(declared, folder, METRICS[METRIC]).filter(pl.col("organ").is_in(organs))
    return scores.drop_nulls("value").group_by(CASE).agg(pl.col("value").mean())

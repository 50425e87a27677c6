"""Two studies that differ in one thing, patient by patient: what augmentation, the leak or the task is worth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from steelyard.study.paper.reproduce import IOU, Interval, Ours, iou_of, mean_over_organs

KEY = ("network", "loss", "organ")
SCHEMA = {
    "what": pl.String,
    "network": pl.String,
    "loss": pl.String,
    "organ": pl.String,  # null: the mean of the organs
    "patients": pl.Int64,
    "mean": pl.Float64,
    "partner_mean": pl.Float64,
    "difference": pl.Float64,  # mean of the patients' partner − own
    "low": pl.Float64,
    "high": pl.Float64,
    "same_cases": pl.Boolean,  # both scored the same cases with the same seeds
    "pooled_difference": pl.Float64,  # null unless `same_cases`
}


def paired_differences(
    what: str, ours: Ours, partner: Ours, interval: Interval, *, partner_task: str = "multiclass"
) -> pl.DataFrame:
    """IoU of `partner` minus IoU of `ours` for each network, loss and organ that both have finished.

    Only cases that both have scored count: a case's value is its mean over seeds, a patient's the mean over those
    cases, and the difference is of patients. `ours` gives its multiclass runs, `partner` those of `partner_task`.
    `pooled_difference` is that of the pooled IoU, each over its own held-out voxels. It is null unless both have scored
    the same cases with the same seeds: a pooled value cannot be cut down to the cases that both have, and other
    patients alone would make a difference.
    """
    organs = list(ours.organs)
    own, other = _cases(ours, "multiclass", organs), _cases(partner, partner_task, organs)
    both = own.join(other, on=[*KEY, "case_id", "patient_id"], suffix="_partner")
    patients = both.group_by([*KEY, "patient_id"]).agg(pl.col("value").mean(), pl.col("value_partner").mean())
    whole = (
        patients.group_by("network", "loss", "patient_id")
        .agg(pl.col("value").mean(), pl.col("value_partner").mean(), pl.len().alias("organs"))
        .filter(pl.col("organs") == len(organs))
        .with_columns(pl.lit(None, pl.String).alias("organ"))
    )
    patients = pl.concat([patients, whole.select(patients.columns)])

    records = []
    tasks = {"multiclass", partner_task}
    planned = dict.fromkeys((network, loss) for network, task, loss in ours.planned if task in tasks)
    for network, loss in planned:
        for organ in (*organs, None):
            rows = patients.filter(
                pl.col("network") == network, pl.col("loss") == loss, pl.col("organ").eq_missing(pl.lit(organ))
            ).sort("patient_id")
            if rows.is_empty():
                continue
            differences = (rows["value_partner"] - rows["value"]).to_numpy()
            bounds = interval(differences)
            of_both = _of(ours, network, "multiclass", loss), _of(partner, network, partner_task, loss)
            among = organs if organ is None else [organ]
            same = _scored(of_both[0], among) == _scored(of_both[1], among)
            records.append(
                {
                    "what": what,
                    "network": network,
                    "loss": loss,
                    "organ": organ,
                    "patients": len(rows),
                    "mean": rows["value"].mean(),
                    "partner_mean": rows["value_partner"].mean(),
                    "difference": float(np.mean(differences)),
                    "low": bounds[0] if bounds else None,
                    "high": bounds[1] if bounds else None,
                    "same_cases": same,
                    "pooled_difference": _pooled_difference(*of_both, organ, organs) if same else None,
                }
            )
    return pl.DataFrame(records, schema=SCHEMA)


def _cases(ours: Ours, task: str, organs: Sequence[str]) -> pl.DataFrame:
    """IoU per case and organ, averaged over seeds."""
    return (
        ours.scores.filter(
            pl.col("task") == task,
            pl.col("metric") == IOU[0],
            pl.col("convention") == IOU[1],
            pl.col("case_id").is_not_null(),
            pl.col("organ").is_in(list(organs)),
        )
        .drop_nulls("value")
        .group_by([*KEY, "case_id", "patient_id"])
        .agg(pl.col("value").mean())
    )


def _of(ours: Ours, network: str, task: str, loss: str) -> pl.DataFrame:
    return ours.scores.filter(pl.col("network") == network, pl.col("task") == task, pl.col("loss") == loss)


def _scored(frame: pl.DataFrame, organs: Sequence[str]) -> frozenset[tuple[str, str, int]]:
    """Which organs of which cases were scored, with which seeds; undefined scores are scored too."""
    own = frame.filter(
        pl.col("metric") == IOU[0], pl.col("convention") == IOU[1], pl.col("case_id").is_not_null(),
        pl.col("organ").is_in(list(organs)),
    )  # fmt: skip
    return frozenset(own.select("organ", "case_id", "seed").iter_rows())


def _pooled_difference(
    own: pl.DataFrame, partner: pl.DataFrame, organ: str | None, organs: Sequence[str]
) -> float | None:
    first, second = (
        mean_over_organs(frame, organs).pooled if organ is None else iou_of(frame, organ).pooled
        for frame in (own, partner)
    )
    return None if first is None or second is None else second - first

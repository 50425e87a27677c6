"""Plain means over given rows: over runs for pooled scores, over patients for the others. Nothing is tested here."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

CONDITION = ("network", "task", "loss")
MEASURE = ("organ", "metric", "convention", "unit")
TIE_TOLERANCE_DIGITS = 9  # values equal to so many decimals share their rank


def pooled(scores: pl.DataFrame) -> pl.DataFrame:
    """Scores pooled over the cases of each run (rows without case), averaged over a condition's runs.

    Columns: network, task, loss, organ, metric, convention, unit, value, rows, undefined. Undefined values are left
    out of the mean and counted.
    """
    return _mean(scores.filter(pl.col("case_id").is_null()), (*CONDITION, *MEASURE))


def of_patients(scores: pl.DataFrame) -> pl.DataFrame:
    """One row per patient: the mean over that patient's cases and seeds. Columns as `pooled`, with patient_id."""
    cases = scores.filter(pl.col("case_id").is_not_null())
    return _mean(cases, (*CONDITION, "patient_id", *MEASURE))


def over_patients(scores: pl.DataFrame) -> pl.DataFrame:
    """The mean of the patients' values, each patient once. `undefined` counts the cases that have no value."""
    patients = of_patients(scores)
    keys = [*CONDITION, *MEASURE]
    return patients.group_by(keys, maintain_order=True).agg(
        pl.col("value").mean(),
        pl.col("value").count().alias("patients"),
        pl.col("rows").sum(),
        pl.col("undefined").sum(),
    )


def ranks(values: Mapping[str, float | None]) -> dict[str, float]:
    """1 for the highest; equal values share the mean of their places; undefined ones have no rank."""
    known = {name: round(value, TIE_TOLERANCE_DIGITS) for name, value in values.items() if value is not None}
    order = pl.Series(list(known.values()), dtype=pl.Float64).rank(method="average", descending=True)
    return dict(zip(known, order.to_list(), strict=True))


def mean(values: list[float | None]) -> float | None:
    """The mean of values that are all defined; undefined as soon as one of them is, or when there is none."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def _mean(rows: pl.DataFrame, keys: tuple[str, ...]) -> pl.DataFrame:
    return rows.group_by(list(keys), maintain_order=True).agg(
        pl.col("value").mean(),
        pl.len().cast(pl.Int64).alias("rows"),
        pl.col("value").null_count().cast(pl.Int64).alias("undefined"),
    )

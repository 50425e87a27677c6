"""One measured number with everything needed to know what it is: the only currency of tables and reports."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Literal

import polars as pl

Status = Literal["ok", "undefined", "missed", "invented"]

SCHEMA: dict[str, type[pl.DataType]] = {
    "study": pl.String,
    "run": pl.String,
    "network": pl.String,
    "loss": pl.String,
    "task": pl.String,
    "fold": pl.Int64,
    "seed": pl.Int64,
    "patient_id": pl.String,
    "case_id": pl.String,
    "sequence": pl.String,
    "organ": pl.String,
    "metric": pl.String,
    "convention": pl.String,
    "value": pl.Float64,
    "unit": pl.String,
    "status": pl.String,
}


@dataclass(frozen=True)
class Score:
    """One tidy row.

    `case_id` and `patient_id` are None for a score pooled over cases, `organ` is None for a global one, `value` is
    None exactly when the metric is undefined. `status` tells an organ that the prediction missed, or invented, from
    one that both have (ok); `undefined` where the metric has no value.
    """

    metric: str
    value: float | None
    unit: str
    convention: str
    status: Status
    organ: str | None = None
    case_id: str | None = None
    patient_id: str | None = None
    sequence: str | None = None
    study: str | None = None
    run: str | None = None
    network: str | None = None
    loss: str | None = None
    task: str | None = None
    fold: int | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        if (self.value is None) != (self.status == "undefined"):
            raise ValueError(f"{self.metric}: value {self.value} does not go with status {self.status!r}")
        if self.value is not None and self.value != self.value:
            raise ValueError(f"{self.metric}: NaN is not a score; an undefined value is None")


def to_frame(scores: Iterable[Score]) -> pl.DataFrame:
    """Scores as a table with the columns of `SCHEMA`, one row each."""
    return pl.DataFrame([asdict(score) for score in scores], schema=SCHEMA)

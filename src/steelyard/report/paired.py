"""Each patient under a loss and under the baseline: the pairs that stand behind a mean difference."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from steelyard.report.means import mean, of_patients
from steelyard.report.statistics import Statistics
from steelyard.report.table import Cell, Header, Row, Section, Table


@dataclass(frozen=True)
class Pair:
    """One patient's value under the baseline and under the loss, each the mean over its cases and seeds."""

    patient_id: str
    baseline: float
    loss: float

    @property
    def difference(self) -> float:
        return self.loss - self.baseline


def pairs(found: Statistics, loss: str, organ: str | None) -> tuple[Pair, ...]:
    """The patients that have both values, lowest difference first; for `organ` None, means over a patient's organs.

    An organ that is undefined for a patient under one of the two is left out under both.
    """
    names = [o.name for o in found.comparison.study.label_set.organs] if organ is None else [organ]
    ours, base = (_values(found, name) for name in (loss, found.baseline))
    pairs = []
    for patient in sorted({patient for patient, _ in ours}):
        both = [(base.get((patient, name)), ours.get((patient, name))) for name in names]
        known = [(b, o) for b, o in both if b is not None and o is not None]
        baseline, value = mean([b for b, _ in known]), mean([o for _, o in known])
        if baseline is not None and value is not None:
            pairs.append(Pair(patient, baseline, value))
    return tuple(sorted(pairs, key=lambda pair: (pair.difference, pair.patient_id)))


def paired_table(found: Statistics, loss: str, organ: str | None) -> Table | None:
    """The pairs as a table, lowest difference first; None for the baseline itself and where nothing is paired."""
    if loss == found.baseline:
        return None
    rows = tuple(
        Row(
            Header(pair.patient_id),
            (Cell(pair.baseline), Cell(pair.loss), Cell(found.measure.factor * pair.difference, 1)),
        )
        for pair in pairs(found, loss, organ)
    )
    if not rows:
        return None
    title = dict(found.organs).get(organ, organ or "mean of organs")
    return Table(
        f"paired-{organ or 'all'}",
        f"Patient by patient against {found.baseline}, {found.measure.title}, {title}: the difference in the "
        "statistics is the mean of the last column.",
        "patient",
        (Header(found.baseline), Header(loss), Header(f"difference ({found.measure.unit})")),
        (Section("", rows),),
    )


def _values(found: Statistics, loss: str) -> dict[tuple[str, str], float]:
    measure = found.measure
    rows = of_patients(
        found.comparison.scores.filter(
            pl.col("loss") == loss, pl.col("metric") == measure.metric, pl.col("convention") == measure.convention
        )
    ).drop_nulls("value")
    return {
        (row["patient_id"], row["organ"]): row["value"]
        for row in rows.iter_rows(named=True)
        if row["organ"] is not None
    }

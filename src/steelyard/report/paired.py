"""Each patient under a loss and under the baseline: the pairs that stand behind a mean difference."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from steelyard.report.statistics import Statistics
from steelyard.report.table import Cell, Header, Row, Section, Table

MEASURED = ["patient_id", "case_id", "fold", "seed", "organ"]  # what two losses must share to be a pair


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

    A case counts where both losses have a value from the same fold and seed: one that is undefined under one of the
    two is left out under both.
    """
    both = _values(found, found.baseline).join(_values(found, loss), on=MEASURED, suffix="_loss")
    if organ is not None:
        both = both.filter(pl.col("organ") == organ)
    values = pl.col("value", "value_loss").mean()
    means = both.group_by("patient_id", "organ").agg(values).group_by("patient_id").agg(values)
    found_pairs = [Pair(*row) for row in means.select("patient_id", "value", "value_loss").iter_rows()]
    return tuple(sorted(found_pairs, key=lambda pair: (pair.difference, pair.patient_id)))


def paired_table(found: Statistics, loss: str, organ: str | None) -> Table | None:
    """The pairs as a table, lowest difference first; None where the statistics hold no such comparison."""
    if loss not in {d.loss for d in found.of_organ(organ)}:
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


def _values(found: Statistics, loss: str) -> pl.DataFrame:
    measure = found.measure
    organs = [organ.name for organ in found.comparison.study.label_set.organs]
    value = pl.col("value").abs() if measure.better == "nearer_zero" else pl.col("value")  # as the statistics do
    return (
        found.comparison.scores.filter(
            pl.col("loss") == loss,
            pl.col("metric") == measure.metric,
            pl.col("convention") == measure.convention,
            pl.col("case_id").is_not_null() & pl.col("organ").is_in(organs),
        )
        .drop_nulls("value")
        .select(*MEASURED, value)
    )

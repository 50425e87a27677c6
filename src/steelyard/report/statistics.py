"""The statistics that the study wrote beside its runs, as the report shows them; nothing is tested here."""

from __future__ import annotations

from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any, Literal

import polars as pl

from steelyard.metrics import METRICS
from steelyard.metrics.metric import Better
from steelyard.records import read_object, read_table
from steelyard.report.comparison import Comparison
from steelyard.report.metric_tables import titled
from steelyard.report.read import Study

COMPARISONS, RANKS, POWER = "comparisons.parquet", "ranks.parquet", "power.json"
Verdict = Literal["better", "worse", "undecided", "too few"]


@dataclass(frozen=True)
class Measure:
    """What was compared, and how a difference of it is printed: shares of 1 in points, all else in its unit."""

    metric: str
    convention: str

    @property
    def title(self) -> str:
        title = titled(self.metric).title.split(" (")[0]  # without the unit
        return f"size of the {title}" if self.better == "nearer_zero" else title  # signs are dropped before comparing

    @property
    def factor(self) -> float:
        return 100.0 if self._unit == "1" else 1.0

    @property
    def unit(self) -> str:
        return "points" if self._unit == "1" else self._unit

    @property
    def better(self) -> Better:
        return next((m.better for m in self._registered), "higher")

    @property
    def lower_is_better(self) -> bool:
        """Of signed errors the size is compared, so lower is better there."""
        return self.better != "higher"

    @property
    def _unit(self) -> str:
        return next((m.unit for m in self._registered), "1")

    @property
    def _registered(self) -> list[Any]:
        found = [METRICS[name] for name in METRICS if METRICS[name].name == self.metric]
        return [m for m in found if m.convention == self.convention] or found


@dataclass(frozen=True)
class Difference:
    """One comparison of a loss with the baseline on one organ; `organ` None is the mean over organs.

    Values are in the units of `Measure`: points or the metric's own. `undefined` patients had no pair of values. The
    mean over organs, and what the study did not declare, are outside the family: no Holm's p, no verdict.
    """

    loss: str
    organ: str | None
    patients: int
    undefined: int
    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    p_mean: float | None
    p_holm: float | None
    minimum_detectable: float | None
    verdict: Verdict | None
    in_family: bool

    @property
    def interval(self) -> str:
        """`+5.1 (2.0 to 8.3)`, with true minus signs."""
        if self.difference is None:
            return "no value"
        told = f"{self.difference:+.1f}"
        if self.low is not None and self.high is not None:
            told += f" ({self.low:.1f} to {self.high:.1f})"
        return told.replace("-", "−").replace("inf", "∞")


@dataclass(frozen=True)
class Statistics:
    """The comparisons of one network and task: organ by organ in the label set's order, losses in the plan's."""

    comparison: Comparison
    measure: Measure
    baseline: str
    family_size: int
    differences: tuple[Difference, ...]
    ranks: pl.DataFrame
    power: str

    @property
    def family(self) -> tuple[Difference, ...]:
        return tuple(d for d in self.differences if d.in_family)

    def of_organ(self, organ: str | None) -> tuple[Difference, ...]:
        return tuple(d for d in self.differences if d.organ == organ)

    @property
    def left_out(self) -> dict[str, tuple[str, ...]]:
        """Loss → organs that were not compared, since they were not finished on the baseline's folds and seeds."""
        compared = {(d.loss, d.organ) for d in self.differences}
        organs = [organ.name for organ in self.comparison.study.label_set.organs]
        losses = [condition.loss for condition in self.comparison.conditions if condition.loss != self.baseline]
        missing = {loss: tuple(organ for organ in organs if (loss, organ) not in compared) for loss in losses}
        return {loss: lost for loss, lost in missing.items() if lost}

    @property
    def organs(self) -> tuple[tuple[str | None, str], ...]:
        """Names and titles of what was compared, the mean of organs last."""
        every = [(organ.name, organ.title) for organ in self.comparison.study.label_set.organs]
        return tuple(pair for pair in (*every, (None, "mean of organs")) if self.of_organ(pair[0]))


def read_statistics(comparison: Comparison) -> Statistics | None:
    """What the study's files say of this network and task; None where they were not written."""
    study = comparison.study
    table, ranks = _table(study, COMPARISONS), _table(study, RANKS)
    if table is None:
        return None
    own = table.filter(pl.col("network") == comparison.network, pl.col("task") == comparison.task)
    if own.is_empty():
        return None
    first = own.row(0, named=True)
    measure = Measure(first["metric"], first["convention"])
    losses = [condition.loss for condition in comparison.conditions]
    organs = [*(organ.name for organ in study.label_set.organs), None]
    rows = [row for row in own.iter_rows(named=True) if row["loss"] in losses and row["organ"] in organs]
    rows.sort(key=lambda row: (organs.index(row["organ"]), losses.index(row["loss"])))
    if ranks is None:
        ranks = pl.DataFrame(schema={"loss": pl.String, "organ": pl.String, "rank": pl.Float64, "share": pl.Float64})
    else:
        ranks = ranks.filter(pl.col("network") == comparison.network, pl.col("task") == comparison.task)
    return Statistics(
        comparison,
        measure,
        first["baseline"],
        first["family_size"],
        tuple(_difference(row, measure.factor) for row in rows),
        ranks,
        _power(study, comparison),
    )


def _difference(row: dict[str, Any], factor: float) -> Difference:
    def scaled(name: str) -> float | None:
        value = _defined(row[name])
        return None if value is None else factor * value

    return Difference(
        loss=row["loss"],
        organ=row["organ"],
        patients=row["patients"],
        undefined=row["undefined"],
        difference=scaled("mean_difference"),
        low=scaled("low"),
        high=scaled("high"),
        p=_defined(row["p"]),
        p_mean=_defined(row["p_mean"]),
        p_holm=_defined(row["p_holm"]),
        minimum_detectable=scaled("minimum_detectable"),
        verdict=row["verdict"],
        in_family=row["in_family"],
    )


def _defined(value: float | None) -> float | None:
    return None if value is None or isnan(value) else value


def read_declaration(study: Study) -> str:
    """When the study declared what it compares, and whether results could be seen by then; empty in older studies."""
    return str(_power_file(study).get("declaration") or "")


def read_reason(study: Study) -> str:
    """Why the study compared less than it declared, or nothing, in the study's own words; empty without a reason."""
    return str(_power_file(study).get("reason") or "")


def _power(study: Study, comparison: Comparison) -> str:
    groups = _power_file(study).get("groups", [])
    own = (g for g in groups if (g.get("network"), g.get("task")) == (comparison.network, comparison.task))
    return next((str(group.get("sentence", "")) for group in own), "")


def _power_file(study: Study) -> dict[str, Any]:
    path = study.folder / POWER
    return read_object(path) if path.is_file() else {}


def _table(study: Study, name: str) -> pl.DataFrame | None:
    path: Path = study.folder / name
    return read_table(path) if path.is_file() else None

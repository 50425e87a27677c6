"""Losses side by side on one network: which of them may be ranked, and what must be said about them in a table."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cached_property

import polars as pl

from steelyard.metrics.metric import Better
from steelyard.report.links import ALL_ORGANS, cases_link
from steelyard.report.means import ranks
from steelyard.report.read import UNICLASS, Condition, Run, Study
from steelyard.report.table import Cell, Header

IOU = (pl.col("metric") == "iou") & (pl.col("convention") == "counts") & pl.col("organ").is_not_null()


@dataclass(frozen=True)
class Comparison:
    """The losses of one network and task, in the plan's order: the columns of that network's tables."""

    study: Study
    network: str
    task: str

    @cached_property
    def conditions(self) -> tuple[Condition, ...]:
        return tuple(c for c in self.study.conditions if c.group == (self.network, self.task))

    @cached_property
    def ranked(self) -> tuple[bool, ...]:
        """Whether each loss may be ranked: only those finished on the same folds and seeds."""
        comparable = self.study.comparable((self.network, self.task))
        return tuple(condition in comparable for condition in self.conditions)

    @cached_property
    def scores(self) -> pl.DataFrame:
        return self.study.scores.filter(pl.col("network") == self.network, pl.col("task") == self.task)

    @property
    def done(self) -> tuple[Run, ...]:
        return tuple(run for run in self.study.done if (run.network, run.task) == (self.network, self.task))

    @property
    def has_background(self) -> bool:
        """Whether its networks score a background and all classes together; one network per organ does not."""
        return self.task != UNICLASS

    @property
    def headers(self) -> tuple[Header, ...]:
        """The losses' names, with what is missing of them."""
        return tuple(Header(condition.loss, condition.shortfall) for condition in self.conditions)

    @property
    def shortfalls(self) -> str:
        """For the foot of pictures: what a † stands for; empty where no drawn loss lacks a run."""
        lost = [f"{c.loss} ({c.shortfall})" for c in self.conditions if c.done and c.shortfall]
        if not lost:
            return ""
        return f"† and open marks: planned runs are missing, and patients may be with them: {', '.join(lost)}."

    @property
    def title(self) -> str:
        """The network's name, with the task where the study has several."""
        several = len({task for _, task in self.study.groups}) > 1
        return f"{self.network}, {self.task}" if several else self.network

    @property
    def of_title(self) -> str:
        """For captions: ` of <network>` where the study has several, else nothing."""
        return f" of {self.title}" if len(self.study.groups) > 1 else ""

    def named(self, table: str) -> str:
        """A table's file name: unique in the study."""
        return table + ("-" + re.sub(r"[^\w.-]+", "-", self.title).strip("-") if len(self.study.groups) > 1 else "")

    @property
    def extent(self) -> str:
        """For captions: how many cases, patients and runs stand behind the numbers."""
        return extent(self.scores, self.done)

    def values(self, frame: pl.DataFrame, **key: str) -> list[float | None]:
        """One value per loss: the row of `frame` that fits `key`, None where there is none."""
        return [None if row.is_empty() else row["value"].item() for row in self._rows(frame, key)]

    def undefined(self, frame: pl.DataFrame, **key: str) -> list[int]:
        """Per loss, how many values were left out of the row's mean."""
        return [0 if row.is_empty() else int(row["undefined"].item()) for row in self._rows(frame, key)]

    def count(self, frame: pl.DataFrame, **key: str) -> tuple[Cell, ...]:
        """Per loss, the number of rows that fit `key`; a dash for a loss without a finished run."""
        rows = zip(self.conditions, self._rows(frame, key), strict=True)
        return tuple(Cell(float(len(row)), 0) if condition.done else Cell() for condition, row in rows)

    def lowest(self, frame: pl.DataFrame, **key: str) -> tuple[Cell, ...]:
        """Per loss, the lowest of the patients' values, with the patient's id."""
        found = [row.drop_nulls("value").sort("value", "patient_id") for row in self._rows(frame, key)]
        return tuple(Cell(row["value"][0], note=row["patient_id"][0]) if len(row) else Cell() for row in found)

    def places(self, values: list[float | None]) -> list[float | None]:
        """Ranks of the losses that may be ranked, 1 for the highest, ties averaged."""
        found = ranks({str(i): value for i, value in enumerate(values) if self.ranked[i]})
        return [found.get(str(i)) for i in range(len(values))]

    def marked(
        self,
        values: list[float | None],
        undefined: list[int] | None = None,
        *,
        decimals: int = 3,
        better: Better = "higher",
    ) -> tuple[Cell, ...]:
        """Cells with the best of the ranked ones marked: several where they are equal, none where one stands alone.

        None is marked, either, where different numbers of values are undefined (the means are then of different
        patients, and losing an organ may raise them), nor among signed errors, whose mean hides both signs.
        """
        counts = undefined or [0] * len(values)
        sign = -1 if better == "lower" else 1
        places = self.places([None if value is None else sign * value for value in values])
        known = [place for place in places if place is not None]
        alike = len({count for count, ranked in zip(counts, self.ranked, strict=True) if ranked}) == 1
        marks = len(known) > 1 and alike and better != "nearer_zero"
        return tuple(
            Cell(value, decimals, marks and place is not None and place == min(known), count)
            for value, place, count in zip(values, places, counts, strict=True)
        )

    def linked(self, cells: tuple[Cell, ...], organ: str = ALL_ORGANS, *, section: str = "") -> tuple[Cell, ...]:
        """The same cells, one per loss, each with the way to the cases behind its number."""
        pairs = zip(cells, self.conditions, strict=True)
        return tuple(
            cell if cell.value is None else replace(cell, link=cases_link(self.study, condition, section + organ))
            for cell, condition in pairs
        )

    def _rows(self, frame: pl.DataFrame, key: dict[str, str]) -> list[pl.DataFrame]:
        own = frame.filter(*(pl.col(column) == value for column, value in key.items()))
        return [own.filter(pl.col("loss") == condition.loss) for condition in self.conditions]


def comparisons(study: Study) -> tuple[Comparison, ...]:
    """One per network and task, in the plan's order."""
    return tuple(Comparison(study, *group) for group in study.groups)


def extent(scores: pl.DataFrame, done: tuple[Run, ...]) -> str:
    """How many cases, patients and runs stand behind some scores."""
    cases = scores.filter(pl.col("case_id").is_not_null())
    means = ", then the mean over folds and seeds" if len({(run.fold, run.seed) for run in done}) > 1 else ""
    count = f"{cases['case_id'].n_unique()} cases of {cases['patient_id'].n_unique()} patients"
    return f"{count}, {len(done)} finished run{'' if len(done) == 1 else 's'}{means}"


def notes(study: Study, along: str | None) -> tuple[str, ...]:
    """What the marks of a table mean; `along` names what the best is marked in, `row` or `column`."""
    found = []
    if along and any(len(study.comparable(group)) > 1 for group in study.groups):
        scope = " of its network" if along == "column" and len(study.groups) > 1 else ""
        found.append(f"Bold: best in its {along}{scope}; no test stands behind it.")
    if any(condition.shortfall for condition in study.conditions):
        found.append(
            "†: planned runs are missing; ranked only beside losses that were finished on the same folds and seeds."
        )
    return tuple(found)

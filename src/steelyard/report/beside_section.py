"""This study beside another one: which settings differ, and how many points of IoU they are worth."""

from __future__ import annotations

import os
from dataclasses import dataclass
from math import inf
from typing import Any

import polars as pl

from steelyard.errors import BadData
from steelyard.records import read_table
from steelyard.report.comparison import IOU, Comparison, comparisons
from steelyard.report.links import ALL_ORGANS, cases_link
from steelyard.report.means import mean, pooled
from steelyard.report.read import Condition, Study
from steelyard.report.table import Cell, Header, Row, Section, Table
from steelyard.report.wording import flattened

FILE = "beside.parquet"
# What changes no result of a run. Of a grid that lists other networks or losses, the shared ones alone are paired; of
# other folds in use, the shared cases.
NO_SETTINGS = {"study": None, "compare": None, "crf": None, "grid": ("network", "loss", "task"), "folds": ("use",)}
OTHER_CASES = "other cases"


@dataclass(frozen=True)
class Beside:
    """`settings` are (name, here, there) where the two studies differ; `sentences` say what that is worth."""

    other: str
    settings: tuple[tuple[str, str, str], ...]
    sentences: tuple[str, ...]
    tables: tuple[Table, ...]


def beside_section(study: Study, other: Study) -> Beside:
    """All that both studies have, as tables per network and task, from the runs' scores and `<study>/beside.parquet`.

    Raises BadData where that file is missing, damaged or of another pair of studies.
    """
    found = _read(study, other)
    settings = different_settings(study, other)
    there = {(c.network, c.task): c for c in comparisons(other)}
    tables, sentences = [], []
    for comparison in comparisons(study):
        rival = there.get((comparison.network, comparison.task))
        own = found.filter(pl.col("network") == comparison.network, pl.col("task") == comparison.task)
        if rival is not None and len(own):
            tables.append(_table(comparison, rival, own))
            sentences.append(_sentence(comparison, own, settings))
    return Beside(other.name, settings, tuple(sentences), tuple(tables))


def different_settings(study: Study, other: Study) -> tuple[tuple[str, str, str], ...]:
    """Name, value here and value there of every setting that could change a result and is not the same in both."""
    here, there = (dict(flattened(_that_change_results(one.spec))) for one in (study, other))
    names = [name for name in (here | there) if here.get(name) != there.get(name)]
    return tuple((name, here.get(name, "not set"), there.get(name, "not set")) for name in names)


def _sentence(comparison: Comparison, own: pl.DataFrame, settings: tuple[tuple[str, str, str], ...]) -> str:
    row = own.filter(pl.col("loss").is_null()).row(0, named=True)
    losses = own.drop_nulls("loss")["loss"].n_unique()
    over = f"the mean over {losses} losses, " if losses > 1 else ""
    splits = next(((here, there) for name, here, there in settings if name == "folds by"), None)
    sign = -1 if splits == ("sequence", "patient") else 1
    ends = (-inf if row["low"] is None else row["low"], inf if row["high"] is None else row["high"])
    low, high = sorted(100 * sign * end for end in ends)
    points = f"{100 * sign * row['mean_difference']:+.1f}".replace("-", "−")
    interval = f"{low:.1f} to {high:.1f}".replace("-", "−").replace("inf", "∞")
    counted = f"{over}{row['patients']} patients in pairs, 95 % interval {interval}"
    where = f"On {comparison.title}: "
    if splits in (("patient", "sequence"), ("sequence", "patient")) and len(settings) == 1:
        unsure = " The interval holds 0: it may be none." if low <= 0 <= high else ""
        return f"{where}{points} points of the mean organ IoU are leakage ({counted}).{unsure}"
    return f"{where}there, the mean organ IoU differs by {points} points ({counted})."


def _table(comparison: Comparison, rival: Comparison, own: pl.DataFrame) -> Table:
    names = (comparison.study.name, rival.study.name)
    columns = (*names, "difference, pooled", "difference, patients", "95 % from", "to", "patients")
    theirs = {condition.loss: condition for condition in rival.conditions if condition.done}
    both = [(c, theirs[c.loss]) for c in comparison.conditions if c.done and c.loss in theirs]
    return Table(
        comparison.named("beside"),
        f"{names[0]} beside {names[1]}{comparison.of_title}: IoU pooled over the held-out voxels of a run, and the "
        "mean difference of the patients, paired. Differences are there less here, in points.",
        "organ",
        tuple(map(Header, columns)),
        tuple(_section((comparison, rival), pair, own.filter(pl.col("loss") == pair[0].loss)) for pair in both),
        (
            "Interval: studentised bootstrap over patients. No test: two studies are no declared family.",
            f"{OTHER_CASES.capitalize()}: the two pooled values are of different cases, and are not subtracted; the "
            "patients' difference is of the cases of both.",
        ),
    )


def _section(two: tuple[Comparison, Comparison], pair: tuple[Condition, Condition], own: pl.DataFrame) -> Section:
    study, other = (one.study for one in two)
    ious = [pooled(one.scores.filter(IOU, pl.col("loss") == pair[0].loss)) for one in two]
    values = {o.name: [_value(iou, o.name) for iou in ious] for o in study.label_set.organs}
    shares = {name: [_shares(one, pair[0].loss, name) for one in two] for name in values}
    alike = {name: here == there for name, (here, there) in shares.items()}
    values[ALL_ORGANS] = [mean(list(column)) for column in zip(*values.values(), strict=True)]
    alike[ALL_ORGANS] = all(alike.values())
    rows = []
    for name, title in [*((o.name, o.title) for o in study.label_set.organs), (ALL_ORGANS, "average of organs")]:
        organ = None if name == ALL_ORGANS else name
        paired = own.filter(pl.col("organ").eq_missing(pl.lit(organ, dtype=pl.String)))
        links = (cases_link(study, pair[0], name), _link_there(study, other, pair[1], name))
        rows.append(Row(Header(title), _cells(values[name], alike[name], links, paired), summary=organ is None))
    lost = [f"{one.name}: {c.shortfall}" for one, c in zip((study, other), pair, strict=True) if c.shortfall]
    return Section(pair[0].loss + (f" († {'; '.join(lost)})" if lost else ""), tuple(rows))


def _cells(
    values: list[float | None], same_cases: bool, links: tuple[str, str], paired: pl.DataFrame
) -> tuple[Cell, ...]:
    here, there = values
    cells = [Cell(value, link=link if value is not None else "") for value, link in zip(values, links, strict=True)]
    if here is None or there is None:
        cells.append(Cell())
    else:
        cells.append(Cell(100 * (there - here), 1) if same_cases else Cell(word=OTHER_CASES))
    if paired.is_empty():
        return (*cells, *(Cell() for _ in range(4)))
    row = paired.row(0, named=True)
    ends = (row[name] for name in ("mean_difference", "low", "high"))
    cells += [Cell(None if end is None else 100 * end, 1) for end in ends]
    return (*cells, Cell(row["patients"], 0))


def _shares(comparison: Comparison, loss: str, organ: str) -> dict[str, float]:
    """Case → its share among all that were scored for the organ, over folds and seeds."""
    own = comparison.scores.filter(IOU, pl.col("loss") == loss, pl.col("organ") == organ).drop_nulls("case_id")
    return {case: count / len(own) for case, count in own.group_by("case_id").len().iter_rows()}


def _value(ious: pl.DataFrame, organ: str) -> float | None:
    row = ious.filter(pl.col("organ") == organ)
    return None if row.is_empty() else row["value"].item()


def _link_there(study: Study, other: Study, condition: Condition, section: str) -> str:
    """The way to the other study's own page of cases, where its report was written."""
    link = cases_link(other, condition, section)
    page = other.folder / "report" / link.split("#")[0]
    if not link or not page.is_file():
        return ""
    return f"{os.path.relpath(other.folder / 'report', study.folder / 'report')}/{link}".replace(os.sep, "/")


def _that_change_results(spec: dict[str, Any]) -> dict[str, Any]:
    """The spec without `NO_SETTINGS`."""
    kept = {}
    for key, value in spec.items():
        left_out = NO_SETTINGS.get(key, ())
        if left_out is not None:
            is_table = isinstance(value, dict)
            kept[key] = {k: v for k, v in value.items() if k not in left_out} if is_table else value
    return kept


def _read(study: Study, other: Study) -> pl.DataFrame:
    path = study.folder / FILE
    found = read_table(path, remedy="Ask for the report beside the other study again.")
    pair = set(found.select("study", "other").unique().rows())
    if pair - {(study.name, other.name)}:
        raise BadData(f"{path}: {study.name} beside {other.name} was wanted, came {pair}. Ask for the report again.")
    return found

"""The sections of the paper's page: which study fills which table, what is paired, and what is said to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from steelyard.report.paper_gains import paired_table
from steelyard.report.paper_tables import literature_table, side_by_side
from steelyard.report.table import Table
from steelyard.scores import SCHEMA
from steelyard.study.paper.paired import paired_differences
from steelyard.study.paper.printed import NOT_AT_HAND, ORGANS, PrintedTable
from steelyard.study.paper.reproduce import Interval, Ours, permuted


@dataclass(frozen=True)
class Part:
    """A section of the page: a table of the paper, in one or more readings."""

    name: str
    title: str
    link: str
    tables: tuple[Table, ...]
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Partner:
    """Two studies that differ in one thing, or what has to be run before they can be compared."""

    title: str
    table: Table | None
    missing: str


@dataclass(frozen=True)
class Pair:
    """What two studies, or two tasks of one, differ in, and how the two are called."""

    title: str
    study: str
    partner: str
    called: tuple[str, str]
    partner_task: str = "multiclass"


PAIRS = {
    "augmentation": Pair(
        "Augmentation, which the paper calls what helped most",
        "augmentation-off", "table3", ("without augmentation", "with augmentation"),
    ),
    "leak": Pair(
        "The leak of the split by sequence", "table3", "sequence-split", ("split by patient", "split by sequence")
    ),
    "task": Pair(
        "One network per organ against one for all", "table4", "table4", ("multiclass", "uniclass"), "uniclass"
    ),
}  # fmt: skip


HEADLINE_WORDS = (
    "The paper gains 2 to 11 points of IoU per organ over base crossE, 22 points summed over four organs. Its organ "
    "averages give the sum back: four times (.870 − .815) is 22 points, which is iou0515 against crossE. Ours is "
    "worked out in the same way, over base crossE and, since the printed precision and recall fit an unweighted "
    "baseline, over cross_entropy too."
)
WORDS = {
    "table2": (
        "The paper's caption says base crossE. Ours has both readings: crossE (weighted by inverse frequency) and "
        "cross_entropy (unweighted)."
    ),
    "table3": (
        "The paper prints a rank of 9 among six losses; ours shares the places of equal values and runs from 1 to 6."
    ),
    "table3-permuted": (
        "The other reading: the paper lists liver, spleen, right kidney, left kidney, while CHAOS's grey values rise "
        "from liver (63) over right kidney (126) and left kidney (189) to spleen (252). If names were put over columns "
        "in that order, the printed spleen is the right kidney, the printed right kidney the left one, and the printed "
        "left kidney the spleen. Averages stay as they are."
    ),
    "table3-fcn": "The paper trained its FCN with every loss and shows no table of it.",
    "table4": (
        "The paper's averages hold the background. Ours of single-organ networks have none: nothing is merged, so "
        "there is no common background; the averages of the organs alone compare like with like."
    ),
}


def readings_of(printed: Mapping[str, PrintedTable]) -> dict[str, tuple[PrintedTable, str]]:
    """Tables of the page → printed table and the study that gives ours."""
    third = printed["table3"]
    unprinted = PrintedTable("table3", "Table 3 for the FCN", third.source, "", (), third.rows, {})
    return {
        "table1": (printed["table1"], "table1"),
        "table2": (printed["table2"], "table2"),
        "table3": (third, "table3"),
        "table3-permuted": (permuted(third), "table3"),
        "table3-fcn": (unprinted, "table3-fcn"),
        "table4": (printed["table4"], "table4"),
    }


def table_parts(readings: Mapping[str, tuple[PrintedTable, str]], cells: Mapping[str, pl.DataFrame]) -> list[Part]:
    parts = []
    for name, (table, _) in readings.items():
        rows: tuple[str, ...] = ()
        if name == "table3-permuted":
            title, link, rows = f"{table.title}, three columns permuted", "permuted", ORGANS
        else:
            title, link = table.title, table.title.split(":")[0].split(" (")[0]
        if cells[name].is_empty():
            parts.append(Part(name, title, link, (), (*_said(name), "Not run yet.")))
        else:
            parts.append(
                Part(name, title, link, (side_by_side(table, cells[name], name, title=title, rows=rows),), _said(name))
            )
    return parts


def _said(name: str) -> tuple[str, ...]:
    return (WORDS[name],) if name in WORDS else ()


def literature_parts(printed: Mapping[str, PrintedTable]) -> list[Part]:
    parts = []
    for name in ("table5", "table6"):
        table = literature_table(printed[name])
        words = () if table else (f"{printed[name].title}: {NOT_AT_HAND}. {printed[name].note}",)
        parts.append(
            Part(name, printed[name].title, printed[name].title.split(":")[0], (table,) if table else (), words)
        )
    return parts


def pairs_of(ours: Mapping[str, Ours], interval: Interval) -> dict[str, pl.DataFrame]:
    nothing = Ours(pl.DataFrame(schema=SCHEMA), (), ORGANS)
    return {
        name: paired_differences(
            name,
            ours.get(pair.study, nothing),
            ours.get(pair.partner, nothing),
            interval,
            partner_task=pair.partner_task,
        )
        for name, pair in PAIRS.items()
    }


def partners_of(pairs: Mapping[str, pl.DataFrame]) -> list[Partner]:
    found = []
    for name, pair in PAIRS.items():
        first, second = pair.called
        caption = f"{pair.title}: IoU {second} against {first}, patient by patient on the cases that both have scored."
        table = None if pairs[name].is_empty() else paired_table(name, caption, pairs[name], first, second)
        needed = " and ".join(dict.fromkeys((pair.study, pair.partner)))
        found.append(Partner(pair.title, table, f"Not run yet: this needs finished runs of {needed}."))
    return found

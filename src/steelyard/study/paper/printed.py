"""The paper's tables as printed: every cell a number with its source, or a word for why there is none."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from steelyard.errors import BadData

FILE = Path(__file__).with_name("printed.toml")
NOT_AT_HAND = "not at hand"  # the paper prints a number here that nobody has copied from it yet
NOT_PRINTED = "not printed"  # the paper prints none
WORKED_OUT = "worked out from the cells above"

LOSSES = ("crossE", "iou11", "iou1505", "iou0515", "dice", "diceBK")  # the paper's six
BASE = "crossE"
ORGANS = ("liver", "spleen", "right_kidney", "left_kidney")  # in the order in which the paper lists them
AVERAGE = "average"  # the paper's: with the background
ORGAN_AVERAGE = "average_of_organs"
RANK = "rank"
COUNTS = {RANK}  # rows that are no shares

# Cells are printed with two decimals: a mean of them may be off by half of the last one, and itself be rounded.
AVERAGE_TOLERANCE = 0.01
ORGAN_AVERAGE_TOLERANCE = 0.00051  # worked out from the printed cells: its third decimal is rounded
BACKGROUND_TOLERANCE = 0.03  # 5 × half of the average's last decimal, 4 × that of the organs' mean


@dataclass(frozen=True)
class Printed:
    """One cell: `value` and where it was read, or None and the word to show in its place."""

    value: float | None
    word: str
    source: str


@dataclass(frozen=True)
class PrintedTable:
    """One of the paper's tables. `note` says what must be known about it; rows and columns are in the page's order."""

    name: str
    title: str
    source: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[str, ...]
    cells: Mapping[tuple[str, str], Printed]

    def cell(self, row: str, column: str) -> Printed:
        """The cell; `not printed` for a row or column that the paper's table does not have."""
        return self.cells.get((row, column), Printed(None, NOT_PRINTED, self.source))


@dataclass(frozen=True)
class Fact:
    """A number that the paper states outside its tables."""

    says: str
    value: float
    source: str


def printed_tables() -> Mapping[str, PrintedTable]:
    """`table1` … `table6` as the paper prints them, as far as they are at hand.

    Raises:
        BadData: a cell is neither number nor word, is missing, or disagrees with an average of its column.
    """
    return read_printed(FILE)[0]


def printed_facts() -> Mapping[str, Fact]:
    """What the paper states outside its tables, by name."""
    return read_printed(FILE)[1]


@cache
def read_printed(path: Path) -> tuple[Mapping[str, PrintedTable], Mapping[str, Fact]]:
    """Tables and facts of a file in the manner of `printed.toml`, checked; errors as `printed_tables`."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadData(f"{path}: TOML with the paper's tables was wanted ({error}). Mend the file.") from error
    try:
        facts = {name: Fact(**entry) for name, entry in content["facts"].items()}
        tables = {name: _table(name, entry, path) for name, entry in content["tables"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise BadData(f"{path}: a key is missing or of the wrong kind ({error}). Mend the file.") from error
    for table in tables.values():
        for column in table.columns:
            _check_averages(table, column, path)
    return tables, facts


def _table(name: str, entry: dict[str, Any], path: Path) -> PrintedTable:
    columns = tuple(entry["columns"])
    cells = {}
    for row, given in entry.get("rows", {}).items():
        values = {key: value for key, value in given.items() if key != "source"}
        if set(values) != set(columns):
            odd = ", ".join(sorted(set(values) ^ set(columns)))
            raise BadData(
                f"{path}: {name}, {row}: one value per column was wanted; missing or unknown: {odd}. "
                f'Where none was copied, write "{NOT_AT_HAND}".'
            )
        source = given.get("source", entry["source"])
        for column in columns:
            cells[row, column] = _cell(values[column], row, source, f"{path}: {name}, {row}, {column}")
    for column in columns if ORGAN_AVERAGE in entry.get("rows", {}) else ():
        known = [value for organ in ORGANS if (value := cells[organ, column].value) is not None]
        if cells[ORGAN_AVERAGE, column].value is None and len(known) == len(ORGANS):
            cells[ORGAN_AVERAGE, column] = Printed(sum(known) / len(known), "", WORKED_OUT)
    return PrintedTable(
        name, entry["title"], entry["source"], entry.get("note", ""), columns, tuple(entry.get("rows", {})), cells
    )


def _cell(given: object, row: str, source: str, place: str) -> Printed:
    if given in (NOT_AT_HAND, NOT_PRINTED):
        return Printed(None, str(given), source)
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise BadData(f'{place}: a number, "{NOT_AT_HAND}" or "{NOT_PRINTED}" was wanted; came {given!r}. Mend it.')
    if row not in COUNTS and not 0 <= given <= 1:
        raise BadData(f"{place}: a share from 0 to 1 was wanted; came {given}. Divide percentages by 100.")
    return Printed(float(given), "", source)


def _check_averages(table: PrintedTable, column: str, path: Path) -> None:
    """Where an average and what it is the mean of are both known, they must agree to their rounding."""
    organs = [table.cell(organ, column).value for organ in ORGANS]
    background = table.cell("background", column).value
    average, organ_average = table.cell(AVERAGE, column).value, table.cell(ORGAN_AVERAGE, column).value
    place = f"{path}: {table.name}, {column}"
    for name, said, parts, tolerance in (
        (AVERAGE, average, [background, *organs], AVERAGE_TOLERANCE),
        (ORGAN_AVERAGE, organ_average, organs, ORGAN_AVERAGE_TOLERANCE),
    ):
        known = [part for part in parts if part is not None]
        if said is not None and len(known) == len(parts) and abs(said - sum(known) / len(known)) > tolerance:
            raise BadData(f"{place}: {name} is {said}, but its cells give {sum(known) / len(known):.4f}. Check them.")
    if average is not None and organ_average is not None:
        implied = (len(ORGANS) + 1) * average - len(ORGANS) * organ_average
        if not -BACKGROUND_TOLERANCE <= implied <= 1 + BACKGROUND_TOLERANCE:
            raise BadData(
                f"{place}: {AVERAGE} {average} and {ORGAN_AVERAGE} {organ_average} ask for a background of "
                f"{implied:.3f}, which no IoU can be. Check them."
            )

"""The paper's tables and ours side by side: as printed, ours with intervals, and the difference."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from steelyard.report.table import DASH, Cell, Header, Row, Section, Table
from steelyard.study.paper.printed import AVERAGE, LOSSES, ORGAN_AVERAGE, RANK, PrintedTable
from steelyard.study.paper.reproduce import FEWER, NOT_RUN, ORGAN_RANK, UNDEFINED

TITLES = {
    AVERAGE: "average, background included (as the paper's)",
    ORGAN_AVERAGE: "average of the organs alone",
    RANK: "rank by the average with background, ties averaged",
    ORGAN_RANK: "rank by the average of the organs, ties averaged",
    "mean_iou": "mean IoU",
    "weighted_iou": "weighted IoU",
    "mean_bf_score": "mean BF score",
}
RANKS = (RANK, ORGAN_RANK)
INTERVAL_NOTE = "Brackets: 95 % interval of the mean over patients, each once (studentised bootstrap)."


@dataclass(frozen=True)
class WordCell(Cell):
    """A number, or the word that stands in its place; `signed` shows a plus."""

    signed: bool = False

    @property
    def number(self) -> str:
        if self.value is None:
            return self.note or DASH
        return ("+" if self.signed and self.value > 0 else "") + super().number

    @property
    def remark(self) -> str:
        return "" if self.value is None else super().remark


def side_by_side(
    printed: PrintedTable, cells: pl.DataFrame, name: str, *, title: str, rows: tuple[str, ...] = ()
) -> Table:
    """Up to four lines per row of the paper's table: printed, ours pooled, their difference, ours per patient.

    Lines of ours are left out while no column of the table was run, the difference where no printed value is known.

    `cells` are those of `reproduce_table`; `rows` picks some of them, all when left out.
    """
    columns = cells["column"].unique(maintain_order=True).to_list()
    shown = [row for row in cells["row"].unique(maintain_order=True) if not rows or row in rows]
    sections = [
        Section(row_title(row), _lines(printed, row, [_at(cells, row, column) for column in columns])) for row in shown
    ]
    headers = tuple(
        Header(_header(printed, column), _remark(printed, cells.filter(pl.col("column") == column)))
        for column in columns
    )
    return Table(
        name,
        f"{title}. Printed, ours pooled over the held-out voxels of a run (mean over folds and seeds), "
        "the difference ours − printed, and ours by patient (the mean over patients).",
        "",
        headers,
        tuple(sections),
        tuple(note for note in (printed.note, INTERVAL_NOTE, *_derived(printed, cells)) if note),
    )


def literature_table(printed: PrintedTable) -> Table | None:
    """Values of other works with their sources; None while no row of the table is at hand."""
    if not printed.rows:
        return None
    rows = []
    for row in printed.rows:
        cells = [printed.cell(row, column) for column in printed.columns]
        rows.append(Row(Header(row_title(row), cells[0].source), tuple(_printed(c.value, c.word) for c in cells)))
    columns = tuple(Header(row_title(column)) for column in printed.columns)
    return Table(printed.name, f"{printed.title}, as given.", "work", columns, (Section("", tuple(rows)),))


def _header(printed: PrintedTable, column: str) -> str:
    return row_title(column) if printed.name == "table1" else column  # the networks' names are wide: let them break


def _lines(table: PrintedTable, row: str, cells: list[dict[str, object]]) -> tuple[Row, ...]:
    ranked = row in RANKS
    sources = {str(c["printed_source"]) for c in cells if c["printed"] is not None} - {table.source}
    given = "printed" if not sources else "worked out" if all(s.startswith("worked out") for s in sources) else "stated"
    printed = tuple(_printed(c["printed"], str(c["printed_word"]), ranked=ranked) for c in cells)
    ours = tuple(_ours(c, c["ours"], ranked=ranked) for c in cells)
    lines = [Row(Header(given), printed)]
    if any(c["ran"] for c in cells):
        lines.append(Row(Header(_ranked_title(cells) if ranked else "ours, pooled"), ours))
        if any(c["difference"] is not None for c in cells):
            lines.append(Row(Header("difference"), tuple(_difference(c) for c in cells)))
        if not ranked:
            lines.append(Row(Header("by patient"), tuple(_of_patients(c) for c in cells)))
    return tuple(lines)


def _ranked_title(cells: list[dict[str, object]]) -> str:
    among = sum(cell["ours"] is not None for cell in cells)
    return "ours" if among == len(LOSSES) else f"ours, among {among} losses"


def _printed(value: object, word: str, *, ranked: bool = False) -> WordCell:
    if not isinstance(value, float):
        return WordCell(note=word)
    return WordCell(value, _rank_decimals(value) if ranked else min(4, max(2, len(repr(value).split(".")[-1]))))


def _ours(cell: dict[str, object], value: object, *, ranked: bool = False) -> WordCell:
    if not isinstance(value, float):
        return WordCell(note=NOT_RUN if not cell["ran"] else UNDEFINED if not ranked else "not ranked")
    return WordCell(value, _rank_decimals(value) if ranked else 3)


def _difference(cell: dict[str, object]) -> WordCell:
    value = cell["difference"]
    if isinstance(value, float):
        return WordCell(value, 1 if cell["row"] in RANKS else 3, signed=True)
    return WordCell(note=NOT_RUN if not cell["ran"] else str(cell["printed_word"]) or UNDEFINED)


def _of_patients(cell: dict[str, object]) -> WordCell:
    value = cell["patient_mean"]
    if not isinstance(value, float):
        return WordCell(note=NOT_RUN if not cell["ran"] else "pooled only")
    return WordCell(value, note=bounds_text(cell["low"], cell["high"]))


def _rank_decimals(value: float) -> int:
    return 0 if value == round(value) else 1


def bounds_text(low: object, high: object, decimals: int = 3) -> str:
    if not isinstance(low, float) or not isinstance(high, float):
        return "no interval: too few patients"
    return f"[{low:.{decimals}f}, {high:.{decimals}f}]".replace("-", "−")


def _at(cells: pl.DataFrame, row: str, column: str) -> dict[str, object]:
    own = cells.filter(pl.col("column") == column)
    ran = own["ours"].is_not_null().any()
    return own.filter(pl.col("row") == row).row(0, named=True) | {"ran": ran}


def _remark(printed: PrintedTable, column: pl.DataFrame) -> str:
    words = [] if column["column"][0] in printed.columns else ["not in the paper"]
    if column["ours"].is_null().all():
        words.append(NOT_RUN)
    elif not column["complete"].all():
        words.append(f"{FEWER}: not ranked")
    return "; ".join(words)


def _derived(printed: PrintedTable, cells: pl.DataFrame) -> list[str]:
    """How those values came about that the paper does not print itself."""
    known = cells.drop_nulls("printed").select("row", "printed_source").unique(maintain_order=True)
    return [
        f"The {row_title(row).split(',')[0]} is {source}."
        for row, source in known.iter_rows()
        if source != printed.source
    ]


def row_title(row: str) -> str:
    return TITLES.get(row, row.replace("_", " "))

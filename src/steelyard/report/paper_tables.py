"""The paper's tables and ours side by side: as printed, ours with intervals, and the difference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from steelyard.report.table import DASH, Cell, Header, Row, Section, Table
from steelyard.study.paper.printed import AVERAGE, NOT_AT_HAND, ORGAN_AVERAGE, RANK, Fact, PrintedTable
from steelyard.study.paper.reproduce import ORGAN_RANK

NOT_RUN = "not run"
UNDEFINED = "not defined"
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


def side_by_side(printed: PrintedTable, cells: pl.DataFrame, name: str, *, rows: tuple[str, ...] = ()) -> Table:
    """Four lines per row of the paper's table: printed, ours pooled, their difference, ours per patient.

    `cells` are those of `reproduce_table`; `rows` picks some of them, all when left out.
    """
    columns = cells["column"].unique(maintain_order=True).to_list()
    shown = [row for row in cells["row"].unique(maintain_order=True) if not rows or row in rows]
    sections = [Section(_title(row), _lines(row, [_at(cells, row, column) for column in columns])) for row in shown]
    headers = tuple(Header(column, _remark(printed, cells.filter(pl.col("column") == column))) for column in columns)
    return Table(
        name,
        f"{printed.title}. Printed, ours pooled over the held-out voxels of a run (mean over folds and seeds), "
        "the difference ours − printed, and ours per patient.",
        "",
        headers,
        tuple(sections),
        tuple(note for note in (printed.note, INTERVAL_NOTE, *_sources(cells)) if note),
    )


def literature_table(printed: PrintedTable) -> Table | None:
    """Values of other works with their sources; None while no row of the table is at hand."""
    if not printed.rows:
        return None
    rows = []
    for row in printed.rows:
        cells = [printed.cell(row, column) for column in printed.columns]
        rows.append(Row(Header(_title(row), cells[0].source), tuple(_printed(c.value, c.word) for c in cells)))
    columns = tuple(Header(_title(column)) for column in printed.columns)
    return Table(printed.name, f"{printed.title}, as given.", "work", columns, (Section("", tuple(rows)),))


def gain_table(gains: pl.DataFrame, facts: Mapping[str, Fact]) -> Table:
    """The headline: per organ the best loss above the base, the least, the most and the sum of these gains."""
    sides = _sides(gains)
    organs = gains.filter(pl.col("kind") == "organ")["organ"].unique(maintain_order=True)
    rows = [
        Row(Header(_title(organ)), tuple(_gain(gains, side, base, "organ", organ, None) for side, base in sides))
        for organ in organs
    ]
    summary = [
        Row(
            Header(title),
            tuple(
                _gain(
                    gains, side, base, kind, None, facts[f"headline_{kind}_points"].value if side == "printed" else None
                )
                for side, base in sides
            ),
            summary=True,
        )
        for kind, title in (("least", "least of these"), ("most", "most of these"), ("sum", "sum over the organs"))
    ]
    return Table(
        "headline",
        "Points of IoU (100 × the difference) that the best of the paper's other losses gains over the base, per organ "
        "and summed.",
        "organ",
        _side_headers(sides),
        (Section("", tuple(rows)), Section("", tuple(summary))),
        (
            "The best of several losses is chosen on the very scores it is judged by, so these gains lean upwards even "
            "where no loss is better; no interval covers that choice.",
            "Printed least, most and sum are the paper's own statement where its cells are not at hand.",
        ),
    )


def loss_gain_table(gains: pl.DataFrame) -> Table:
    """One loss in all organs against the base, summed over the organs."""
    sides = _sides(gains)
    rows = []
    for loss in gains.filter(pl.col("kind") == "loss")["loss"].unique(maintain_order=True):
        cells = []
        for side, base in sides:
            found = gains.filter(
                pl.col("side") == side, pl.col("base") == base, pl.col("kind") == "loss", pl.col("loss") == loss
            )
            row = found.row(0, named=True) if len(found) else {"points": None, "low": None, "high": None}
            missing = NOT_AT_HAND if side == "printed" else NOT_RUN
            note = missing if row["points"] is None else _bounds(row["low"], row["high"], 1)
            cells.append(WordCell(row["points"], 1, note=note, signed=True))
        rows.append(Row(Header(loss), tuple(cells)))
    return Table(
        "headline-losses",
        "Points of IoU that one loss gains over the base, summed over the organs: pooled, with the 95 % interval of the "
        "patients' sums.",
        "loss",
        _side_headers(sides),
        (Section("", tuple(rows)),),
        ("Printed: worked out from the organ averages of table 3, times four organs.",),
    )


def paired_table(name: str, caption: str, pairs: pl.DataFrame, first: str, second: str) -> Table:
    """IoU of `first` and `second` patient by patient, one column per loss."""
    columns = pairs.select("network", "loss").unique(maintain_order=True).rows()
    several = len({network for network, _ in columns}) > 1
    sections = []
    for organ in pairs["organ"].unique(maintain_order=True).to_list():
        found = [
            pairs.filter(
                pl.col("network") == network, pl.col("loss") == loss, pl.col("organ").eq_missing(pl.lit(organ))
            )
            for network, loss in columns
        ]
        each = [frame.row(0, named=True) if len(frame) else None for frame in found]
        lines = {
            f"{first}, mean over patients": [_word(r and r["mean"]) for r in each],
            f"{second}, mean over patients": [_word(r and r["partner_mean"]) for r in each],
            f"{second} − {first}": [
                WordCell(r["difference"], note=_bounds(r["low"], r["high"]), signed=True) if r else _word(None)
                for r in each
            ],
            f"{second} − {first}, pooled": [_word(r and r["pooled_difference"], signed=True) for r in each],
            "patients": [WordCell(r["patients"] if r else None, 0, note="" if r else NOT_RUN) for r in each],
        }
        title = "mean of the organs" if organ is None else _title(organ)
        sections.append(Section(title, tuple(Row(Header(label), tuple(cells)) for label, cells in lines.items())))
    headers = tuple(Header(f"{network}, {loss}" if several else loss) for network, loss in columns)
    return Table(
        name,
        caption,
        "IoU",
        headers,
        tuple(sections),
        (
            "Brackets: 95 % interval of the patients' mean difference (studentised bootstrap); no test stands behind it.",
        ),
    )


def _lines(row: str, cells: list[dict[str, object]]) -> tuple[Row, ...]:
    ranked = row in RANKS
    printed = tuple(_printed(c["printed"], str(c["printed_word"]), ranked=ranked) for c in cells)
    ours = tuple(_ours(c, c["ours"], ranked=ranked) for c in cells)
    lines = [Row(Header("printed"), printed), Row(Header("ours, pooled" if not ranked else "ours"), ours)]
    if not ranked:
        lines += [
            Row(Header("difference"), tuple(_difference(c) for c in cells)),
            Row(Header("ours, mean over patients"), tuple(_of_patients(row, c) for c in cells)),
        ]
    return tuple(lines)


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
    return WordCell(value, signed=True) if isinstance(value, float) else WordCell(note="no difference")


def _of_patients(row: str, cell: dict[str, object]) -> WordCell:
    value = cell["patient_mean"]
    if not isinstance(value, float):
        return WordCell(note=NOT_RUN if not cell["ran"] else "not scored per patient")
    return WordCell(value, note=_bounds(cell["low"], cell["high"]))


def _rank_decimals(value: float) -> int:
    return 0 if value == round(value) else 1


def _bounds(low: object, high: object, decimals: int = 3) -> str:
    if not isinstance(low, float) or not isinstance(high, float):
        return "no interval: too few patients"
    return f"[{low:.{decimals}f}, {high:.{decimals}f}]".replace("-", "−")


def _word(value: object, *, signed: bool = False) -> WordCell:
    return WordCell(value, signed=signed) if isinstance(value, float) else WordCell(note=NOT_RUN)


def _at(cells: pl.DataFrame, row: str, column: str) -> dict[str, object]:
    own = cells.filter(pl.col("column") == column)
    ran = own["ours"].is_not_null().any()
    return own.filter(pl.col("row") == row).row(0, named=True) | {"ran": ran}


def _remark(printed: PrintedTable, column: pl.DataFrame) -> str:
    words = [] if column["column"][0] in printed.columns else ["not in the paper"]
    if column["ours"].is_null().all():
        words.append(NOT_RUN)
    elif not column["complete"].all():
        words.append("fewer runs finished: not ranked")
    return "; ".join(words)


def _sources(cells: pl.DataFrame) -> list[str]:
    known = cells.drop_nulls("printed").select("row", "printed_source").unique(maintain_order=True)
    return [f"{_title(row)}: {source}.".replace("..", ".") for row, source in known.iter_rows()]


def _title(row: str) -> str:
    return TITLES.get(row, row.replace("_", " "))


def _sides(gains: pl.DataFrame) -> list[tuple[str, str]]:
    return [(str(side), str(base)) for side, base in gains.select("side", "base").unique(maintain_order=True).rows()]


def _side_headers(sides: list[tuple[str, str]]) -> tuple[Header, ...]:
    return tuple(Header(f"{side}, over {'base crossE' if base == 'crossE' else base}") for side, base in sides)


def _gain(gains: pl.DataFrame, side: str, base: str, kind: str, organ: str | None, stated: float | None) -> WordCell:
    row = gains.filter(
        pl.col("side") == side, pl.col("base") == base, pl.col("kind") == kind,
        pl.col("organ").eq_missing(pl.lit(organ)),
    ).row(0, named=True)  # fmt: skip
    if row["points"] is not None:
        return WordCell(row["points"], 1, note=row["loss"] or "", signed=True)
    if stated is not None:
        return WordCell(stated, 0, note="as stated", signed=True)
    return WordCell(note=NOT_AT_HAND if side == "printed" else NOT_RUN)

"""Differences as tables: the paper's headline over the baseline, and two studies patient by patient."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from steelyard.report.paper_tables import WordCell, bounds_text, row_title
from steelyard.report.table import Header, Row, Section, Table
from steelyard.study.paper.printed import Fact
from steelyard.study.paper.reproduce import NOT_RUN, UNDEFINED

OTHER_CASES = "other cases"


def gain_table(gains: pl.DataFrame, facts: Mapping[str, Fact]) -> Table:
    """The headline: per organ the best loss above the base, the least, the most and the sum of these gains."""
    sides = _sides(gains)
    organs = gains.filter(pl.col("kind") == "organ")["organ"].unique(maintain_order=True)
    rows = [
        Row(Header(row_title(organ)), tuple(_gain(gains, side, base, "organ", organ, None) for side, base in sides))
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
            "where no loss is better; no interval covers that choice. Without all of the losses there is no best.",
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
            row = gains.filter(
                pl.col("side") == side, pl.col("base") == base, pl.col("kind") == "loss", pl.col("loss") == loss
            ).row(0, named=True)
            of_ours = bounds_text(row["low"], row["high"], 1) if side == "ours" else ""
            note = of_ours if row["points"] is not None else row["word"]
            cells.append(WordCell(row["points"], 1, note=note, signed=True))
        rows.append(Row(Header(loss), tuple(cells)))
    return Table(
        "headline-losses",
        "Points of IoU that one loss gains over the base, summed over the organs: pooled, with the 95 % interval of "
        "the patients' sums.",
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
                WordCell(r["difference"], note=bounds_text(r["low"], r["high"]), signed=True) if r else _word(None)
                for r in each
            ],
            f"{second} − {first}, pooled": [_pooled(r) for r in each],
            "patients": [WordCell(r["patients"] if r else None, 0, note="" if r else NOT_RUN) for r in each],
        }
        title = "mean of the organs" if organ is None else row_title(organ)
        sections.append(Section(title, tuple(Row(Header(label), tuple(cells)) for label, cells in lines.items())))
    headers = tuple(Header(f"{network}, {loss}" if several else loss) for network, loss in columns)
    return Table(
        name,
        caption,
        "IoU",
        headers,
        tuple(sections),
        (
            "Brackets: 95 % interval of the patients' mean difference (studentised bootstrap); no test was made.",
            f"Pooled: over the held-out voxels of all finished runs; “{OTHER_CASES}” where the two have not scored the "
            "same cases with the same seeds.",
        ),
    )


def _pooled(row: dict[str, object] | None) -> WordCell:
    if row is None:
        return _word(None)
    value = row["pooled_difference"]
    if isinstance(value, float):
        return WordCell(value, signed=True)
    return WordCell(note=UNDEFINED if row["same_cases"] else OTHER_CASES)


def _word(value: object, *, signed: bool = False) -> WordCell:
    return WordCell(value, signed=signed) if isinstance(value, float) else WordCell(note=NOT_RUN)


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
    return WordCell(note=row["word"])

"""The metric audit as maps: a row per score, a column per damage, the drop in numbers and the verdict in colour."""

from __future__ import annotations

import html

import altair as alt
import polars as pl
import vl_convert

from steelyard.report.charts import INK, Chart
from steelyard.report.metric_audit_words import LABELS, done_damages, least_rows, score_title, shown_drop, signed
from steelyard.study.measures import SCOPES
from steelyard.study.metric_audit import AuditRow, MetricAudit, Verdict

# Told apart by colour-blind readers and in grey; the number in each cell says the same.
FILLS: dict[Verdict, str] = {
    "reveals": "#0072b2",
    "moves": "#b3d4e8",
    "hardly moves": "#f3f3f3",
    "looks better": "#e69f00",
    "undefined": "#c9c9c9",
}
ON_DARK = "#ffffff"
NO_VALUE = "no value"
CELL_WIDTH, CELL_HEIGHT, LABEL_WIDTH = 84, 23, 205
TITLES = {
    "organ": "The damaged organ's own scores",
    "all classes": "One score over all classes, background included",
    "pooled multiclass counts": "The study's counts, pooled over organs",
}


def audit_maps(audit: MetricAudit) -> tuple[Chart, ...]:
    """One map per scope, drops as shares of each score's range, and one of distances in mm. Highest drop first.

    Drops are those of the organ whose failure the score shows least.
    """
    damages = done_damages(audit)
    rows = [row for damage in damages for row in least_rows(audit, damage)]
    maps = []
    for scope in SCOPES:
        own = [row for row in rows if row.scope == scope and row.unit != "mm"]
        if own:
            maps.append(Chart(TITLES[scope], _map(own, damages, title=TITLES[scope])))
    distances = [row for row in rows if row.unit == "mm"]
    if distances:
        title = "The damaged organ's distances, in mm"
        maps.append(Chart(title, _map(distances, damages, title=title)))
    return tuple(maps)


def verdict_key() -> list[tuple[str, str]]:
    """Colours and what they mean."""
    return [(FILLS[verdict], LABELS[verdict]) for verdict in FILLS]


def _map(rows: list[AuditRow], damages: list[str], *, title: str) -> str:
    cells = pl.DataFrame(
        [
            {
                "score": score_title(row),
                "damage": row.damage,
                "text": _number(row),
                "fill": FILLS[row.verdict],
                "ink": ON_DARK if row.verdict == "reveals" else INK,
                "said": f"{score_title(row)} · {organ} {row.damage} · {_number(row)} · {LABELS[row.verdict]}",
            }
            for row in rows
            for organ in [(row.organ or "").replace("_", " ")]
        ]
    )
    mean: dict[str, list[float]] = {}
    for row in rows:
        mean.setdefault(score_title(row), []).append(shown_drop(row) or 0.0)
    order = sorted(mean, key=lambda score: -sum(mean[score]))
    base = alt.Chart(cells).encode(
        x=alt.X("damage:N", sort=damages, title=None, axis=alt.Axis(orient="top", labelAngle=0)),
        y=alt.Y("score:N", sort=order, title=None, axis=alt.Axis(minExtent=LABEL_WIDTH, labelLimit=LABEL_WIDTH)),
        description="said:N",
    )
    boxes = base.mark_rect(stroke="#ffffff", strokeWidth=2).encode(color=alt.Color("fill:N", scale=None))
    numbers = base.mark_text(fontSize=11).encode(text="text:N", color=alt.Color("ink:N", scale=None))
    chart = (
        (boxes + numbers)
        .properties(width=CELL_WIDTH * len(damages), height=CELL_HEIGHT * len(order), background="transparent")
        .configure_view(stroke=None)
        .configure_axis(
            labelColor=INK, labelFontSize=12, grid=False, domain=False, ticks=False, labelPadding=6
        )
    )  # fmt: skip
    drawn: str = vl_convert.vegalite_to_svg(chart.to_dict())
    said = html.escape(f"{title}: drop per score and damage, the tables below hold the same numbers.")
    return drawn.replace("<svg ", f'<svg role="img" aria-label="{said}" ', 1)


def _number(row: AuditRow) -> str:
    drop = shown_drop(row)
    if drop is None:
        return NO_VALUE
    return signed(drop, 1) if row.unit == "mm" else signed(drop)

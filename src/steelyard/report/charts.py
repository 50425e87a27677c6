"""Charts as inline SVG, drawn when the page is written: no script, readable without colour, each point named."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass

import altair as alt
import polars as pl
import vl_convert

from steelyard.labels import Organ
from steelyard.report.comparison import IOU, Comparison
from steelyard.report.means import of_patients
from steelyard.report.read import Study
from steelyard.views.slices import hex_colour

# Told apart by colour-blind readers, and by dashes without colour; organs keep their own colours.
STROKES = ("#222222", "#0072b2", "#cc79a7", "#8c510a")
DASHES = ((), (6, 3), (2, 2), (8, 3, 2, 3))
INK, RULE = "#333333", "#dddddd"
DOTS_WIDTH, ROW_HEIGHT = 150, 34
CURVE_WIDTH, CURVE_HEIGHT = 215, 140
DOT_ROOM = 10  # pixels beside 0 and 1: a dot at 0 does not hide the axis
MOST_POINTS = 250  # of a curve: more cannot be seen at this width


@dataclass(frozen=True)
class Style:
    """How a loss is drawn in all curves."""

    label: str
    stroke: str
    dash: tuple[int, ...]

    @property
    def dasharray(self) -> str:
        return " ".join(map(str, self.dash)) or "none"


@dataclass(frozen=True)
class Chart:
    """A drawn chart under its title."""

    title: str
    svg: str


def loss_styles(study: Study) -> tuple[Style, ...]:
    """One style per loss with a finished run, the same on every network."""
    losses = dict.fromkeys(condition.loss for condition in study.conditions if condition.done)
    return tuple(
        Style(loss, STROKES[i % len(STROKES)], DASHES[i // len(STROKES) % len(DASHES)]) for i, loss in enumerate(losses)
    )


def patient_charts(comparison: Comparison) -> tuple[Chart, ...]:
    """One chart per organ: each patient's IoU as a dot, a row per loss; the mean is a bar, the lowest is named.

    The dots of a loss that lacks planned runs are open, and a † follows its name.
    """
    found = of_patients(comparison.scores.filter(IOU)).drop_nulls("value")
    marked = pl.DataFrame(
        [(c.loss, c.marked_loss, not c.shortfall) for c in comparison.conditions],
        schema={"loss": pl.String, "marked": pl.String, "whole": pl.Boolean},
        orient="row",
    )
    found = found.join(marked, on="loss", maintain_order="left").with_columns(loss="marked")
    charts = []
    for organ in comparison.study.label_set.organs:
        rows = found.filter(pl.col("organ") == organ.name).select("patient_id", "loss", "whole", "value")
        if len(rows):
            losses = [loss for loss in marked["marked"] if loss in set(rows["loss"])]
            charts.append(Chart(organ.title, _dots(organ, rows, losses)))
    return tuple(charts)


def loss_charts(comparison: Comparison) -> tuple[Chart, ...]:
    """One chart per loss, each on its own scale (losses are not comparable in height): a line per run."""
    found = _history(comparison, "training_loss")
    return tuple(
        Chart(style.label, _curves(rows, (style,), title="training loss"))
        for style in loss_styles(comparison.study)
        if len(rows := found.filter(pl.col("loss") == style.label))
    )


def iou_charts(comparison: Comparison) -> tuple[Chart, ...]:
    """One chart per organ: IoU on held-out cases over the epochs, a line per run in its loss's style."""
    study = comparison.study
    found = _history(comparison, "validation_iou")
    charts = []
    for organ in study.label_set.organs:
        rows = found.filter(pl.col("organ") == organ.name)
        if len(rows):
            svg = _curves(rows, loss_styles(study), title="held-out IoU", domain=(0, 1))
            charts.append(Chart(organ.title, svg))
    return tuple(charts)


def _dots(organ: Organ, rows: pl.DataFrame, losses: list[str]) -> str:
    said = pl.format("{} · {} · IoU {}", "patient_id", "loss", pl.col("value").round(3).cast(pl.String))
    rows = rows.with_columns(said.alias("said"))
    lowest = rows.sort("value", "patient_id").group_by("loss", maintain_order=True).first()
    x = alt.X(
        "value:Q",
        title="IoU",
        scale=alt.Scale(domain=[0, 1], padding=DOT_ROOM),
        axis=alt.Axis(format=".1f", values=[0, 0.2, 0.4, 0.6, 0.8, 1]),
    )
    y = alt.Y(
        "loss:N",
        title=None,
        sort=losses,
        axis=alt.Axis(grid=True, labelFontSize=12, labelLimit=150, labelExpr="split(datum.label, ', ')"),
    )
    base = alt.Chart(rows).encode(x=x, y=y)
    fill = alt.condition("datum.whole", alt.value(hex_colour(organ.colour)), alt.value("#ffffff"))
    dots = base.mark_circle(size=75, opacity=0.75, stroke=INK, strokeWidth=0.8).encode(fill=fill)
    means = (
        alt.Chart(rows.group_by("loss", maintain_order=True).agg(pl.col("value").mean()))
        .mark_tick(color=INK, thickness=2.5, size=17, opacity=1)
        .encode(x=x, y=y)
    )
    names = (
        alt.Chart(lowest)
        .mark_text(dy=-11, fontSize=10, color=INK)
        .encode(x=x, y=y, text="patient_id:N", description="said:N")
    )
    chart = (means + dots.encode(description="said:N") + names).properties(
        width=DOTS_WIDTH, height=ROW_HEIGHT * len(losses)
    )
    spread = "; ".join(
        f"{loss}: {len(own)} patients from {min(own):.3f} to {max(own):.3f}"
        for loss in losses
        if len(own := rows.filter(pl.col("loss") == loss)["value"].to_list())
    )
    return _svg(chart, alt_text=f"IoU of each patient, {organ.title}. {spread}.")


def _curves(rows: pl.DataFrame, styles: tuple[Style, ...], *, title: str, domain: tuple[int, int] | None = None) -> str:
    rows = _thinned(rows.drop_nulls("value")).with_columns(
        pl.format("{}, fold {}, seed {}", "loss", "fold", "seed").alias("said")
    )
    names = [style.label for style in styles]
    scale = alt.Scale(domain=list(domain)) if domain else alt.Scale(zero=False, nice=True)
    chart = (
        alt.Chart(rows)
        .mark_line(strokeWidth=1.6, opacity=0.85)
        .encode(
            x=alt.X(
                "epoch:Q",
                title="epoch",
                scale=alt.Scale(zero=True, nice=False),
                axis=alt.Axis(tickCount=5, tickMinStep=1, grid=False),
            ),
            y=alt.Y("value:Q", title=title, scale=scale, axis=alt.Axis(tickCount=5)),
            color=alt.Color("loss:N", legend=None, scale=alt.Scale(domain=names, range=[s.stroke for s in styles])),
            strokeDash=alt.StrokeDash(
                "loss:N", legend=None, scale=alt.Scale(domain=names, range=[list(s.dash) or [1, 0] for s in styles])
            ),
            detail="run:N",
            order="epoch:Q",
            description="said:N",
        )
        .properties(width=CURVE_WIDTH, height=CURVE_HEIGHT)
    )
    last = rows.sort("epoch").group_by("run", maintain_order=True).last()
    ends = "; ".join(f"{row['said']} ends at {row['value']:.3f}" for row in last.iter_rows(named=True))
    return _svg(chart, alt_text=f"{title} over the epochs. {ends}.")


def _thinned(rows: pl.DataFrame) -> pl.DataFrame:
    """Every k-th of the epochs that have a value, and the last, so that no curve has more than `MOST_POINTS` points."""
    last = rows["epoch"].max()
    step = max(1, -(-rows["epoch"].n_unique() // MOST_POINTS))
    return rows.filter(((pl.col("epoch").rank("dense") - 1) % step == 0) | (pl.col("epoch") == last))


def _svg(chart: alt.LayerChart | alt.Chart, *, alt_text: str) -> str:
    chart = chart.configure_view(stroke=None).configure_axis(
        labelColor=INK, titleColor=INK, titleFontWeight="normal", gridColor=RULE, domainColor=RULE, tickColor=RULE,
        labelFontSize=11, titleFontSize=11,
    )  # fmt: skip
    drawn: str = vl_convert.vegalite_to_svg(chart.properties(background="transparent").to_dict())
    # A browser shows an SVG title on hovering; vega gives marks an aria-label alone.
    drawn = re.sub(r'(<(path|text) aria-label="([^"]*)"[^>]*?)/>', r"\1><title>\3</title></\2>", drawn)
    said = html.escape(alt_text)
    return drawn.replace("<svg ", f'<svg role="img" aria-label="{said}" ', 1)


def _history(comparison: Comparison, quantity: str) -> pl.DataFrame:
    return comparison.study.history.filter(
        pl.col("quantity") == quantity,
        pl.col("network") == comparison.network,
        pl.col("task") == comparison.task,
    )

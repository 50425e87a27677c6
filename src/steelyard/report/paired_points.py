"""Small pictures, organ × loss: a line per patient from its value under the baseline to its value under the loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from steelyard.report.drawing import (
    BLUE,
    GREY,
    INK,
    RULE,
    SOFT,
    VERMILION,
    drawing,
    mark,
    scale,
    shortened,
    stroke,
    ticks,
    words,
)
from steelyard.report.paired import Pair, pairs
from steelyard.report.statistics import Statistics

PANEL, GAP, LEFT, TOP, PLOT, BOTTOM = 118.0, 26.0, 40.0, 40.0, 150.0, 34.0
INSET = 20.0  # of the two columns of points from a panel's sides


@dataclass(frozen=True)
class PairedChart:
    """All losses beside the baseline on one organ."""

    title: str
    svg: str


def paired_charts(found: Statistics) -> tuple[PairedChart, ...]:
    """One picture per compared organ, a panel per loss, all panels of an organ on one scale.

    A line that rises is a patient with a higher value under the loss. Better is blue and solid, worse is vermilion and
    dashed; the patient that fares worst is named.
    """
    charts = []
    for organ, title in found.organs:
        if organ is None:
            continue
        panels = {d.loss: pairs(found, d.loss, organ) for d in found.of_organ(organ)}
        panels = {loss: own for loss, own in panels.items() if own}
        if panels:
            svg = paired_row(
                panels,
                lower_is_better=found.measure.lower_is_better,
                ends=(shortened(found.baseline, 11), "this loss"),
                alt=_said(found, title, panels),
            )
            charts.append(PairedChart(title, svg))
    return tuple(charts)


def paired_row(
    panels: Mapping[str, tuple[Pair, ...]], *, lower_is_better: bool, ends: tuple[str, str], alt: str
) -> str:
    """The panels side by side on one scale; `ends` names the two columns of each, baseline first.

    Pairs are sorted by their difference, the lowest first.
    """
    values = [value for own in panels.values() for pair in own for value in (pair.baseline, pair.loss)]
    axis = ticks(min(values), max(values), about=4)
    bottom = TOP + PLOT

    def y(value: float) -> float:
        return scale(value, axis[0], axis[-1], bottom, TOP)

    parts: list[str] = []
    for place, (title, own) in enumerate(panels.items()):
        left = LEFT + place * (PANEL + GAP)
        for tick in axis:
            parts.append(stroke([(left, y(tick)), (left + PANEL, y(tick))], colour=RULE, width=1))
            if place == 0:
                parts.append(words(left - 6, y(tick) + 4, f"{tick:g}", anchor="end", size=11, colour=SOFT))
        parts += _panel(title, own, left, y, lower_is_better=lower_is_better, ends=ends)
    return drawing(LEFT + len(panels) * (PANEL + GAP) + 2, bottom + BOTTOM, parts, alt=alt)


def _panel(
    title: str,
    own: tuple[Pair, ...],
    left: float,
    y: Callable[[float], float],
    *,
    lower_is_better: bool,
    ends: tuple[str, str],
) -> list[str]:
    first, last = left + INSET, left + PANEL - INSET
    parts = [words(left, 15, shortened(title, 16), bold=True)]
    risen = sum(pair.difference > 0 for pair in own)
    parts.append(words(left, 30, f"{risen} of {len(own)} higher", size=11, colour=SOFT))
    for pair in own:
        better, equal = (pair.difference < 0) == lower_is_better, pair.difference == 0
        colour = GREY if equal else BLUE if better else VERMILION
        told = f"{pair.patient_id}: {pair.baseline:.3f} → {pair.loss:.3f}"
        line = [(first, y(pair.baseline)), (last, y(pair.loss))]
        parts.append(
            stroke(line, colour=colour, width=1.3, dash="" if better or equal else "4 2", opacity=0.8, title=told)
        )
        parts += [mark("circle", *end, size=2.6, colour=colour, title=told) for end in line]
    worst = own[-1] if lower_is_better else own[0]
    parts.append(words(last + 5, y(worst.loss) + 4, worst.patient_id, size=10, colour=INK))
    bottom = TOP + PLOT
    parts.append(words(first, bottom + 18, ends[0], anchor="middle", size=11, colour=SOFT))
    parts.append(words(last, bottom + 18, ends[1], anchor="middle", size=11, colour=SOFT))
    return parts


def _said(found: Statistics, title: str, panels: dict[str, tuple[Pair, ...]]) -> str:
    told = "; ".join(
        f"{loss}: {sum(pair.difference > 0 for pair in own)} of {len(own)} patients higher, "
        f"lowest difference {own[0].patient_id} {found.measure.factor * own[0].difference:+.1f} {found.measure.unit}"
        for loss, own in panels.items()
    )
    return f"{found.measure.title} of each patient under {found.baseline} and under the loss, {title}. {told}."

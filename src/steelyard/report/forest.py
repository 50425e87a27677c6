"""A forest plot: each loss's mean difference from the baseline with its interval, organ by organ, and the verdict."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite

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
from steelyard.report.statistics import Difference, Statistics

WIDTH, LEFT, RIGHT = 900.0, 200.0, 590.0  # of the picture, and where its plot begins and ends
ROW, HEADING, TOP, BOTTOM = 21.0, 27.0, 46.0, 44.0
COLUMN_NAMES, SIDES = 14.0, 34.0  # lines of their own above the plot: what stands where, and which side is better
LONGEST_BASELINE = 18  # letters: what stands left of zero fits even where zero is the left end of the axis
LONGEST_LOSS = 27  # letters, for a name left of the plot
VERDICTS = {  # shape, colour, filled
    "better": ("up", BLUE, True),
    "worse": ("down", VERMILION, True),
    "undecided": ("circle", INK, False),
    "too few": ("cross", GREY, False),
}


def forest(found: Statistics) -> str:
    """The picture as inline SVG; the zero line is the baseline, and better lies on the side that the axis names.

    The mean of organs stands last; it is outside the family and gets no verdict.
    """
    drawn = [value for d in found.differences for value in (d.difference, d.low, d.high, 0.0) if value is not None]
    known = [value for value in drawn if isfinite(value)]
    axis = ticks(min(known), max(known))
    height = TOP + HEADING * len(found.organs) + ROW * len(found.differences) + BOTTOM
    bottom = height - BOTTOM

    def x(value: float) -> float:
        return scale(min(max(value, axis[0]), axis[-1]), axis[0], axis[-1], LEFT, RIGHT)  # an end may be infinite

    parts = [stroke([(x(tick), TOP), (x(tick), bottom)], colour=RULE, width=1) for tick in axis]
    parts += [words(x(tick), bottom + 16, signed(tick), anchor="middle", size=11, colour=SOFT) for tick in axis]
    parts.append(stroke([(x(0), TOP), (x(0), bottom)], width=1.4))
    parts += _headings(found, x(0), bottom)
    y = TOP
    for organ, title in found.organs:
        y += HEADING
        parts.append(words(0, y - 8, title if organ else f"{title} (no verdict)", bold=True))
        for d in found.of_organ(organ):
            y += ROW
            parts += interval_row(d, y - ROW / 2, x)
    return drawing(WIDTH, height, parts, alt=_said(found))


def _headings(found: Statistics, zero: float, bottom: float) -> list[str]:
    baseline = shortened(found.baseline, LONGEST_BASELINE)
    lower, higher = ("better", "worse") if found.measure.lower_is_better else ("worse", "better")
    return [
        words(zero - 8, SIDES, f"← {lower} than {baseline}", anchor="end", size=11.5, colour=SOFT),
        words(zero + 8, SIDES, f"{higher} than {baseline} →", size=11.5, colour=SOFT),
        words(RIGHT + 18, COLUMN_NAMES, f"{found.measure.unit}, 95 % interval", size=11.5, colour=SOFT),
        words(WIDTH - 110, COLUMN_NAMES, "verdict", size=11.5, colour=SOFT),
        words(
            (LEFT + RIGHT) / 2, bottom + 34, f"mean difference in {found.measure.title} ({found.measure.unit})",
            anchor="middle", size=11.5, colour=SOFT,
        ),
    ]  # fmt: skip


def interval_row(
    d: Difference, y: float, x: Callable[[float], float], *, title: str = "", verdict_at: float = WIDTH - 110
) -> list[str]:
    """The difference with its interval, in pixels by `x` and in words, and the verdict; `title` instead of the loss."""
    shape, colour, filled = VERDICTS[d.verdict] if d.verdict else ("diamond", GREY, False)
    parts = [words(LEFT - 14, y + 4, title or shortened(d.loss, LONGEST_LOSS), anchor="end")]
    if d.low is not None and d.high is not None:
        parts.append(stroke([(x(d.low), y), (x(d.high), y)], colour=colour, width=2.2))
        for end, outwards in ((d.low, -1), (d.high, 1)):
            back = 0 if isfinite(end) else 6 * outwards  # an arrow head where the interval has no end
            parts.append(stroke(_end(x(end), y, back), colour=colour, width=1.6))
    if d.difference is not None:
        parts.append(mark(shape, x(d.difference), y, colour=colour, filled=filled, title=f"{d.loss}: {d.interval}"))
    parts.append(words(RIGHT + 18, y + 4, d.interval))
    if d.verdict:
        decided = d.verdict in ("better", "worse")
        parts.append(words(verdict_at, y + 4, d.verdict, bold=decided, colour=colour))
    return parts


def _end(x: float, y: float, back: float) -> list[tuple[float, float]]:
    """A cap across the line at its end, or with `back`, how far an arrow head reaches back from its tip."""
    return [(x - back, y - 4), (x, y), (x - back, y + 4)] if back else [(x, y - 4), (x, y + 4)]


def signed(value: float) -> str:
    """A tick of an axis of differences: `+2`, `−2`, `0`."""
    return f"{value:+g}".replace("-", "−") if value else "0"


def _said(found: Statistics) -> str:
    titles = dict(found.organs)
    told = "; ".join(
        f"{titles[d.organ]}, {d.loss} {d.interval}" + (f", {d.verdict}" if d.verdict else "") for d in found.differences
    )
    unit = found.measure.unit
    return f"Mean differences in {found.measure.title} from {found.baseline} in {unit}, with 95 % intervals: {told}."

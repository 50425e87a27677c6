"""Axes of a front: millilitres in proportion where the trained weights lie, in powers of ten for a whole sweep."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

from steelyard.report.drawing import RULE, SOFT, scale, stroke, ticks, words
from steelyard.report.label_places import Box

MARGIN = 0.18  # of the marks' spread, around them
LEAST_SPREAD = 0.1  # of the largest value: marks closer than that are not torn apart
DEPTH = 1e-4  # of the largest volume: what is less, 0 among it, lies on the edge of a logarithmic axis
SMALLEST_ML = 1e-3  # a voxel is larger

Point = tuple[float, float]
View = Callable[[float, float], Point]  # (missed ml, spilled ml) → pixels
Range = tuple[float, float]


def spread(values: Sequence[float]) -> Range:
    """The axis that holds these volumes with a margin; never below 0 ml."""
    low, high = min(values), max(values)
    span = max(high - low, LEAST_SPREAD * high, SMALLEST_ML)
    middle = (low + high) / 2
    half = span / 2 + MARGIN * span
    return max(middle - half, 0.0), middle + half


def decades(values: Sequence[float]) -> Range:
    """The powers of ten around these volumes; at least one decade."""
    high = max(*values, SMALLEST_ML)
    low = min(value for value in (*values, high) if value >= DEPTH * high and value > 0)
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
    return 10.0**first, 10.0 ** max(last, first + 1)


def linear_view(xs: Range, ys: Range, frame: Box) -> View:
    """Pixels in proportion to the volumes."""
    left, top, right, bottom = frame
    return lambda x, y: (scale(x, *xs, left, right), scale(y, *ys, bottom, top))


def log_view(xs: Range, ys: Range, frame: Box) -> View:
    """Pixels in proportion to the volumes' logarithms; what lies below an axis is drawn on its edge."""
    log_x, log_y = ((math.log10(low), math.log10(high)) for low, high in (xs, ys))
    to_pixels = linear_view(log_x, log_y, frame)
    return lambda x, y: to_pixels(math.log10(max(x, xs[0])), math.log10(max(y, ys[0])))


def linear_axes(xs: Range, ys: Range, frame: Box) -> list[str]:
    """Grid, numbers and names of `linear_view`."""
    of_x, of_y = ([tick for tick in ticks(*own, about=5) if own[0] <= tick <= own[1]] for own in (xs, ys))
    return _axes(linear_view(xs, ys, frame), (xs[0], ys[0]), of_x, of_y, frame)


def log_axes(xs: Range, ys: Range, frame: Box) -> list[str]:
    """The same of `log_view`."""
    of_x, of_y = (
        [10.0**power for power in range(round(math.log10(low)), round(math.log10(high)) + 1)] for low, high in (xs, ys)
    )
    return _axes(log_view(xs, ys, frame), (xs[0], ys[0]), of_x, of_y, frame)


def along(line: Sequence[Point], reach: float) -> list[Box]:
    """Boxes that cover a line without gaps, to keep labels off it."""
    boxes = []
    for (x0, y0), (x1, y1) in pairwise(line):
        steps = min(max(math.ceil(math.hypot(x1 - x0, y1 - y0) / (2 * reach)), 1), 100)
        for step in range(steps):
            x, y = x0 + (x1 - x0) * step / steps, y0 + (y1 - y0) * step / steps
            boxes.append((x - reach, y - reach, x + reach, y + reach))
    return boxes


def _axes(at: View, origin: Point, of_x: Sequence[float], of_y: Sequence[float], frame: Box) -> list[str]:
    left, top, right, bottom = frame
    parts = []
    for value in of_x:
        x = at(value, origin[1])[0]
        parts.append(stroke([(x, top), (x, bottom)], colour=RULE, width=1))
        parts.append(words(x, bottom + 16, f"{value:g}", anchor="middle", size=11, colour=SOFT))
    for value in of_y:
        y = at(origin[0], value)[1]
        parts.append(stroke([(left, y), (right, y)], colour=RULE, width=1))
        parts.append(words(left - 6, y + 4, f"{value:g}", anchor="end", size=11, colour=SOFT))
    parts.append(stroke([(left, top), (left, bottom), (right, bottom)], colour=SOFT, width=1))
    middle = (left + right) / 2
    parts.append(words(middle, bottom + 36, "missed (ml), ← less is better", anchor="middle", size=11.5))
    turned = words(0, 0, "spilled (ml), ← less is better", anchor="middle", size=11.5)
    parts.append(f'<g transform="translate({left - 46:.1f},{(top + bottom) / 2:.1f}) rotate(-90)">{turned}</g>')
    return parts

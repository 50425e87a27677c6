"""Where each loss sits between missing and spilling: sensitivity across, precision up, one plane per organ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from steelyard.labels import Organ
from steelyard.report.comparison import Comparison
from steelyard.report.drawing import (
    GREY,
    INK,
    RULE,
    SHAPES,
    SOFT,
    drawing,
    mark,
    scale,
    shortened,
    stroke,
    ticks,
    words,
)
from steelyard.report.label_places import Box, around, free_place
from steelyard.report.means import of_patients, pooled

SIZE, LEFT, TOP, BOTTOM, RIGHT = 250.0, 50.0, 14.0, 44.0, 14.0
LONGEST = 18  # letters of a label
SMALLEST_SPAN = 0.1  # of both axes: three losses a hair apart are not blown up to look different
COLOURS = (INK, "#0072b2", "#d55e00", "#a0522d", "#009e73", "#8e4585", "#56707f")
ORGAN_METRICS = ("sensitivity", "precision")


@dataclass(frozen=True)
class Plane:
    """One organ's plane, and how many patients' values lie outside of it."""

    title: str
    svg: str
    outside: int


def planes(comparison: Comparison) -> tuple[Plane, ...]:
    """One per organ with a loss whose pooled sensitivity and precision are both defined.

    A loss that lacks planned runs has an open mark and a † after its name.
    """
    found = []
    for organ in comparison.study.label_set.organs:
        points = _points(comparison, organ)
        if points:
            found.append(_plane(comparison, organ, points))
    return tuple(found)


def shares(comparison: Comparison) -> pl.DataFrame:
    """The rows of sensitivity and precision of all organs, by voxel counts."""
    return comparison.scores.filter(
        pl.col("metric").is_in(ORGAN_METRICS) & (pl.col("convention") == "counts") & pl.col("organ").is_not_null()
    )


def _plane(comparison: Comparison, organ: Organ, points: dict[str, tuple[float, float]]) -> Plane:
    marked = {condition.loss: condition.marked_loss for condition in comparison.conditions}
    cloud = _cloud(comparison, organ)
    (low_x, high_x, x_ticks), (low_y, high_y, y_ticks) = (_axis([p[i] for p in points.values()]) for i in (0, 1))
    right, bottom = LEFT + SIZE, TOP + SIZE

    def at(sensitivity: float, precision: float) -> tuple[float, float]:
        return scale(sensitivity, low_x, high_x, LEFT, right), scale(precision, low_y, high_y, bottom, TOP)

    parts = [stroke([(LEFT, TOP), (LEFT, bottom), (right, bottom)], colour=SOFT, width=1)]
    for tick in x_ticks:
        parts.append(words(at(tick, low_y)[0], bottom + 16, f"{tick:g}", anchor="middle", size=11, colour=SOFT))
    for tick in y_ticks:
        parts.append(words(LEFT - 6, at(low_x, tick)[1] + 4, f"{tick:g}", anchor="end", size=11, colour=SOFT))
    parts.append(words(LEFT + SIZE / 2, bottom + 35, "sensitivity (misses less →)", anchor="middle", size=11.5))
    parts.append(
        f'<g transform="translate(12,{TOP + SIZE / 2:.1f}) rotate(-90)">'
        f"{words(0, 0, 'precision (spills less →)', anchor='middle', size=11.5)}</g>"
    )
    taken: list[Box] = [around(*at(*point), 7) for point in points.values()]
    for level in _levels(low_x, high_x, low_y, high_y):
        drawn, box = _iso(level, (low_x, high_x, low_y, high_y), at)
        parts.append(drawn)
        taken += [box] if box else []

    inside = [(p, loss, s, q) for p, loss, s, q in cloud if low_x <= s <= high_x and low_y <= q <= high_y]
    for patient, loss, sensitivity, precision in inside:
        told = f"{patient}, {loss}: sensitivity {sensitivity:.3f}, precision {precision:.3f}"
        parts.append(
            f'<g opacity="0.3">{mark("circle", *at(sensitivity, precision), size=2.2, colour=GREY, title=told)}</g>'
        )

    shapes = [shape for shape in SHAPES if shape not in ("cross", "plus")]
    for i, (loss, point) in enumerate(points.items()):
        colour, told = (
            COLOURS[i % len(COLOURS)],
            f"{marked[loss]}: sensitivity {point[0]:.3f}, precision {point[1]:.3f}",
        )
        x, y = at(*point)
        is_whole, label = marked[loss] == loss, shortened(loss, LONGEST) + marked[loss].removeprefix(loss)
        parts.append(mark(shapes[i % len(shapes)], x, y, size=5.5, colour=colour, filled=is_whole, title=told))
        box = free_place(x, y, label, taken, (LEFT, TOP, right + RIGHT, bottom))
        taken.append(box)
        nearest = (min(max(x, box[0]), box[2]), min(max(y, box[1]), box[3]))
        parts.append(stroke([(x, y), nearest], colour=colour, width=0.8))
        parts.append(words(box[0] + 2, box[3] - 3, label, size=11.5, colour=colour))
    told = "; ".join(f"{marked[loss]}: sensitivity {s:.3f}, precision {p:.3f}" for loss, (s, p) in points.items())
    svg = drawing(
        right + RIGHT, bottom + BOTTOM, parts, alt=f"Sensitivity and precision, pooled, {organ.title}. {told}."
    )
    return Plane(organ.title, svg, len(cloud) - len(inside))  # fmt: skip


def _axis(values: list[float]) -> tuple[float, float, list[float]]:
    middle = (min(values) + max(values)) / 2
    half = max((max(values) - min(values)) * 0.65, SMALLEST_SPAN / 2)
    low, high = max(middle - half, 0.0), min(middle + half, 1.0)
    return low, high, [tick for tick in ticks(low, high, about=4) if low <= tick <= high]


def _levels(low_x: float, high_x: float, low_y: float, high_y: float) -> list[float]:
    """Round values of IoU whose curves cross the plane, some five of them."""
    lowest, highest = _iou(low_x, low_y), _iou(high_x, high_y)
    return [level for level in ticks(lowest, highest, about=5) if lowest < level < highest]


def _iso(level: float, frame: Box, at: Callable[[float, float], tuple[float, float]]) -> tuple[str, Box | None]:
    """The curve of one IoU with its label, and the label's box; nothing where it only grazes the plane."""
    low_x, high_x, low_y, high_y = frame
    steps = [low_x + (high_x - low_x) * n / 60 for n in range(61)]
    curve = [(s, 1 / (1 / level + 1 - 1 / s)) for s in steps if s > level]  # 1 / IoU = 1 / S + 1 / P − 1
    inside = [at(*point) for point in curve if low_y <= point[1] <= high_y]
    if len(inside) < 2:
        return "", None
    x, y = inside[-1]
    label = words(x - 3, y - 4, f"IoU {level:g}", anchor="end", size=10, colour=GREY)
    return stroke(inside, colour=RULE, width=1.2) + label, (x - 45, y - 14, x - 3, y - 2)


def _iou(sensitivity: float, precision: float) -> float:
    return 1 / (1 / sensitivity + 1 / precision - 1) if sensitivity and precision else 0.0


def _points(comparison: Comparison, organ: Organ) -> dict[str, tuple[float, float]]:
    rows = pooled(shares(comparison))
    both = [comparison.values(rows, organ=organ.name, metric=metric) for metric in ORGAN_METRICS]
    found = {}
    for condition, sensitivity, precision in zip(comparison.conditions, *both, strict=True):
        if sensitivity is not None and precision is not None:
            found[condition.loss] = sensitivity, precision
    return found


def _cloud(comparison: Comparison, organ: Organ) -> list[tuple[str, str, float, float]]:
    rows = of_patients(shares(comparison).filter(pl.col("organ") == organ.name)).drop_nulls("value")
    wide = rows.pivot("metric", index=["patient_id", "loss"], values="value")
    if not set(ORGAN_METRICS) <= set(wide.columns):
        return []
    return wide.drop_nulls().select("patient_id", "loss", *ORGAN_METRICS).rows()

"""The front of an organ as a picture: volume missed against volume spilled, trained weights beside whole sweeps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle
from math import hypot

from steelyard.report.card_content import FrontWeight, OrganFront, SweepPoint, organ_title
from steelyard.report.card_words import is_default, ratio
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
from steelyard.report.front_words import has_organ
from steelyard.report.label_places import Box, around, free_place

LEFT, TOP, WIDE, HIGH = 62.0, 34.0, 480.0, 330.0  # of the near view, in pixels
FAR_LEFT, FAR_WIDE, FAR_HIGH = 640.0, 230.0, 230.0  # of the view of the whole sweep
WIDTH, HEIGHT = 900.0, TOP + HIGH + 50.0
MARGIN = 0.18  # of the marks' spread, around them
LEAST_SPREAD = 0.1  # of the largest value: marks closer than that are not torn apart
SWEEP_STYLES = (("", BLUE), ("7 3", SOFT), ("2 2", GREY))  # dash and colour, in the order of the card's sweeps
FAR_OFF = 5.0  # times the largest volume of the default, the chosen and the unmoved networks: beyond the near view
MOST_LABELS = 12  # beyond, the chosen and the default alone are named; all are on hovering and in the table
LONGEST = 20  # letters of a network's name

View = Callable[[float, float], tuple[float, float]]  # (missed ml, spilled ml) → pixels
Range = tuple[float, float]


@dataclass(frozen=True)
class FrontChart:
    """One organ's picture."""

    title: str
    svg: str


def front_chart(front: OrganFront) -> FrontChart | None:
    """The near view of all marks at the left, the whole sweep at the right; None without an organ or a mark."""
    weights = sorted(_known(front.weights), key=lambda weight: weight.r)
    if not weights or not has_organ(front):
        return None
    near = _not_far_off(front, weights)
    marks = [_volumes(weight) for weight in near] + _unmoved(front)
    xs, ys = (spread([point[axis] for point in marks]) for axis in (0, 1))
    parts = [*_near(front, near, xs, ys), *_far(front, weights, xs, ys)]
    beyond = ", ".join(f"r = {ratio(weight.r)}" for weight in weights if weight not in near)
    if beyond:
        parts.append(words(FAR_LEFT - 40, TOP + HIGH, f"beyond the view at the left: {beyond}", size=11.5))
    return FrontChart(organ_title(front.organ), drawing(WIDTH, HEIGHT, parts, alt=_said(front)))


def _not_far_off(front: OrganFront, weights: Sequence[FrontWeight]) -> list[FrontWeight]:
    """Without those that would shrink the view to nothing, as weights with which a network finds no organ at all."""
    kept = [weight for weight in weights if _is_chosen(front, weight) or is_default(weight.r)]
    anchors = [_volumes(weight) for weight in kept] + _unmoved(front) or [_volumes(weight) for weight in weights]
    most = [FAR_OFF * max(anchor[axis] for anchor in anchors) for axis in (0, 1)]
    return [w for w in weights if w in kept or all(v <= m for v, m in zip(_volumes(w), most, strict=True))]


def _unmoved(front: OrganFront) -> list[tuple[float, float]]:
    """The networks that are swept, as trained."""
    points = [p for curve in front.sweeps.values() for p in curve if p.offset == 0]
    return [(p.missed_ml, p.spilled_ml) for p in points if p.missed_ml is not None and p.spilled_ml is not None]


def spread(values: Sequence[float]) -> Range:
    """The axis that holds these volumes with a margin; never below 0 ml."""
    low, high = min(values), max(values)
    span = max(high - low, LEAST_SPREAD * high, 1e-3)
    middle = (low + high) / 2
    half = span / 2 + MARGIN * span
    return max(middle - half, 0.0), middle + half


def near_view(xs: Range, ys: Range) -> View:
    """Pixels of the near view."""
    return lambda x, y: (scale(x, *xs, LEFT, LEFT + WIDE), scale(y, *ys, TOP + HIGH, TOP))


def _near(front: OrganFront, weights: Sequence[FrontWeight], xs: Range, ys: Range) -> list[str]:
    at, frame = near_view(xs, ys), (LEFT, TOP, LEFT + WIDE, TOP + HIGH)
    parts = [words(LEFT, TOP - 14, "where the trained weights lie", bold=True), *_axes(at, xs, ys, frame)]
    parts.append(words(LEFT + 8, TOP + HIGH - 10, "↙ better", size=12, colour=SOFT, bold=True))
    taken: list[Box] = [(LEFT, TOP + HIGH - 24, LEFT + 70, TOP + HIGH)]
    inside: list[str] = []
    for curve, (dash, colour) in zip(front.sweeps.values(), cycle(SWEEP_STYLES), strict=False):
        line = _line(curve, at)
        inside.append(stroke(line, colour=colour, width=2, dash=dash))
        inside += [_tick(p, at, colour) for p in curve if p.offset == round(p.offset)]
        taken += [around(*point, 3) for point in line]
    inside.append(stroke([_at(at, weight) for weight in weights], colour=VERMILION, width=0.9, opacity=0.6))
    parts.append(_clipped(inside, frame))
    marked = [around(*_at(at, weight), 8) for weight in weights]
    taken += marked
    for weight in weights:
        if len(weights) > MOST_LABELS and not (_is_chosen(front, weight) or is_default(weight.r)):
            continue
        parts += _label(_at(at, weight), *_called(front, weight), taken, frame)
    for (title, curve), (_, colour) in zip(front.sweeps.items(), cycle(SWEEP_STYLES), strict=False):
        seen = [p for p in _line(curve, at) if frame[0] <= p[0] <= frame[2] and frame[1] <= p[1] <= frame[3]]
        if seen:
            emptiest = max(seen, key=lambda p: min(_apart(p, box) for box in marked))
            parts += _label(emptiest, f"{shortened(title, LONGEST)}, moved", colour, False, taken, frame)
            marked.append(taken[-1])
    return parts + [_weight(front, weight, at) for weight in weights]  # over the lines to their labels


def _label(point: tuple[float, float], label: str, colour: str, bold: bool, taken: list[Box], frame: Box) -> list[str]:
    """The label in free room near its point, with a line to it; the room is taken from now on."""
    box = free_place(*point, label, taken, frame)
    taken.append(box)
    nearest = (min(max(point[0], box[0]), box[2]), min(max(point[1], box[1]), box[3]))
    return [
        stroke([point, nearest], colour=colour, width=0.8),
        words(box[0] + 2, box[3] - 3.5, label, size=12, colour=colour, bold=bold),
    ]


def _called(front: OrganFront, weight: FrontWeight) -> tuple[str, str, bool]:
    """(label, colour, bold) of a mark."""
    chosen, default = _is_chosen(front, weight), is_default(weight.r)
    remark = ", chosen" * chosen + ", default" * default
    return f"r = {ratio(weight.r)}{remark}", VERMILION if chosen else INK, chosen or default


def _line(curve: Sequence[SweepPoint], at: View) -> list[tuple[float, float]]:
    return [at(p.missed_ml, p.spilled_ml) for p in curve if p.missed_ml is not None and p.spilled_ml is not None]


def _apart(point: tuple[float, float], box: Box) -> float:
    """Pixels from the middle of the box."""
    return hypot(point[0] - (box[0] + box[2]) / 2, point[1] - (box[1] + box[3]) / 2)


def _far(front: OrganFront, weights: Sequence[FrontWeight], xs: Range, ys: Range) -> list[str]:
    """The whole sweep, and the near view as a frame in it."""
    points = [p for curve in front.sweeps.values() for p in curve]
    known = [(p.missed_ml, p.spilled_ml) for p in points if p.missed_ml is not None and p.spilled_ml is not None]
    if not known:
        return []
    known += map(_volumes, weights)
    far_x, far_y = ((0.0, max(*(p[axis] for p in known), own[1])) for axis, own in ((0, xs), (1, ys)))
    right, bottom = FAR_LEFT + FAR_WIDE, TOP + FAR_HIGH

    def at(x: float, y: float) -> tuple[float, float]:
        return scale(x, *far_x, FAR_LEFT, right), scale(y, *far_y, bottom, TOP)

    low, high = min(p.offset for p in points), max(p.offset for p in points)
    title = f"the whole sweep, offsets {low:+g} to {high:+g}".replace("-", "−")
    parts = [words(FAR_LEFT - 40, TOP - 14, title, bold=True)]
    parts += _axes(at, far_x, far_y, (FAR_LEFT, TOP, right, bottom), about=3)
    for curve, (dash, colour) in zip(front.sweeps.values(), cycle(SWEEP_STYLES), strict=False):
        parts.append(stroke(_line(curve, at), colour=colour, width=1.6, dash=dash))
    for weight in weights:
        colour = VERMILION if _is_chosen(front, weight) else INK
        parts.append(mark("circle", *_at(at, weight), size=2.4, colour=colour, title=weight.label))
    corners = [(xs[0], ys[0]), (xs[1], ys[0]), (xs[1], ys[1]), (xs[0], ys[1]), (xs[0], ys[0])]
    parts.append(stroke([at(*corner) for corner in corners], colour=VERMILION, width=1.3, title="the view at the left"))
    parts.append(words(FAR_LEFT - 40, bottom + 58, "framed: the view at the left", size=11.5, colour=VERMILION))
    return parts


def _axes(at: View, xs: Range, ys: Range, frame: Box, *, about: int = 5) -> list[str]:
    left, top, right, bottom = frame
    parts = []
    for value in [tick for tick in ticks(*xs, about=about) if xs[0] <= tick <= xs[1]]:
        x = at(value, ys[0])[0]
        parts.append(stroke([(x, top), (x, bottom)], colour=RULE, width=1))
        parts.append(words(x, bottom + 16, f"{value:g}", anchor="middle", size=11, colour=SOFT))
    for value in [tick for tick in ticks(*ys, about=about) if ys[0] <= tick <= ys[1]]:
        y = at(xs[0], value)[1]
        parts.append(stroke([(left, y), (right, y)], colour=RULE, width=1))
        parts.append(words(left - 6, y + 4, f"{value:g}", anchor="end", size=11, colour=SOFT))
    parts.append(stroke([(left, top), (left, bottom), (right, bottom)], colour=SOFT, width=1))
    middle = (left + right) / 2
    parts.append(words(middle, bottom + 36, "missed (ml), ← less is better", anchor="middle", size=11.5))
    turned = words(0, 0, "spilled (ml), ← less is better", anchor="middle", size=11.5)
    parts.append(f'<g transform="translate({left - 46:.1f},{(top + bottom) / 2:.1f}) rotate(-90)">{turned}</g>')
    return parts


def _clipped(parts: Sequence[str], frame: Box) -> str:
    """Drawn within the frame alone: an inner svg shows nothing beyond its own edges."""
    left, top, right, bottom = frame
    place = f'x="{left:g}" y="{top:g}" width="{right - left:g}" height="{bottom - top:g}"'
    return f'<svg {place} viewBox="{left:g} {top:g} {right - left:g} {bottom - top:g}">{"".join(parts)}</svg>'


def _tick(p: SweepPoint, at: View, colour: str) -> str:
    if p.missed_ml is None or p.spilled_ml is None:
        return ""
    told = f"offset {p.offset:+g}: missed {p.missed_ml:.1f} ml, spilled {p.spilled_ml:.1f} ml".replace("-", "−")
    shape, size = ("plus", 7.0) if p.offset == 0 else ("circle", 2.6)
    return mark(shape, *at(p.missed_ml, p.spilled_ml), size=size, colour=colour, title=told)


def _weight(front: OrganFront, weight: FrontWeight, at: View) -> str:
    told = f"{weight.label}: missed {weight.missed_ml:.1f} ml, spilled {weight.spilled_ml:.1f} ml"
    chosen, default = _is_chosen(front, weight), is_default(weight.r)
    shape = "diamond" if chosen else "square" if default else "circle"
    size = 8.0 if chosen else 6.0 if default else 4.5
    colour = VERMILION if chosen else INK
    return mark(shape, *_at(at, weight), size=size, colour=colour, filled=chosen or not default, title=told)


def _is_chosen(front: OrganFront, weight: FrontWeight) -> bool:
    return abs(weight.r - front.chosen_r) < 1e-9


def _known(weights: Sequence[FrontWeight]) -> list[FrontWeight]:
    return [weight for weight in weights if weight.missed_ml is not None and weight.spilled_ml is not None]


def _volumes(weight: FrontWeight) -> tuple[float, float]:
    return weight.missed_ml or 0.0, weight.spilled_ml or 0.0


def _at(at: View, weight: FrontWeight) -> tuple[float, float]:
    return at(*_volumes(weight))


def _said(front: OrganFront) -> str:
    told = "; ".join(
        f"{w.label} missed {w.missed_ml:.1f} and spilled {w.spilled_ml:.1f}" for w in _known(front.weights)
    )
    sweeps = " and ".join(front.sweeps)
    return (
        f"Volume missed against volume spilled of the {organ_title(front.organ)} in ml, means over patients: {told}; "
        f"beside the sweeps of {sweeps}."
    )

"""The front of an organ as a picture: volume missed against volume spilled, trained weights beside whole sweeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from math import hypot

from steelyard.report.card_content import FrontWeight, OrganFront, SweepPoint, organ_title
from steelyard.report.card_words import is_default, ratio
from steelyard.report.drawing import (
    BLUE,
    GREY,
    INK,
    SOFT,
    VERMILION,
    drawing,
    mark,
    shortened,
    stroke,
    words,
)
from steelyard.report.front_axes import (
    Point,
    Range,
    View,
    along,
    decades,
    linear_axes,
    linear_view,
    log_axes,
    log_view,
    spread,
)
from steelyard.report.front_words import has_organ
from steelyard.report.label_places import Box, around, free_place

LEFT, TOP, WIDE, HIGH = 62.0, 34.0, 480.0, 330.0  # of the near view, in pixels
NEAR: Box = (LEFT, TOP, LEFT + WIDE, TOP + HIGH)
FAR: Box = (640.0, TOP, 880.0, TOP + 240.0)  # the view of the whole sweep
WIDTH, HEIGHT = 900.0, TOP + HIGH + 50.0
SWEEP_STYLES = (("", BLUE), ("7 3", SOFT), ("2 2", GREY))  # dash and colour, in the order of the card's sweeps
FAR_OFF = 5.0  # times the largest volume of the default, the chosen and the unmoved networks: beyond the near view
MOST_LABELS = 12  # beyond, the chosen and the default alone are named; all are on hovering and in the table
LONGEST = 20  # letters of a network's name


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
        parts.append(words(FAR[0] - 40, NEAR[3], f"beyond the view at the left: {beyond}", size=11.5))
    return FrontChart(organ_title(front.organ), drawing(WIDTH, HEIGHT, parts, alt=_said(front)))


def _not_far_off(front: OrganFront, weights: Sequence[FrontWeight]) -> list[FrontWeight]:
    """Without those that would shrink the view to nothing, as weights with which a network finds no organ at all."""
    kept = [weight for weight in weights if _is_chosen(front, weight) or is_default(weight.r)]
    anchors = [_volumes(weight) for weight in kept] + _unmoved(front) or [_volumes(weight) for weight in weights]
    most = [FAR_OFF * max(anchor[axis] for anchor in anchors) for axis in (0, 1)]
    return [w for w in weights if w in kept or all(v <= m for v, m in zip(_volumes(w), most, strict=True))]


def _unmoved(front: OrganFront) -> list[Point]:
    """The networks that are swept, as trained."""
    points = [p for curve in front.sweeps.values() for p in curve if p.offset == 0]
    return [(p.missed_ml, p.spilled_ml) for p in points if p.missed_ml is not None and p.spilled_ml is not None]


def _near(front: OrganFront, weights: Sequence[FrontWeight], xs: Range, ys: Range) -> list[str]:
    frame = NEAR
    at = linear_view(xs, ys, frame)
    parts = [words(LEFT, TOP - 14, "where the trained weights lie", bold=True), *linear_axes(xs, ys, frame)]
    parts.append(words(LEFT + 8, TOP + HIGH - 10, "↙ better", size=12, colour=SOFT, bold=True))
    taken: list[Box] = [(LEFT, TOP + HIGH - 24, LEFT + 70, TOP + HIGH)]
    inside: list[str] = []
    for curve, (dash, colour) in zip(front.sweeps.values(), cycle(SWEEP_STYLES), strict=False):
        line = _line(curve, at)
        inside.append(stroke(line, colour=colour, width=2, dash=dash))
        inside += [_tick(p, at, colour) for p in curve if p.offset == round(p.offset)]
        taken += along([p for p in line if _inside(p, frame)], 3)
    inside.append(stroke([_at(at, weight) for weight in weights], colour=VERMILION, width=0.9, opacity=0.6))
    parts.append(_clipped(inside, frame))
    marked = [around(*_at(at, weight), 8) for weight in weights]
    taken += marked
    for weight in weights:
        if len(weights) > MOST_LABELS and not (_is_chosen(front, weight) or is_default(weight.r)):
            continue
        parts += _label(_at(at, weight), *_called(front, weight), taken, frame)
    for (title, curve), (_, colour) in zip(front.sweeps.items(), cycle(SWEEP_STYLES), strict=False):
        seen = [p for p in _line(curve, at) if _inside(p, frame)]
        if seen:
            emptiest = max(seen, key=lambda p: min(_apart(p, box) for box in marked))
            parts += _label(emptiest, f"{shortened(title, LONGEST)}, moved", colour, False, taken, frame)
            marked.append(taken[-1])
    return parts + [_weight(front, weight, at) for weight in weights]  # over the lines to their labels


def _label(point: Point, label: str, colour: str, bold: bool, taken: list[Box], frame: Box) -> list[str]:
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


def _line(curve: Sequence[SweepPoint], at: View) -> list[Point]:
    return [at(p.missed_ml, p.spilled_ml) for p in curve if p.missed_ml is not None and p.spilled_ml is not None]


def _inside(point: Point, frame: Box) -> bool:
    return frame[0] <= point[0] <= frame[2] and frame[1] <= point[1] <= frame[3]


def _apart(point: Point, box: Box) -> float:
    """Pixels from the middle of the box."""
    return hypot(point[0] - (box[0] + box[2]) / 2, point[1] - (box[1] + box[3]) / 2)


def _far(front: OrganFront, weights: Sequence[FrontWeight], xs: Range, ys: Range) -> list[str]:
    """The whole sweep, and the near view as a frame in it."""
    points = [p for curve in front.sweeps.values() for p in curve]
    known = [(p.missed_ml, p.spilled_ml) for p in points if p.missed_ml is not None and p.spilled_ml is not None]
    if not known:
        return []
    known += map(_volumes, weights)
    far_x, far_y = (decades([point[axis] for point in known]) for axis in (0, 1))
    at = log_view(far_x, far_y, FAR)
    low, high = min(p.offset for p in points), max(p.offset for p in points)
    title = f"the whole sweep, offsets {low:+g} to {high:+g}".replace("-", "−")
    left, _, _, bottom = FAR
    parts = [words(left - 40, TOP - 14, title, bold=True), *log_axes(far_x, far_y, FAR)]
    for curve, (dash, colour) in zip(front.sweeps.values(), cycle(SWEEP_STYLES), strict=False):
        parts.append(stroke(_line(curve, at), colour=colour, width=1.6, dash=dash))
    for weight in weights:
        colour = VERMILION if _is_chosen(front, weight) else INK
        parts.append(mark("circle", *_at(at, weight), size=2.4, colour=colour, title=weight.label))
    corners = [(xs[0], ys[0]), (xs[1], ys[0]), (xs[1], ys[1]), (xs[0], ys[1]), (xs[0], ys[0])]
    parts.append(stroke([at(*corner) for corner in corners], colour=VERMILION, width=1.3, title="the view at the left"))
    parts.append(words(left - 40, bottom + 58, "framed: the view at the left", size=11.5, colour=VERMILION))
    parts.append(words(left - 40, bottom + 74, "axes in powers of ten", size=11.5, colour=SOFT))
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


def _volumes(weight: FrontWeight) -> Point:
    return weight.missed_ml or 0.0, weight.spilled_ml or 0.0


def _at(at: View, weight: FrontWeight) -> Point:
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

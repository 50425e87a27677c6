"""Room for labels in a crowded drawing: near their point, and not on top of one another."""

from __future__ import annotations

from collections.abc import Sequence

LETTER, LINE = 6.4, 15.0  # pixels that a letter of a label takes, about, and a line of text
REACHES = (8, 20, 34, 50, 70)  # pixels from the point
SIDES = ((1, -0.2), (-1, -0.2), (0, 1), (0, -1), (0.8, 0.8), (0.8, -0.8), (-0.8, 0.8), (-0.8, -0.8))
OUTSIDE = 20.0  # what a pixel beyond the frame costs, in pixels of reach

Box = tuple[float, float, float, float]  # left, top, right, bottom


def free_place(x: float, y: float, label: str, taken: Sequence[Box], frame: Box) -> Box:
    """The box for a label near (x, y) that covers the least of what is taken, stays in the frame, and lies nearest."""
    places = [_beside(x, y, reach * dx, reach * dy, label) for reach in REACHES for dx, dy in SIDES]
    nearness = [reach for reach in REACHES for _ in SIDES]

    def cost(number: int) -> float:
        box = places[number]
        return sum(_overlap(box, other) for other in taken) + OUTSIDE * _beyond(box, frame) + nearness[number]

    return places[min(range(len(places)), key=cost)]


def around(x: float, y: float, reach: float) -> Box:
    """The box of a mark."""
    return x - reach, y - reach, x + reach, y + reach


def _beside(x: float, y: float, dx: float, dy: float, label: str) -> Box:
    wide = LETTER * len(label) + 4
    left = x + dx - (0 if dx > 0 else wide if dx < 0 else wide / 2)
    top = y + dy - LINE / 2
    return left, top, left + wide, top + LINE


def _overlap(a: Box, b: Box) -> float:
    return max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)


def _beyond(box: Box, frame: Box) -> float:
    return sum(
        max(amount, 0) for amount in (frame[0] - box[0], frame[1] - box[1], box[2] - frame[2], box[3] - frame[3])
    )

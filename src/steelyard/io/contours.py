"""The outline of a mask on one slice, as closed polygons from which every reader gets the same pixels back.

A polygon runs along the pixels' borders, half-way between the centres of pixels inside and outside, and cuts corners
as marching squares do. It is drawn in towards the pixels inside by `INSET`, too little to be seen or to matter for a
volume: readers differ in what they make of a polygon, and this makes them agree. Some take the pixels whose centre lies
inside. Others (OpenCV's) round every point to the nearest pixel and fill what the rounded line encloses, with the line:
on the border itself a point would be rounded either way, but drawn in it goes to the pixel inside.

Two parts of a mask that touch at a corner have an outline each. A hole is joined to the outline around it by a channel
of no width (a keyhole, as DICOM wants of CLOSED_PLANAR contours). So polygons neither touch nor hold one another, and
it makes no difference whether a reader unites them or takes them by exclusive or. The channel passes beside the centres
of pixels and over pixels inside alone, so that neither kind of reader sees it.
"""

from __future__ import annotations

import numpy as np
from skimage.measure import find_contours

INSET = 0.005  # pixels: 50 times the rounding of readers that compute in float32; the volume shrinks by < 0.1 %
CHANNEL = 0.2  # pixels beside the centres: off them, and inside the outline of a single pixel (|x| + |y| < 0.495)

Point = tuple[float, float]


def outlines(mask: np.ndarray) -> list[np.ndarray]:
    """Polygons (point, 2) around a mask (row, column), pixel centres at whole numbers; none if it is empty.

    The first point is not repeated at the end. Points on a straight line along rows or columns are left out.
    """
    rings = [_Ring(mask, contour) for contour in find_contours(np.pad(mask, 1).astype(float), 0.5)]
    around = {place: ring for ring in rings for place in ring.places}
    # From the right: what leads into a hole's ring is joined to it before the ring is joined to what lies on its left.
    for hole in sorted((ring for ring in rings if ring.is_hole), key=lambda ring: -ring.leftmost[1]):
        row, column = hole.leftmost
        inside = int(np.floor(column))
        last = inside
        while last > 0 and mask[int(row), last - 1]:
            last -= 1
        around[row, last - 0.5].join(hole, (row, last - 0.5), inside)
    return [ring.polygon() for ring in rings if not ring.is_hole]


class _Ring:
    """A closed contour; `places` are its points on the border, `points` what is drawn for each, once per visit."""

    def __init__(self, mask: np.ndarray, contour: np.ndarray) -> None:
        self.places: list[Point] = [(float(row), float(column)) for row, column in contour[:-1] - 1]  # without the pad
        self.path: list[tuple[Point | None, Point]] = [(place, _drawn_in(mask, place)) for place in self.places]
        corners = np.array(self.places)
        following = np.roll(corners, -1, axis=0)
        # find_contours keeps the same side of the line inside: around a hole it turns the other way
        self.is_hole = float(np.sum(corners[:, 1] * following[:, 0] - corners[:, 0] * following[:, 1])) < 0
        across = [place for place in self.places if place[0] == round(place[0])]  # between two pixels of one row
        self.leftmost = min(across, key=lambda place: (place[1], place[0]))

    def join(self, hole: _Ring, place: Point, inside: int) -> None:
        """Leads the way from `place` on this ring into a hole and back; `inside`: the column left of the hole."""
        row, column = place
        there = [(row + CHANNEL, column + 0.5 - CHANNEL), (row + CHANNEL, inside + CHANNEL)]
        start = [found for found, _ in hole.path].index(hole.leftmost)
        turned = hole.path[start:] + hole.path[:start]
        at = [found for found, _ in self.path].index(place)
        way = [(None, point) for point in there]
        back = [(None, turned[0][1]), *reversed(way), (None, self.path[at][1])]
        self.path[at + 1 : at + 1] = [*way, *turned, *back]

    def polygon(self) -> np.ndarray:
        points = np.array([point for _, point in self.path])
        before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
        straight = (np.abs(before * after[:, ::-1]).max(axis=1) < 1e-9) & ((before * after).sum(axis=1) > 0)
        return points[~straight]


def _drawn_in(mask: np.ndarray, place: Point) -> Point:
    """A point between two neighbouring pixels, moved towards the one inside."""
    row, column = place
    if row == round(row):
        towards = -1 if _at(mask, int(row), int(np.floor(column))) else 1
        return row, column + towards * INSET
    towards = -1 if _at(mask, int(np.floor(row)), int(column)) else 1
    return row + towards * INSET, column


def _at(mask: np.ndarray, row: int, column: int) -> bool:
    return 0 <= row < mask.shape[0] and 0 <= column < mask.shape[1] and bool(mask[row, column])

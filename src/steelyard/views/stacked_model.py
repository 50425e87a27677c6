"""A case as a stack of its slices in space: reference beside segmentation, from above and from below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw

from steelyard.labels import LabelSet, Organ
from steelyard.views.canvas import TEXT_PX, WHITE, Panel, font, marked, sheet
from steelyard.views.shown_cases import ShownCase
from steelyard.views.slabs import Drawing, View, draw, window
from steelyard.volume import LabelMap

VIEWS = {"from above": View(35.0, 18.0), "from below": View(-35.0, 18.0)}
PANEL_PX = 460  # the longer side of a picture
MOST_PX_PER_MM = 4.0  # a small organ shows no more when drawn larger
FINER = 2  # drawn this much larger, then averaged: smooth edges
MARGIN_MM = 16.0
GREY = (196, 196, 196)
GROUND = (255, 255, 255)
STRIP_PX = 64  # below the picture, for directions and scale
ARROW_PX = 26
SIDES = {"L": (1.0, 0.0, 0.0), "A": (0.0, -1.0, 0.0), "H": (0.0, 0.0, 1.0)}  # left, front (anterior), head; in LPS


def stacked_model(
    case: ShownCase, *, predictions: Sequence[str] | None = None, organ: Organ | None = None
) -> Image.Image:
    """The picture: a row in the organs' colours and one in grey; seen from above the front, and from below it.

    Every panel has one scale, and the pictures of one view have one frame, so that reference and segmentations can be
    laid over one another. Without a reference the segmentations stand alone.

    Args:
        predictions: the names of those to be shown; all when left out.
        organ: this one alone.
    """
    names = list(case.predictions) if predictions is None else predictions
    shown = [] if case.reference is None else [("reference", case.reference)]
    shown += [(name, case.predictions[name]) for name in names]
    if organ is not None:
        shown = [(name, _alone(label_map, organ)) for name, label_map in shown]
    maps = [label_map for _, label_map in shown]
    wanted = [window(maps, view, 1.0, margin_mm=MARGIN_MM).shape for view in VIEWS.values()]
    px_per_mm = min(PANEL_PX / max(max(shape) for shape in wanted), MOST_PX_PER_MM)
    rows: list[list[Panel]] = [[], []]
    for title, view in VIEWS.items():
        frame = window(maps, view, FINER * px_per_mm, margin_mm=MARGIN_MM)
        for name, label_map in shown:
            drawn = draw(label_map, view, frame)
            coloured = _finish(coloured_pixels(drawn, case.label_set), view, px_per_mm)
            grey = _finish(grey_pixels(drawn), view, px_per_mm)
            rows[0].append(Panel(coloured, (f"{name}, {title}",)))
            rows[1].append(Panel(grey))
    foot = [
        f"{case.case_id}: plates as thick as the slice step, {_step_mm(maps[0]):.1f} mm; patient's right on the left"
    ]
    organs = case.label_set.organs if organ is None else (organ,)
    return sheet(rows, organs, paper=WHITE, foot=foot)


def coloured_pixels(drawn: Drawing, label_set: LabelSet) -> np.ndarray:
    """The drawing in the organs' colours on white, RGB."""
    colours = np.array([GROUND, *(organ.colour for organ in label_set.organs)], float)
    return _lit(colours[drawn.classes], drawn)


def grey_pixels(drawn: Drawing) -> np.ndarray:
    """The drawing in one grey on white, RGB."""
    return _lit(np.where((drawn.classes > 0)[..., None], GREY, GROUND).astype(float), drawn)


def _alone(label_map: LabelMap, organ: Organ) -> LabelMap:
    return replace(label_map, labels=np.where(label_map.labels == organ.index, label_map.labels, 0))


def _lit(colours: np.ndarray, drawn: Drawing) -> np.ndarray:
    light = np.where(drawn.classes > 0, drawn.light, 1.0)
    return np.round(np.clip(colours * light[..., None], 0, 255)).astype(np.uint8)


def _finish(pixels: np.ndarray, view: View, px_per_mm: float) -> np.ndarray:
    height, width = (side // FINER for side in pixels.shape[:2])
    small = np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BOX))
    small = np.pad(small, [(0, STRIP_PX), (0, 0), (0, 0)], constant_values=255)
    lettered = marked(small, paper=WHITE, px_per_mm=px_per_mm, left="R", right="L")
    return _with_triad(lettered, view)


def _with_triad(pixels: np.ndarray, view: View) -> np.ndarray:
    """Three arrows in the lower left corner: to the patient's left, front and head."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    pen, length = ImageDraw.Draw(image), ARROW_PX
    centre = np.array([46.0, pixels.shape[0] - 26.0])
    for letter, direction in SIDES.items():
        right, up, _ = view.axes @ np.array(direction)
        end = centre + length * np.array([right, -up])
        pen.line([tuple(centre), tuple(end)], WHITE.ink, 2)
        beyond = centre + (length * np.hypot(right, up) + 9) * np.array([right, -up]) / max(np.hypot(right, up), 1e-6)
        pen.text(tuple(beyond), letter, WHITE.ink, font(TEXT_PX - 4), anchor="mm")
    return np.asarray(image)


def _step_mm(label_map: LabelMap) -> float:
    return label_map.geometry.spacing_mm[0]

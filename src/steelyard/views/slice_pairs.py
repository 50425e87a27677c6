"""Pairs of slices: what the expert drew, on black, beside what a network found, laid over the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL.Image import Image

from steelyard.errors import BadSpec
from steelyard.labels import Organ
from steelyard.views.canvas import BLACK, Panel, sheet
from steelyard.views.case_on_screen import CaseOnScreen
from steelyard.views.shown_cases import ShownCase

PANEL_PX = 520  # of the longest side of any picture


@dataclass(frozen=True, eq=False)
class SlicePair:
    """One row of the figure: a slice of a case, and how the case was come by (`worst`, or nothing)."""

    case: ShownCase
    index: int
    place: str = ""


def slice_pairs(pairs: Sequence[SlicePair], *, predictions: Sequence[str] | None = None) -> Image:
    """The figure: a row per slice, in radiological view and true proportions, all rows at one scale.

    The reference is shown on black, without one the bare image; every prediction follows, half transparent on the
    image, under its Dice values in the whole case where they are known. Without predictions, the reference does.

    Args:
        predictions: the names of those to be shown; all when left out.
    """
    screens = {id(pair.case): CaseOnScreen(pair.case) for pair in pairs}
    px_per_mm = PANEL_PX / max(max(screen.size_mm) for screen in screens.values())
    rows = []
    for pair in pairs:
        case, screen = pair.case, screens[id(pair.case)]
        said = " · ".join(part for part in (pair.place, case.case_id, screen.where(pair.index)) if part)
        if case.reference is None:
            first, seen = "image", screen.image(pair.index, px_per_mm)
        else:
            first, seen = "reference", screen.on_black(case.reference, pair.index, px_per_mm)
        row = [Panel(screen.marked(seen, px_per_mm), (said, first))]
        for name in case.predictions if predictions is None else predictions:
            seen = screen.on_image(case.predictions[name], pair.index, px_per_mm)
            row.append(Panel(screen.marked(seen, px_per_mm), (screen.dice(name), name)))
        if len(row) == 1 and case.reference is not None:
            seen = screen.on_image(case.reference, pair.index, px_per_mm)
            row.append(Panel(screen.marked(seen, px_per_mm), ("", "reference on the image")))
        rows.append(row)
    return sheet(rows, pairs[0].case.label_set.organs, paper=BLACK)


def chosen_slices(case: ShownCase, count: int = 1, *, organ: Organ | None = None) -> tuple[int, ...]:
    """Indices of the slices worth a look, in order: the one that shows most, or `count` spread evenly over the organs.

    It shows most where the organs' areas add up to most, each as a share of its own largest: a slice through all
    organs rather than through the largest. The reference decides; the predictions where it is missing or empty; the
    middle slice where nothing was found.
    """
    labels = _decisive(case, organ)
    if not labels.any():
        return (len(labels) // 2,)
    if count == 1:
        areas = np.stack([(labels == index).sum((1, 2)) for index in np.unique(labels[labels > 0])])
        return (int((areas / areas.max(1, keepdims=True)).sum(0).argmax()),)
    labelled = np.flatnonzero(labels.any((1, 2)))
    spread = np.linspace(labelled[0], labelled[-1], count + 2)[1:-1]  # without the ends, where organs are specks
    return tuple(dict.fromkeys(round(float(index)) for index in spread))


def slice_numbered(case: ShownCase, number: int) -> int:
    """The index of slice `number`, which counts from 1; `BadSpec` beyond the ends."""
    count = case.image.geometry.shape[0]
    if not 1 <= number <= count:
        raise BadSpec(f"{case.case_id} has slices 1 to {count}; came {number}. Name one of them.")
    return number - 1


def _decisive(case: ShownCase, organ: Organ | None) -> np.ndarray:
    """The labels that say where to look, of one organ if one is named."""
    maps = [] if case.reference is None else [case.reference]
    for label_map in (*maps, *case.predictions.values()):
        labels = label_map.labels if organ is None else np.where(label_map.labels == organ.index, organ.index, 0)
        if labels.any():
            return labels
    return np.zeros(case.image.geometry.shape, np.uint8)

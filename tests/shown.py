"""A case to look at, small enough to count its pixels: 6 slices of 30 × 40 pixels, 5 × 2 × 3 mm."""

from __future__ import annotations

import numpy as np
import polars as pl

from steelyard.labels import CHAOS_MR
from steelyard.views.shown_cases import SCORES, ShownCase
from steelyard.volume import Geometry, LabelMap, Volume

# The first slice's middle lies 12 mm below the origin; columns run to the patient's left, rows to the back.
AFFINE = np.array([[0.0, 0, 3, -60], [0, 2, 0, -30], [5, 0, 0, -12], [0, 0, 0, 1]])
SHAPE = (6, 30, 40)
LIVER, RIGHT, LEFT, SPLEEN = (organ.index for organ in CHAOS_MR.organs)


def labels_of(boxes: dict[int, tuple[slice, slice, slice]], affine: np.ndarray = AFFINE) -> LabelMap:
    labels = np.zeros(SHAPE, np.uint8)
    for index, box in boxes.items():
        labels[box] = index
    return LabelMap(labels, Geometry(SHAPE, affine), CHAOS_MR)


REFERENCE = {LIVER: np.s_[1:5, 5:20, 4:16], LEFT: np.s_[2:4, 18:26, 28:34], SPLEEN: np.s_[2:3, 6:12, 30:38]}
PREDICTION = {LIVER: np.s_[1:5, 6:20, 4:16], LEFT: np.s_[2:4, 18:26, 28:34], RIGHT: np.s_[3:4, 2:4, 36:38]}


def shown_case(
    *, case_id: str = "p1", reference: bool = True, affine: np.ndarray = AFFINE, dice: dict[str, float] | None = None
) -> ShownCase:
    """`dice`: of the prediction named `iou0515`."""
    image = np.full(SHAPE, 100.0, np.float32)
    image[:, :, :2] = image[:, :, -2:] = 50.0
    scores = pl.DataFrame(
        [(case_id, "iou0515", organ, "dice", "counts", value, "1", "ok") for organ, value in (dice or {}).items()],
        schema=SCORES,
        orient="row",
    )
    geometry = Geometry(SHAPE, affine)
    return ShownCase(
        case_id,
        Volume(image, geometry),
        labels_of(REFERENCE, affine) if reference else None,
        {"iou0515": labels_of(PREDICTION, affine)},
        scores,
    )

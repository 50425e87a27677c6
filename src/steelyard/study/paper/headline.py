"""The paper's headline, points of IoU gained over base crossE per organ and summed, from its numbers and from ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from steelyard.study.paper.printed import BASE, LOSSES, ORGAN_AVERAGE, ORGANS, PrintedTable
from steelyard.study.paper.reproduce import (
    Interval,
    Ours,
    Value,
    column_scores,
    complete_columns,
    iou_of,
    mean_over_organs,
)

POINTS = 100  # IoU in points
SCHEMA = {
    "side": pl.String,  # printed or ours
    "base": pl.String,  # the loss that gains are counted from
    "kind": pl.String,  # organ: its best loss; least, most, sum: of those over the organs; loss: one loss, summed
    "organ": pl.String,
    "loss": pl.String,
    "points": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "patients": pl.Int64,
}


def headline(printed: PrintedTable, ours: Ours | None, interval: Interval) -> pl.DataFrame:
    """Points gained over the base, 100 × (IoU − IoU of the base), from table 3 as printed and from ours.

    For each organ the best of the paper's other losses, and the sum of those gains over the organs: the largest of
    several differences, so that it is above 0 even where no loss is better (no interval is given: the choice of the
    best would have to enter it). Beside it, each loss in all organs, summed: Σ over organs of (loss − base), with the
    interval of the patients' sums. Ours are pooled IoU of losses finished on the same folds and seeds, counted from
    base crossE and from the unweighted cross-entropy. What is not known is null.
    """
    organs = ORGANS if ours is None else ours.organs
    cells = {
        loss: {organ: Value(printed.cell(organ, loss).value) for organ in ORGANS}
        | {ORGAN_AVERAGE: Value(printed.cell(ORGAN_AVERAGE, loss).value)}
        for loss in LOSSES
    }
    records = _gains("printed", BASE, cells, ORGANS, interval)
    if ours is not None:
        frames = column_scores("table3", ours)
        values = {
            loss: {organ: iou_of(frames[loss], organ) for organ in organs}
            | {ORGAN_AVERAGE: mean_over_organs(frames[loss], organs)}
            for loss in complete_columns(frames)
        }
        for base in (BASE, "cross_entropy"):
            records += _gains("ours", base, values, organs, interval)
    return pl.DataFrame(records, schema=SCHEMA)


def _gains(
    side: str, base: str, values: Mapping[str, Mapping[str, Value]], organs: Sequence[str], interval: Interval
) -> list[dict[str, object]]:
    rivals = [loss for loss in LOSSES if loss != BASE and loss in values]
    nothing = dict.fromkeys((*organs, ORGAN_AVERAGE), Value())

    def record(kind: str, organ: str | None, loss: str | None, points: float | None) -> dict[str, object]:
        return dict.fromkeys(SCHEMA) | {
            "side": side, "base": base, "kind": kind, "organ": organ, "loss": loss, "points": points
        }  # fmt: skip

    records, bests = [], []
    for organ in organs:
        of_base = values.get(base, nothing)[organ].pooled
        known = {loss: value for loss in rivals if (value := values[loss][organ].pooled) is not None}
        best = (
            max(known, key=lambda loss: known[loss]) if of_base is not None and len(known) == len(rivals) > 0 else None
        )
        bests.append(None if best is None or of_base is None else POINTS * (known[best] - of_base))
        records.append(record("organ", organ, best, bests[-1]))
    gained = [points for points in bests if points is not None]
    for kind, of in (("least", min), ("most", max), ("sum", sum)):
        records.append(record(kind, None, None, of(gained) if len(gained) == len(organs) else None))
    start = values.get(base, nothing)[ORGAN_AVERAGE]
    for loss in rivals:
        mine = values[loss][ORGAN_AVERAGE]
        points = None
        if mine.pooled is not None and start.pooled is not None:
            points = POINTS * len(organs) * (mine.pooled - start.pooled)
        sums = _sums(mine, start, len(organs))
        bounds = interval(sums) if len(sums) else None
        records.append(
            record("loss", None, loss, points)
            | {"low": bounds[0] if bounds else None, "high": bounds[1] if bounds else None, "patients": len(sums)}
        )
    return records


def _sums(loss: Value, base: Value, organs: int) -> np.ndarray:
    """Each patient's gain in points, summed over the organs."""
    shared = [patient for patient in loss.of_patients if patient in base.of_patients]
    return np.array([POINTS * organs * (loss.of_patients[p] - base.of_patients[p]) for p in shared])

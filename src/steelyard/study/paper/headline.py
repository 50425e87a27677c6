"""The paper's headline, points of IoU gained over base crossE per organ and summed, from its numbers and from ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from steelyard.study.paper.printed import BASE, LOSSES, NOT_AT_HAND, ORGAN_AVERAGE, ORGANS, PrintedTable
from steelyard.study.paper.reproduce import (
    FEWER,
    NOT_RUN,
    UNDEFINED,
    Interval,
    Ours,
    Value,
    column_scores,
    complete_columns,
    iou_of,
    mean_over_organs,
)

POINTS = 100  # IoU in points
RIVALS = tuple(loss for loss in LOSSES if loss != BASE)
SCHEMA = {
    "side": pl.String,  # printed or ours
    "base": pl.String,  # the loss that gains are counted from
    "kind": pl.String,  # organ: its best loss; least, most, sum: of those over the organs; loss: one loss, summed
    "organ": pl.String,
    "loss": pl.String,
    "points": pl.Float64,
    "word": pl.String,  # why `points` is null
    "low": pl.Float64,
    "high": pl.Float64,
    "patients": pl.Int64,
}


def headline(printed: PrintedTable, ours: Ours | None, interval: Interval) -> pl.DataFrame:
    """Points gained over the base, 100 × (IoU − IoU of the base), from table 3 as printed and from ours.

    For each organ the best of the paper's other losses, and the sum of those gains over the organs: the largest of
    several differences, so that it is above 0 even where no loss is better (no interval is given: the choice of the
    best would have to enter it). It is given only where all of those losses are finished: the best of fewer is another
    number. Beside it, each loss in all organs, summed: Σ over organs of (loss − base), with the
    interval of the patients' sums. Ours are pooled IoU of losses finished on the same folds and seeds, counted from
    base crossE and from the unweighted cross-entropy. What is not known is null, and `word` says why.
    """
    organs = ORGANS if ours is None else ours.organs
    cells = {
        loss: {organ: Value(printed.cell(organ, loss).value) for organ in ORGANS}
        | {ORGAN_AVERAGE: Value(printed.cell(ORGAN_AVERAGE, loss).value)}
        for loss in LOSSES
    }
    records = _gains("printed", BASE, cells, dict.fromkeys(LOSSES, NOT_AT_HAND), ORGANS, interval)
    if ours is not None:
        frames = column_scores("table3", ours)
        values = {
            loss: {organ: iou_of(frames[loss], organ) for organ in organs}
            | {ORGAN_AVERAGE: mean_over_organs(frames[loss], organs)}
            for loss in complete_columns(frames)
        }
        begun = {loss for loss, frame in frames.items() if not frame.is_empty()}
        words = {
            loss: UNDEFINED if loss in values else FEWER if loss in begun else NOT_RUN for loss in (*LOSSES, *frames)
        }
        for base in (BASE, "cross_entropy"):
            records += _gains("ours", base, values, words, organs, interval)
    return pl.DataFrame(records, schema=SCHEMA)


def _gains(
    side: str,
    base: str,
    values: Mapping[str, Mapping[str, Value]],
    words: Mapping[str, str],
    organs: Sequence[str],
    interval: Interval,
) -> list[dict[str, object]]:
    """All records of one side over one base; `words` say of each loss why a value of it is not known."""
    nothing = dict.fromkeys((*organs, ORGAN_AVERAGE), Value())
    word_of_base = words.get(base, NOT_RUN)

    def record(
        kind: str, organ: str | None, loss: str | None, points: float | None, word: str, **of_patients: object
    ) -> dict[str, object]:
        known = {"side": side, "base": base, "kind": kind, "organ": organ, "loss": loss, "points": points}
        return dict.fromkeys(SCHEMA) | known | {"word": word if points is None else ""} | of_patients

    records: list[dict[str, object]] = []
    bests: list[float | None] = []
    word = ""
    for organ in organs:
        of_base = values.get(base, nothing)[organ].pooled
        known = {loss: value for loss in RIVALS if (value := values.get(loss, nothing)[organ].pooled) is not None}
        best, points = None, None
        if of_base is None:
            word = word_of_base
        elif len(known) < len(RIVALS):
            word = _word_of_rivals(words)
        else:
            best = max(known, key=lambda loss: known[loss])
            points = POINTS * (known[best] - of_base)
        bests.append(points)
        records.append(record("organ", organ, best, points, word))
    gained = [points for points in bests if points is not None]
    for kind, of in (("least", min), ("most", max), ("sum", sum)):
        records.append(record(kind, None, None, of(gained) if len(gained) == len(organs) else None, word))
    start = values.get(base, nothing)[ORGAN_AVERAGE]
    for loss in RIVALS:
        mine = values.get(loss, nothing)[ORGAN_AVERAGE]
        points = None
        if mine.pooled is not None and start.pooled is not None:
            points = POINTS * len(organs) * (mine.pooled - start.pooled)
        sums = _sums(mine, start, len(organs))
        low, high = (interval(sums) if len(sums) else None) or (None, None)
        why = words[loss] if mine.pooled is None else word_of_base
        records.append(record("loss", None, loss, points, why, low=low, high=high, patients=len(sums)))
    return records


def _word_of_rivals(words: Mapping[str, str]) -> str:
    """Why the best of the rivals cannot be named: what holds for all of them, or how many are finished."""
    kinds = {words[loss] for loss in RIVALS}
    if len(kinds) == 1:
        return kinds.pop()
    finished = sum(words[loss] == UNDEFINED for loss in RIVALS)  # of a finished one, this is what can be missing
    return f"{finished} of {len(RIVALS)} losses finished"


def _sums(loss: Value, base: Value, organs: int) -> np.ndarray:
    """Each patient's gain in points, summed over the organs."""
    shared = [patient for patient in loss.of_patients if patient in base.of_patients]
    return np.array([POINTS * organs * (loss.of_patients[p] - base.of_patients[p]) for p in shared])

"""Our runs in the shape of the paper's tables: pooled as the paper does, and per patient with an interval."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.stats import rankdata

from steelyard.labels import CHAOS_MR
from steelyard.stats.studentised import studentised_interval
from steelyard.study.paper.printed import AVERAGE, BASE, LOSSES, ORGAN_AVERAGE, ORGANS, RANK, PrintedTable

BACKGROUND = "background"
IOU = ("iou", "counts")
GLOBAL_ROWS = {  # row of the paper's tables 1 and 2 → metric, convention
    "accuracy": ("accuracy", "matlab"),
    "mean_accuracy": ("mean_sensitivity", "matlab"),
    "mean_iou": ("mean_iou", "matlab"),
    "weighted_iou": ("weighted_iou", "matlab"),
    "mean_bf_score": ("mean_bf_score", "matlab"),
}
NOT_RUN = "not run"
FEWER = "fewer runs finished"  # than another column of the same study
UNDEFINED = "not defined"
ORGAN_RANK = "rank_by_organs"  # not a row of the paper: ranks by the mean of the organs alone
GREY_ORDER = tuple(organ.name for organ in sorted(CHAOS_MR.organs, key=lambda organ: organ.source_value))
INTERVAL_SEED = 1  # of the resamples: the same patients give the same interval
TIE_DIGITS = 9  # values equal to so many decimals share their rank

Interval = Callable[[np.ndarray], tuple[float, float] | None]
Condition = tuple[str, str, str]  # network, task, loss
CELLS_SCHEMA = {
    "table": pl.String,
    "row": pl.String,
    "column": pl.String,
    "printed": pl.Float64,
    "printed_word": pl.String,  # why `printed` is null
    "printed_source": pl.String,
    "ours": pl.Float64,  # pooled over the held-out voxels of a run, then the mean over folds and seeds
    "difference": pl.Float64,  # ours − printed
    "patient_mean": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "patients": pl.Int64,
    "complete": pl.Boolean,  # finished on the same folds, seeds and organs as the other columns
}


@dataclass(frozen=True)
class Ours:
    """The scores of a study's finished runs, what it planned, and the organs of its label set, in class order."""

    scores: pl.DataFrame
    planned: tuple[Condition, ...]
    organs: tuple[str, ...]


@dataclass(frozen=True)
class Value:
    """One number of ours: pooled, and per patient (`of_patients`: patient → value, undefined ones left out)."""

    pooled: float | None = None
    of_patients: Mapping[str, float] = dataclasses.field(default_factory=dict)


def reproduce_table(printed: PrintedTable, ours: Ours | None, interval: Interval) -> pl.DataFrame:
    """The printed table beside ours, cell by cell (`CELLS_SCHEMA`).

    Tables 1 to 4 are filled by row and column: organs and background with pooled IoU, `average` with the mean over
    the classes, background included, `average_of_organs` without it, `rank` with 1 for the highest average among the
    paper's losses, ties averaged. Losses of ours that the paper does not print follow as further columns. A rank among
    fewer losses than the paper's six is another number, so that it has no difference from the printed one.

    An interval is of the mean over patients, each once (cases and seeds averaged first). `interval` takes the
    patients' values and gives the bounds, or None where they are too few.
    """
    frames = {} if ours is None else column_scores(printed.name, ours)
    organs = ORGANS if ours is None else ours.organs
    rows = [*printed.rows]
    if RANK in rows:
        rows.append(ORGAN_RANK)
    values = {
        (row, key): _value(frame, row, organs) for key, frame in frames.items() for row in rows if row not in _RANKED_BY
    }
    complete = complete_columns(frames)
    for row, by in _RANKED_BY.items():
        if row in rows:
            found = ranks({key: values[by, key].pooled for key in frames if key in LOSSES and key in complete})
            values |= {(row, key): Value(place) for key, place in found.items()}
    printed_ranks = ranks({key: printed.cell(ORGAN_AVERAGE, key).value for key in printed.columns})

    records = []
    for row in rows:
        for column in dict.fromkeys((*printed.columns, *frames)):
            cell = printed.cell(row, column)
            said, source = cell.value, cell.source
            if row == ORGAN_RANK and column in printed_ranks:
                said, source = printed_ranks[column], "worked out from the averages of organs above"
            value = values.get((row, column), Value())
            comparable = row not in _RANKED_BY or all((row, loss) in values for loss in LOSSES)
            patients = np.array(list(value.of_patients.values()))
            bounds = interval(patients) if len(patients) else None
            records.append(
                {
                    "table": printed.name,
                    "row": row,
                    "column": column,
                    "printed": said,
                    "printed_word": cell.word if said is None else "",
                    "printed_source": source,
                    "ours": value.pooled,
                    "difference": None
                    if said is None or value.pooled is None or not comparable
                    else value.pooled - said,
                    "patient_mean": float(patients.mean()) if len(patients) else None,
                    "low": bounds[0] if bounds else None,
                    "high": bounds[1] if bounds else None,
                    "patients": len(patients),
                    "complete": column in complete,
                }
            )
    return pl.DataFrame(records, schema=CELLS_SCHEMA)


def patient_interval(values: np.ndarray) -> tuple[float, float] | None:
    """The studentised bootstrap 95 % interval of the patients' mean; None where they are too few for one (below 4)."""
    low, high = (float(end[0]) for end in studentised_interval(values[:, None], seed=INTERVAL_SEED))
    return (low, high) if math.isfinite(low) and math.isfinite(high) else None


def column_scores(table: str, ours: Ours) -> dict[str, pl.DataFrame]:
    """The scores behind each column of a table, planned columns without a finished run with an empty frame.

    Table 1 has networks, by name without options, under base crossE; table 4 has `task/loss`; the others have the
    losses of multiclass runs. A study of several networks fills them with its first.
    """
    first = ours.planned[0][0] if ours.planned else ""
    found: dict[str, pl.DataFrame] = {}
    for network, task, loss in ours.planned:
        if table == "table1":
            key = network.split("(")[0] if (task, loss) == ("multiclass", BASE) else None
        elif network != first:
            key = None
        elif table == "table4":
            key = f"{task}/{loss}"
        else:
            key = loss if task == "multiclass" else None
        if key is not None:
            found[key] = _of(ours.scores, (network, task, loss))
    return found


def complete_columns(frames: Mapping[str, pl.DataFrame]) -> frozenset[str]:
    """The columns whose runs were finished on every fold, seed and organ that any of them finished."""
    extents = {key: _extent(frame) for key, frame in frames.items()}
    everything = frozenset().union(*extents.values())
    return frozenset(key for key, extent in extents.items() if extent and extent == everything)


def permuted(printed: PrintedTable) -> PrintedTable:
    """The other reading of table 3: the names stand in the paper's order over values in the order of CHAOS's greys.

    What the paper calls spleen is then grey 126, the right kidney; its right kidney is 189, the left one; its left
    kidney is 252, the spleen. Liver, background and averages stay.
    """
    cells = dict(printed.cells)
    for listed, true in zip(ORGANS, GREY_ORDER, strict=True):
        cells |= {(true, column): printed.cell(listed, column) for column in printed.columns}
    return dataclasses.replace(printed, cells=cells)


def ranks(values: Mapping[str, float | None]) -> dict[str, float]:
    """1 for the highest; equal values share the mean of their places; without a value, no rank."""
    known = {key: round(value, TIE_DIGITS) for key, value in values.items() if value is not None}
    return dict(zip(known, rankdata([-value for value in known.values()]).tolist(), strict=True)) if known else {}


def iou_of(frame: pl.DataFrame, organ: str) -> Value:
    """IoU of one class among the scores of one column."""
    return _measure(frame, *IOU, organ)


def mean_over_organs(frame: pl.DataFrame, organs: Sequence[str]) -> Value:
    """Mean IoU of the organs; a patient counts when all of them are defined."""
    each = [iou_of(frame, organ) for organ in organs]
    shared = [patient for patient in each[0].of_patients if all(patient in value.of_patients for value in each)]
    return Value(
        _mean([value.pooled for value in each]),
        {patient: sum(value.of_patients[patient] for value in each) / len(each) for patient in shared},
    )


_RANKED_BY = {RANK: AVERAGE, ORGAN_RANK: ORGAN_AVERAGE}


def _value(frame: pl.DataFrame, row: str, organs: Sequence[str]) -> Value:
    if row in GLOBAL_ROWS:
        return _measure(frame, *GLOBAL_ROWS[row], None)
    if row == ORGAN_AVERAGE:
        return mean_over_organs(frame, organs)
    if row == AVERAGE:  # per patient: the case's mean over its classes, which holds the background
        pooled = _mean([iou_of(frame, name).pooled for name in (BACKGROUND, *organs)])
        return Value(pooled, _measure(frame, *GLOBAL_ROWS["mean_iou"], None).of_patients if pooled is not None else {})
    return iou_of(frame, row)


def _measure(frame: pl.DataFrame, metric: str, convention: str, organ: str | None) -> Value:
    own = frame.filter(
        pl.col("metric") == metric, pl.col("convention") == convention, pl.col("organ").eq_missing(pl.lit(organ))
    ).drop_nulls("value")
    together = own.filter(pl.col("case_id").is_null())["value"].to_list()
    patients = own.filter(pl.col("case_id").is_not_null()).group_by("patient_id").agg(pl.col("value").mean())
    return Value(_mean(together), dict(patients.sort("patient_id").iter_rows()))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def _of(scores: pl.DataFrame, condition: Condition) -> pl.DataFrame:
    network, task, loss = condition
    return scores.filter(pl.col("network") == network, pl.col("task") == task, pl.col("loss") == loss)


def _extent(frame: pl.DataFrame) -> frozenset[tuple[int, int, str]]:
    """Which fold, seed and organ the finished runs behind a column cover."""
    own = frame.filter(
        pl.col("metric") == IOU[0], pl.col("case_id").is_null(), pl.col("organ").is_not_null(),
        pl.col("organ") != BACKGROUND,
    )  # fmt: skip
    return frozenset(own.select("fold", "seed", "organ").iter_rows())

"""Scores as a tidy table in a file, and as a short table on the screen."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import polars as pl
from rich import box
from rich.table import Table

from steelyard.errors import BadData, BadSpec
from steelyard.evaluate.case import CaseEvaluation, pool
from steelyard.runstore import disk_full, write_atomically
from steelyard.scores import Score, to_frame

COLUMNS = ("case_id", "patient_id", "organ", "metric", "convention", "value", "unit", "status")

# (metric, convention) → heading and decimals: what fits a screen. Everything else is in the file.
SHOWN: dict[tuple[str, str], tuple[str, int]] = {
    ("dice", "counts"): ("Dice", 3),
    ("iou", "counts"): ("IoU", 3),
    ("precision", "counts"): ("preci-\nsion", 3),
    ("sensitivity", "counts"): ("sensi-\ntivity", 3),
    ("ravd", "chaos"): ("RAVD\n%", 1),
    ("assd_mm", "chaos"): ("ASSD\nmm", 2),
    ("mssd_mm", "chaos"): ("MSSD\nmm", 1),
    ("hd95_mm", "chaos"): ("HD95\nmm", 1),
    ("bf_score", "matlab"): ("BF", 3),
    ("bf_score", "missing_as_zero"): ("BF miss-\ning as 0", 3),
}
UNDEFINED = "–"
MOST_CASES = 8  # beyond these the screen shows means only; the file holds every case


def scores_frame(evaluations: Sequence[CaseEvaluation]) -> pl.DataFrame:
    """One row per case, organ and metric; with several cases also the pooled rows, whose `case_id` is null.

    Columns: case_id, patient_id, organ (null for a global metric), metric, convention, value (null where undefined),
    unit, status.
    """
    return to_frame(_scores(evaluations)).select(COLUMNS)


def write_scores(path: Path, frame: pl.DataFrame) -> None:
    """The table as `.csv` (undefined values are empty) or `.parquet`, whole or not at all. Makes missing folders.

    Raises:
        BadSpec: another ending.
        BadData: a place that cannot be written.
    """
    writers: dict[str, Callable[[Path], object]] = {".csv": frame.write_csv, ".parquet": frame.write_parquet}
    if path.suffix.lower() not in writers:
        raise BadSpec(f"scores are written as .csv or .parquet; came {path}. Change the ending.")
    try:
        write_atomically(path, writers[path.suffix.lower()])
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise disk_full(error, path) from None
        raise BadData(f"{path} cannot be written ({error.strerror}). Choose another place.", file=path) from None


def score_table(evaluations: Sequence[CaseEvaluation]) -> Table:
    """Organs and cases in rows, the main metrics in columns, global metrics below.

    With several cases each organ also gets the mean over its cases; `(2 –)` behind it counts undefined cases, which
    the mean leaves out.
    """
    scores = _scores(evaluations)
    cases = [score for score in scores if score.case_id is not None and score.organ is not None]
    columns = [key for key in SHOWN if any((score.metric, score.convention) == key for score in cases)]
    table = Table(
        box=box.SIMPLE, collapse_padding=True, pad_edge=False, caption=_global_line(scores), caption_justify="left"
    )
    table.add_column("organ")
    table.add_column("case", overflow="fold")
    for key in columns:
        table.add_column(SHOWN[key][0], justify="right", no_wrap=True)
    for organ in evaluations[0].label_set.organs:
        rows = [score for score in cases if score.organ == organ.name]
        if len(evaluations) <= MOST_CASES:
            for evaluation in evaluations:
                one = [score for score in rows if score.case_id == evaluation.case_id]
                table.add_row(organ.title, _case(evaluation.case_id, one), *(_mean(one, key) for key in columns))
        if len(evaluations) > 1:
            table.add_row(
                organ.title, f"mean of {len(evaluations)}", *(_mean(rows, key) for key in columns), style="bold"
            )
        if len(evaluations) > 1:
            table.add_section()
    return table


def _scores(evaluations: Sequence[CaseEvaluation]) -> list[Score]:
    scores = [score for evaluation in evaluations for score in evaluation.scores]
    return scores + (list(pool(evaluations)) if len(evaluations) > 1 else [])


def _case(case_id: str, scores: Iterable[Score]) -> str:
    faults = {score.status for score in scores} & {"missed", "invented"}
    return f"{case_id} ({faults.pop()})" if faults else case_id


def _mean(scores: Iterable[Score], key: tuple[str, str]) -> str:
    """The mean of what is defined, with the number of undefined ones behind it where they are some of several."""
    values = [score.value for score in scores if (score.metric, score.convention) == key]
    defined = [value for value in values if value is not None]
    if not defined:
        return UNDEFINED
    undefined = len(values) - len(defined)
    shown = f"{sum(defined) / len(defined):.{SHOWN[key][1]}f}"
    return f"{shown} ({undefined} {UNDEFINED})" if undefined else shown


def _global_line(scores: Sequence[Score]) -> str:
    pooled = {score.case_id for score in scores} - {None}
    wanted = None if len(pooled) > 1 else next(iter(pooled), None)
    rows = [score for score in scores if score.organ is None and score.case_id == wanted]
    if not rows:
        return ""
    parts = [
        f"{score.metric.replace('_', ' ')}{', missing as zero' if score.convention == 'missing_as_zero' else ''} "
        f"{UNDEFINED if score.value is None else f'{score.value:.3f}'}"
        for score in rows
    ]
    return "all classes, background included: " + "; ".join(parts)

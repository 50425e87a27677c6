"""Scores as a tidy table, in memory and in a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from steelyard.errors import BadData, BadSpec
from steelyard.evaluate.case import CaseEvaluation, pool
from steelyard.runstore import DISK_FULL, disk_full, write_bytes, write_parquet
from steelyard.scores import Score, to_frame

COLUMNS = ("case_id", "patient_id", "organ", "metric", "convention", "value", "unit", "status")
ENDINGS = (".csv", ".parquet")


def scores_frame(evaluations: Sequence[CaseEvaluation]) -> pl.DataFrame:
    """One row per case, organ and metric; with several cases also the pooled rows, whose `case_id` is null.

    Columns: case_id, patient_id, organ (null for a global metric), metric, convention, value (null where undefined),
    unit, status.
    """
    return to_frame(all_scores(evaluations)).select(COLUMNS)


def all_scores(evaluations: Sequence[CaseEvaluation]) -> list[Score]:
    """The rows of every case and, with several cases, the pooled ones."""
    scores = [score for evaluation in evaluations for score in evaluation.scores]
    return scores + (list(pool(evaluations)) if len(evaluations) > 1 else [])


def check_ending(path: Path) -> None:
    """`BadSpec` unless scores can be written under that name: ask before the work, not after."""
    if path.suffix.lower() not in ENDINGS:
        raise BadSpec(f"scores are written as .csv or .parquet; came {path}. Change the ending.")


def write_scores(path: Path, frame: pl.DataFrame) -> None:
    """The table as `.csv` (undefined values are empty) or `.parquet`, whole or not at all. Makes missing folders.

    Raises:
        BadSpec: another ending.
        BadData: a place that cannot be written.
        Interrupted: the disk is full.
    """
    check_ending(path)
    try:
        if path.suffix.lower() == ".csv":
            write_bytes(path, frame.write_csv().encode())
        else:
            write_parquet(path, frame)
    except OSError as error:
        if error.errno in DISK_FULL:
            raise disk_full(error, path) from None
        raise BadData(f"{path} cannot be written ({error.strerror}). Choose another place.", file=path) from None

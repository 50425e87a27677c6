"""Scores as a tidy table, in memory and in a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from steelyard.errors import BadSpec
from steelyard.evaluate.case import CaseEvaluation, pool
from steelyard.evaluate.many import Evaluated
from steelyard.evaluate.points import total_scores
from steelyard.evaluate.structures import Key
from steelyard.runstore import write_bytes, write_parquet, writing_to
from steelyard.scores import Score, to_frame

COLUMNS = ("case_id", "patient_id", "organ", "metric", "convention", "value", "unit", "status")
LABEL_COLUMNS = ("reference_label", "prediction_label")
ENDINGS = (".csv", ".parquet")


def scores_frame(evaluations: Sequence[CaseEvaluation]) -> pl.DataFrame:
    """One row per case, organ and metric; with several cases also the pooled rows, whose `case_id` is null.

    Columns: case_id, patient_id, organ (null for a global metric), metric, convention, value (null where undefined),
    unit, status.
    """
    return to_frame(all_scores(evaluations)).select(COLUMNS)


def evaluated_frame(evaluated: Evaluated, *, points: bool = False) -> pl.DataFrame:
    """`scores_frame` of everything that was scored, with the labels used, and a row for each case that was not.

    Further columns: reference_label, prediction_label: what stands for the organ in the files, joined by ` + `. A case
    that was not scored has a row with `status` alone: `failed`, `no prediction` or `no reference`.

    Args:
        points: add the CHAOS totals, `chaos_score` without an organ, per case and (without a case) for the task.
    """
    scores = all_scores(evaluated.cases) + (total_scores(evaluated.cases) if points else [])
    table = evaluated.table
    labels = [
        {"organ": organ.name, LABEL_COLUMNS[0]: _joined(own), LABEL_COLUMNS[1]: _joined(other)}
        for organ, own, other in zip(table.label_set.organs, table.reference.keys, table.prediction.keys, strict=True)
    ]
    unscored = [
        {"case_id": case, "status": status}
        for status, cases in (
            ("failed", evaluated.failures),
            ("no prediction", evaluated.without_prediction),
            ("no reference", evaluated.without_reference),
        )
        for case in cases
    ]
    frame = to_frame(scores).select(COLUMNS).join(pl.DataFrame(labels), on="organ", how="left", maintain_order="left")
    return pl.concat([frame, pl.DataFrame(unscored, schema=frame.schema)])


def all_scores(evaluations: Sequence[CaseEvaluation]) -> list[Score]:
    """The rows of every case and, with several cases, the pooled ones."""
    scores = [score for evaluation in evaluations for score in evaluation.scores]
    return scores + (list(pool(evaluations)) if len(evaluations) > 1 else [])


def check_ending(path: Path) -> None:
    """`BadSpec` unless scores can be written under that name: ask before the work, not after."""
    if path.suffix.lower() not in ENDINGS:
        raise BadSpec(f"scores are written as .csv or .parquet; came {path}. Change the ending.")


def _joined(keys: Sequence[Key]) -> str:
    return " + ".join(map(str, keys))


def write_scores(path: Path, frame: pl.DataFrame) -> None:
    """The table as `.csv` (undefined values are empty) or `.parquet`, whole or not at all. Makes missing folders.

    Raises:
        BadSpec: another ending.
        BadData: a place that cannot be written.
        Interrupted: the disk is full.
    """
    check_ending(path)
    with writing_to(path):
        if path.suffix.lower() == ".csv":
            write_bytes(path, frame.write_csv().encode())
        else:
            write_parquet(path, frame)

"""One metric of every finished run of a study, case by case: what comparisons are made of."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from steelyard.errors import BadData
from steelyard.metrics.metric import Metric
from steelyard.records import read_table
from steelyard.study.declared import Declared

COLUMNS: dict[str, type[pl.DataType]] = {
    "network": pl.String,
    "task": pl.String,
    "loss": pl.String,
    "fold": pl.Int64,
    "seed": pl.Int64,
    "patient_id": pl.String,
    "case_id": pl.String,
    "organ": pl.String,
    "value": pl.Float64,
}


def case_scores(declared: Declared, study_folder: Path, metric: Metric) -> pl.DataFrame:
    """The metric's values in every case and organ, with `COLUMNS`; null where undefined.

    Of signed errors (`nearer_zero`) the size is given, since that is what is compared.

    Raises:
        BadData: the scores of a finished run are missing or damaged.
    """
    frames = [pl.DataFrame(schema=COLUMNS)]
    for run in declared.done:
        path = study_folder / run.name / "scores.parquet"
        try:
            frame = read_table(path).filter(
                pl.col("case_id").is_not_null(),
                pl.col("metric") == metric.name,
                pl.col("convention") == metric.convention,
                pl.col("organ").is_in(declared.organs if run.organ is None else [run.organ]),
            )
            value = pl.col("value").abs() if metric.better == "nearer_zero" else pl.col("value")
            identity = {"network": run.network, "task": run.task, "loss": run.loss, "fold": run.fold, "seed": run.seed}
            frame = frame.with_columns(value, **{key: pl.lit(known) for key, known in identity.items()})
            frames.append(frame.select(pl.col(key).cast(kind) for key, kind in COLUMNS.items()))
        except pl.exceptions.PolarsError as error:
            first_line = str(error).splitlines()[0]
            raise BadData(f"{path}: cannot be read as a table ({first_line}). Run the study again.") from error
    return pl.concat(frames)

"""How much of an organ was missed, and how much was spilled beyond it, in millilitres per case."""

from __future__ import annotations

import polars as pl

from steelyard.report.read import Study

KEYS = ["run", "case_id", "organ"]


def missed_and_spilled(study: Study) -> pl.DataFrame:
    """One row per finished run, case and organ: `missed_ml` (voxels of the reference not found) and `spilled_ml`.

    Runs keep counts in voxels. The volume of one voxel of a case follows from any of the case's volume errors, which
    are (FP − FN) voxels in millilitres; where no run has one that differs from 0, both columns are null.
    """
    counts = study.counts.rename({"class_name": "organ"}).with_columns((pl.col("fp") - pl.col("fn")).alias("surplus"))
    errors = study.scores.filter(pl.col("case_id").is_not_null() & (pl.col("metric") == "volume_error_ml"))
    voxels = (
        counts.join(errors.select(*KEYS, "value"), on=KEYS)
        .filter((pl.col("surplus") != 0) & pl.col("value").is_not_null())
        .group_by("case_id")
        .agg((pl.col("value") / pl.col("surplus")).first().alias("voxel_ml"))
    )
    return counts.join(voxels, on="case_id", how="left").select(
        "network",
        "task",
        "loss",
        *KEYS,
        (pl.col("fn") * pl.col("voxel_ml")).alias("missed_ml"),
        (pl.col("fp") * pl.col("voxel_ml")).alias("spilled_ml"),
    )

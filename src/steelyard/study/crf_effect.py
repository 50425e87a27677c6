"""What a CRF changed, patient by patient: the same networks' cases decided without and with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from steelyard.errors import BadData
from steelyard.metrics import METRICS
from steelyard.records import crf_record, read_table, study_record
from steelyard.runstore import RunFolder, write_json, write_parquet
from steelyard.stats.paired import paired_differences, summarise
from steelyard.stats.studentised import studentised_interval
from steelyard.study.declared import FinishedRun, read_declared

DIFFERENCES, SUMMARY = "crf.parquet", "crf.json"
COMPARED = ("iou", "dice", "hd95_mm", "volume_error_ml")  # by their names in the registry
SEED = 20_251_126  # of the resamples; fixed, so that a study read twice says the same
CONDITION = ("network", "task", "loss")
COLUMNS: dict[str, type[pl.DataType]] = {
    "network": pl.String,
    "task": pl.String,
    "loss": pl.String,
    "organ": pl.String,
    "metric": pl.String,
    "convention": pl.String,
    "patients": pl.Int64,
    "mean_without": pl.Float64,
    "mean_with": pl.Float64,
    "mean_difference": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
}
CASE = {"run": pl.String, "case_id": pl.String, "patient_id": pl.String, "organ": pl.String}


def has_crf(run: RunFolder, settings: Mapping[str, Any]) -> bool:
    """Whether the run's cases were decided with a CRF of these settings."""
    return run.crf.is_done and run.crf.manifest.is_file() and crf_record(run.crf.manifest)["crf"] == settings


def write_crf_effect(study_folder: Path) -> None:
    """Write `<study>/crf.parquet` and `crf.json`, or take those of an earlier study away where none asks for a CRF.

    `crf.parquet` has one row per network, task, loss, organ (null: the mean of a patient's organs) and metric. A case
    counts where both decisions have a value; seeds and cases of a patient are averaged first; of signed errors the size
    is compared. Differences are with less without, with the 95 % interval of their mean (studentised bootstrap;
    infinite below four patients, null below two). Nothing is tested: the CRF is no member of the declared family.

    `crf.json` has the settings, the runs that lack their CRF, and per network, task and loss: cases, seconds per case,
    backends, the share of voxels that changed, and per organ how many cases missed or invented it without and with.

    Raises:
        BadData: the study or the scores of a finished run are missing or damaged.
    """
    declared = read_declared(study_folder)
    settings = study_record(study_folder)["spec"].get("crf")
    if settings is None:
        for name in (DIFFERENCES, SUMMARY):
            (study_folder / name).unlink(missing_ok=True)
        return
    folders = {run: RunFolder(study_folder / run.name) for run in declared.done}
    has = {run: folder for run, folder in folders.items() if has_crf(folder, settings)}
    rows, conditions = [], []
    for key in dict.fromkeys((run.network, run.task, run.loss) for run in has):
        named = dict(zip(CONDITION, key, strict=True))
        own = {run: folder for run, folder in has.items() if (run.network, run.task, run.loss) == key}
        cases = pl.concat([_cases(run, folder, declared.organs) for run, folder in own.items()])
        rows += [named | row for row in _differences(cases, declared.organs)]
        conditions.append(named | _about(list(own.values())) | {"organs": _lost_and_invented(cases, declared.organs)})
    write_parquet(study_folder / DIFFERENCES, pl.DataFrame(rows, schema=COLUMNS))
    lacking = [run.name for run, folder in folders.items() if run not in has and (folder.path / "predictions").is_dir()]
    write_json(study_folder / SUMMARY, {"crf": settings, "lacking": lacking, "conditions": conditions})


def _cases(run: FinishedRun, folder: RunFolder, organs: tuple[str, ...]) -> pl.DataFrame:
    """A row per case, organ and compared metric: values and statuses without and with, joined."""
    keys = [*CASE, "metric"]
    organs = organs if run.organ is None else (run.organ,)
    without, with_crf = (_scores(path, organs).with_columns(pl.lit(run.name).alias("run")) for path in _files(folder))
    return without.join(with_crf, on=keys, suffix="_with", how="inner")


def _files(folder: RunFolder) -> tuple[Path, Path]:
    return folder.scores, folder.crf.scores


def _scores(path: Path, organs: tuple[str, ...]) -> pl.DataFrame:
    metrics = [METRICS[name] for name in COMPARED]
    signed = [metric.name for metric in metrics if metric.better == "nearer_zero"]
    wanted = [(pl.col("metric") == m.name) & (pl.col("convention") == m.convention) for m in metrics]
    try:
        return read_table(path).filter(
            pl.col("case_id").is_not_null(), pl.col("organ").is_in(organs), pl.any_horizontal(wanted)
        ).select(
            "case_id", "patient_id", "organ", "metric", "status",
            pl.when(pl.col("metric").is_in(signed)).then(pl.col("value").abs()).otherwise(pl.col("value")).alias("value"),
        )  # fmt: skip
    except pl.exceptions.PolarsError as error:
        first_line = str(error).splitlines()[0]
        raise BadData(f"{path}: cannot be read as a table ({first_line}). Run the study again.") from error


def _differences(cases: pl.DataFrame, organs: tuple[str, ...]) -> list[dict[str, Any]]:
    both = cases.drop_nulls(["value", "value_with"])
    values = pl.col("value", "value_with").mean()
    of_organs = both.group_by("metric", "organ", "patient_id").agg(values)
    of_all = of_organs.group_by("metric", "patient_id").agg(values).with_columns(pl.lit(None, pl.String).alias("organ"))
    means = pl.concat([of_organs, of_all], how="diagonal").sort("patient_id")
    rows = []
    for name in COMPARED:
        for organ in (*organs, None):
            own = means.filter(
                pl.col("metric") == METRICS[name].name, pl.col("organ").eq_missing(pl.lit(organ, pl.String))
            )
            if own.is_empty():
                continue
            differences = paired_differences(own["value_with"].to_numpy(), own["value"].to_numpy())[:, None]
            ends = studentised_interval(differences, seed=SEED)
            rows.append(
                {"organ": organ, "metric": METRICS[name].name, "convention": METRICS[name].convention}
                | {"patients": len(own), "mean_without": own["value"].mean(), "mean_with": own["value_with"].mean()}
                | {"mean_difference": float(summarise(differences).mean[0])}
                | {key: _number(end[0]) for key, end in zip(("low", "high"), ends, strict=True)}
            )
    return rows


def _lost_and_invented(cases: pl.DataFrame, organs: tuple[str, ...]) -> dict[str, dict[str, int]]:
    """Per organ: cases, and how many of them missed or invented it without, with, and in one of the two alone."""
    counted = {}
    statuses = cases.filter(pl.col("metric") == METRICS["iou"].name)
    for organ in organs:
        own = statuses.filter(pl.col("organ") == organ)
        counts = {"cases": len(own)}
        for status in ("missed", "invented"):
            without, with_crf = (own[name] == status for name in ("status", "status_with"))
            counts |= {
                f"{status}_without": int(without.sum()),
                f"{status}_with": int(with_crf.sum()),
                f"{status}_no_more": int((without & ~with_crf).sum()),
                f"{status}_newly": int((~without & with_crf).sum()),
            }
        counted[organ] = counts
    return counted


def _about(runs: list[RunFolder]) -> dict[str, Any]:
    records = [crf_record(run.crf.manifest) for run in runs]
    cases = [case for record in records for case in record["cases"]]
    voxels = sum(case["voxels"] for case in cases)
    return {
        "runs": len(runs),
        "cases": len(cases),
        "seconds_per_case": round(float(np.mean([case["seconds"] for case in cases])), 2),
        "backends": sorted({record["backend"] for record in records}),
        "share_changed": sum(case["voxels_changed"] for case in cases) / voxels,
        "voxels_unlike_the_runs_own": sum(case["voxels_unlike_the_runs_own"] for case in cases),
    }


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)

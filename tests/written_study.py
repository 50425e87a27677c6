"""A small study on disk, with every number chosen by hand, for the tests of the report."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from steelyard.io.nifti import write_label_map, write_volume
from steelyard.labels import LabelSet, Organ
from steelyard.scores import Score, to_frame
from steelyard.volume import Geometry, LabelMap, Volume

LABELS = LabelSet((Organ("liver", 1, 63, (213, 94, 0)), Organ("left_kidney", 2, 189, (0, 158, 115))))
# 3 slices, 4 rows, 6 columns of 5 × 2 × 3 mm; rows grow to the back, columns to the patient's left.
GRID = Geometry((3, 4, 6), np.array([[0.0, 0, 3, 0], [0, 2, 0, 0], [5, 0, 0, 0], [0, 0, 0, 1]]))


@dataclass
class WrittenRun:
    """`cases`: case id → organ → IoU (None: undefined); the patient is the part before the underscore.

    `counts`: case id → class → (tp, fp, fn, tn); by default the same for every case. `organ` makes a run uniclass.
    `gradient`: epoch → (kind of pixel, organ) → share of the gradient.
    """

    loss: str
    cases: dict[str, dict[str, float | None]] = field(default_factory=dict)
    pooled: dict[str, float | None] = field(default_factory=dict)
    others: list[Score] = field(default_factory=list)
    background: tuple[int, int, int] = (90, 6, 4)  # tp, fp, fn: IoU .9
    network: str = "net"
    fold: int = 0
    seed: int = 1
    state: str = "done"
    reason: str = ""
    organ: str | None = None
    counts: dict[str, dict[str, tuple[int, int, int, int]]] = field(default_factory=dict)
    gradient: dict[int, dict[tuple[str, str], float | None]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        of_organ = f"-{self.organ}" if self.organ else ""
        return f"{self.network}-{self.loss}-f{self.fold}-s{self.seed}{of_organ}-0a1b2c3d".replace("/", "-")

    @property
    def task(self) -> str:
        return "uniclass" if self.organ else "multiclass"


SPEC = {"data": {"dataset": "chaos", "root": "/home/someone/data", "sequences": ["t1_in"]}}


def write_study(
    folder: Path,
    runs: list[WrittenRun],
    *,
    name: str = "small",
    spec: dict[str, Any] = SPEC,
    warnings: tuple[str, ...] = (),
) -> Path:
    """`study.json`, the run folders, and images of every case."""
    folder.mkdir(parents=True, exist_ok=True)
    plan = {
        "schema": 1,
        "name": name,
        "spec": spec,
        "label_set": {
            "organs": [
                {"name": o.name, "index": o.index, "source_value": o.source_value, "colour": list(o.colour)}
                for o in LABELS.organs
            ]
        },
        "runs": [
            {key: value for key, value in _identity(run).items() if key != "study"}
            | {"task": run.task}
            | ({"organ": run.organ} if run.organ else {})  # older studies have no such key
            for run in runs
        ],
        "warnings": list(warnings),
    }
    (folder / "study.json").write_text(json.dumps(plan))
    for run in runs:
        _write_run(folder, run)
    return folder


def difference(loss: str, organ: str | None, points: tuple[float, float, float], **others: Any) -> dict[str, Any]:
    """One row of the study's comparisons: mean difference, lower and upper end, in points of IoU, against `first`."""
    mean, low, high = (value / 100 for value in points)
    usual = {"study": "small", "network": "net", "task": "multiclass", "metric": "iou", "convention": "counts"}
    rest = {
        "baseline": "first",
        "patients": 14,
        "undefined": 0,
        "mean_baseline": 0.5,
        "mean_loss": 0.5 + mean,
        "sd": 0.06,
    }
    tests = {
        "p": 0.0123,
        "p_mean": 0.0111,
        "p_holm": 0.0369,
        "family_size": 24,
        "minimum_detectable": 0.041,
        "verdict": "undecided" if organ else None,
    }
    found = {"organ": organ, "loss": loss, "mean_difference": mean, "low": low, "high": high}
    return usual | rest | tests | found | {"in_family": organ is not None} | others


def write_differences(folder: Path, rows: list[dict[str, Any]]) -> None:
    pl.DataFrame(rows).write_parquet(folder / "comparisons.parquet")


def write_ranks(folder: Path, rows: list[tuple[str, str | None, float, float, float]]) -> None:
    """Each row: loss, organ, rank, share, mean rank."""
    frame = pl.DataFrame(rows, schema=["loss", "organ", "rank", "share", "mean_rank"], orient="row")
    frame.with_columns(pl.lit("net").alias("network"), pl.lit("multiclass").alias("task")).write_parquet(
        folder / "ranks.parquet"
    )


def block(rows: slice, columns: slice, *, slices: slice = slice(1, 2), index: int = 1) -> np.ndarray:
    """Labels on `GRID` with one box of one class."""
    labels = np.zeros(GRID.shape, np.uint8)
    labels[slices, rows, columns] = index
    return labels


def write_images(folder: Path, case_id: str, reference: np.ndarray, *, grid: Geometry = GRID) -> None:
    intensities = np.full(grid.shape, 100.0, np.float32)
    write_volume(folder / "cases" / case_id / "image.nii.gz", Volume(intensities, grid))
    write_label_map(folder / "cases" / case_id / "reference.nii.gz", LabelMap(reference, grid, LABELS))


def write_prediction(folder: Path, run: WrittenRun, case_id: str, labels: np.ndarray) -> None:
    write_label_map(folder / run.name / "predictions" / f"{case_id}.nii.gz", LabelMap(labels, GRID, LABELS))


def iou_score(value: float | None, organ: str, case_id: str | None = None) -> Score:
    status = "undefined" if value is None else "missed" if value == 0 else "ok"
    patient = case_id.split("_")[0] if case_id else None
    return Score("iou", value, "1", "counts", status, organ, case_id, patient, "t1_in")


def _identity(run: WrittenRun) -> dict[str, object]:
    return {"run": run.name, "network": run.network, "loss": run.loss, "fold": run.fold, "seed": run.seed}


def _write_run(folder: Path, run: WrittenRun) -> None:
    own = folder / run.name
    if run.state == "missing":
        return
    own.mkdir()
    scores = [iou_score(v, organ, case) for case, values in run.cases.items() for organ, v in values.items()]
    scores += [iou_score(value, organ) for organ, value in run.pooled.items()]
    tp, fp, fn = run.background
    if run.organ is None:
        scores.append(iou_score(tp / (tp + fp + fn), "background"))
    to_frame([*scores, *run.others]).write_parquet(own / "scores.parquet")
    usual = {"background": (tp, fp, fn, 50), "liver": (7, 1, 2, 90)}
    pl.DataFrame(
        [
            {"case_id": case, "class_name": name, "class_index": i, "tp": a, "fp": b, "fn": c, "tn": d}
            for case in run.cases
            for i, (name, (a, b, c, d)) in enumerate(run.counts.get(case, usual).items())
        ]
        or None,
        schema={"case_id": pl.String, "class_name": pl.String, "class_index": pl.Int64}
        | dict.fromkeys(("tp", "fp", "fn", "tn"), pl.Int64),
    ).write_parquet(own / "counts.parquet")
    pl.DataFrame(
        [
            *((epoch, "training_loss", None, 1 / epoch) for epoch in (1, 2, 3)),
            *((epoch, "validation_iou", organ.name, 0.2 * epoch) for epoch in (1, 3) for organ in LABELS.organs),
            *(
                (epoch, f"gradient_{kind}", organ, share)
                for epoch, shares in run.gradient.items()
                for (kind, organ), share in shares.items()
            ),
        ],
        schema={"epoch": pl.Int64, "quantity": pl.String, "organ": pl.String, "value": pl.Float64},
        orient="row",
    ).write_parquet(own / "history.parquet")
    patients = sorted({case.split("_")[0] for case in run.cases})
    manifest = {"commit": "c0ffee", "training_seconds": 60.0, "split": {"train": ["p9"], "test": patients}}
    record = {"schema": 1, **_identity(run), "spec": {"data": {"root": "/home/someone/data"}}, "manifest": manifest}
    (own / "run.json").write_text(json.dumps(record))
    if run.state == "done":
        (own / "DONE").write_text("")
    if run.state == "failed":
        (own / "FAILED").write_text(run.reason + "\n")

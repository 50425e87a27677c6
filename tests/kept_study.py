"""A study folder with runs in every state, of which those that are done kept a case to look at."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from phantoms import organ_labels
from steelyard.io.nifti import write_label_map, write_volume
from steelyard.labels import CHAOS_MR
from steelyard.scores import to_frame
from steelyard.volume import Geometry, LabelMap, Volume

GRID = Geometry((6, 24, 20), np.array([[0, 0, 1.0, -10], [0, 2.0, 0, -20], [3.0, 0, 0, -30], [0, 0, 0, 1]]))


def write_study(folder: Path, states: dict[str, str], *, case: str | None = "p1_a") -> Path:
    """A study of one network; a loss per state. The runs that are done keep one case."""
    labels = LabelMap(organ_labels(), GRID, CHAOS_MR)
    runs = [{"run": f"net-{loss}", "network": "net", "loss": loss, "task": "multiclass", "organ": None, "fold": 0,
             "seed": 1, "epochs": 4} for loss in states]  # fmt: skip
    organs = [{"name": o.name, "index": o.index, "source_value": o.source_value, "colour": list(o.colour)}
              for o in CHAOS_MR.organs]  # fmt: skip
    plan = {"schema": 1, "name": folder.name, "spec": {"train": {"epochs": 4}}, "label_set": {"organs": organs},
            "runs": runs, "warnings": []}  # fmt: skip
    folder.mkdir(parents=True)
    (folder / "study.json").write_text(json.dumps(plan))
    for loss, state in states.items():
        own = folder / f"net-{loss}"
        if state == "to do":
            continue
        own.mkdir()
        if state == "failed":
            (own / "FAILED").write_text("the loss <b>diverged</b>\n")
        if state == "running":
            beat = {"epoch": 3, "epochs": 4, "seconds_per_epoch": 60.0, "host": "another machine", "pid": 1,
                    "updated": datetime.now(UTC).isoformat()}  # fmt: skip
            (own / "progress.json").write_text(json.dumps(beat))
        if state == "done":
            finish(own, labels, case)
    if case:
        write_volume(folder / "cases" / case / "image.nii.gz", Volume(labels.labels.astype(np.float32) * 50, GRID))
        write_label_map(folder / "cases" / case / "reference.nii.gz", labels)
    return folder


def finish(run: Path, labels: LabelMap, case: str | None) -> None:
    run.mkdir(exist_ok=True)
    (run / "run.json").write_text(json.dumps({"manifest": {"seconds": 240.0, "training_seconds": 200.0}}))
    to_frame([]).write_parquet(run / "scores.parquet")
    if case:
        write_label_map(run / "predictions" / f"{case}.nii.gz", labels)
    (run / "DONE").write_text("")

"""What several lines work on, made once and kept in the user's cache: phantom patients, and a trained run of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.pair import environment

NETWORK = "deeplabv3plus_resnet18"  # the one that the study recommends


def scenes_folder() -> Path:
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "steelyard-benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def phantoms(*, patients: int, size: int, slices: int) -> Path:
    """The folder of phantom patients with these options, in the CHAOS layout."""
    from steelyard.datasets.phantom import PhantomDataset

    folder = scenes_folder() / f"phantoms-{patients}-{size}-{slices}"
    PhantomDataset(folder, patients=patients, seed=1, size=size, slices=slices)
    return folder


def patient_id(number: int) -> str:
    """As the data set calls the patient whose folder has this number."""
    return f"mr-{number:02d}"


def phantom_labels(*, size: int, slices: int):
    """The expert's label map of one phantom."""
    from steelyard.datasets import CaseKey
    from steelyard.datasets.chaos import ChaosDataset

    reference = (
        ChaosDataset(phantoms(patients=2, size=size, slices=slices)).read(CaseKey(patient_id(1), "t1_in")).reference
    )
    assert reference is not None
    return reference


def study_file(path: Path, *, root: Path, out: Path, tables: dict[str, dict[str, Any]]) -> Path:
    """A study of phantoms as TOML."""
    content = {
        "study": {"name": "bench", "out": str(out)},
        "data": {"dataset": "chaos", "root": str(root), "sequences": ["t1_in"]},
    } | tables
    lines = []
    for table, keys in content.items():
        lines += [f"[{table}]", *(f"{key} = {_toml(value)}" for key, value in keys.items()), ""]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines))
    return path


def trained_run(*, size: int, slices: int) -> Path:
    """The folder of a finished run: one epoch, so that its network is as large as any and knows little."""
    root = phantoms(patients=2, size=size, slices=slices)
    out = scenes_folder() / f"trained-{size}-{slices}"
    file = study_file(
        out / "bench.toml",
        root=root,
        out=out,
        tables={
            "preprocess": {"size": size},
            "folds": {"count": 2, "use": [0]},
            "train": {"epochs": 1, "batch_size": 16, "optimiser": "adamw", "learning_rate": 0.001},
            "grid": {"network": [NETWORK], "loss": ["iou0515"]},
        },
    )
    if not any(out.glob("bench/*/DONE")):
        run_steelyard("run", str(file), threads=2)
    return next(out.glob("bench/*/DONE")).parent


def run_steelyard(*arguments: str, threads: int) -> None:
    """The command line in a process of its own; what it prints goes to standard error."""
    main = "from steelyard.cli import main; main()"
    subprocess.run([sys.executable, "-c", main, *arguments], env=environment(threads), check=True, stdout=sys.stderr)


def _toml(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value).lower()

"""A study small enough for tests: four written patients of 24 × 20 pixels, a tiny network, a few epochs."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from phantoms import write_chaos_patient
from steelyard.study.spec import StudySpec, parse_spec
from warm_process import run_warm

PATIENTS = (1, 2, 3, 4)


def write_patients(root: Path) -> Path:
    """Train_Sets/MR with four patients; returns `root`."""
    for number in PATIENTS:
        write_chaos_patient(root / "Train_Sets" / "MR", number)
    return root


def tiny_study(root: Path, out: Path, **tables: dict[str, Any]) -> dict[str, Any]:
    """The study as a parsed TOML document; `tables` override keys, table by table."""
    study: dict[str, dict[str, Any]] = {
        "study": {"name": "tiny", "out": str(out)},
        "data": {"dataset": "chaos", "root": str(root), "sequences": ["t1_in"]},
        "preprocess": {"size": 32},
        "folds": {"count": 2, "use": [0]},
        "train": {"epochs": 3, "batch_size": 4, "validate_every": 2, "precision": "fp32", "device": "cpu"},
        "grid": {"network": ["tiny_network:TinyNetwork"], "loss": ["cross_entropy", "iou0515"]},
    }
    for table, keys in tables.items():
        study[table] = study.get(table, {}) | keys
    return study


def tiny_spec(root: Path, out: Path, **tables: dict[str, Any]) -> StudySpec:
    """The study, checked."""
    return parse_spec(tiny_study(root, out, **tables), source="tiny.toml")


def write_toml(path: Path, study: dict[str, Any]) -> Path:
    """Strings, numbers, lists and inline tables are all that the studies of tests hold."""
    lines = []
    for table, keys in study.items():
        lines.append(f"[{table}]")
        lines += [f"{key} = {_toml(value)}" for key, value in keys.items()]
    path.write_text("\n".join(lines) + "\n")
    return path


def steelyard(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own, with the tests' modules importable."""
    main = "from steelyard.cli import main; main()"
    return run_warm(main, *arguments, timeout=300, **{"COLUMNS": "200"} | environment)


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(v)}" for key, v in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else repr(value)

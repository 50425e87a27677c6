"""What a run was made with: code, versions, machine, data, seeds and split, so that someone else can make it again."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from steelyard.study.plan import Plan, Run

PACKAGES = ("steelyard", "torch", "numpy", "scipy", "pydicom", "nibabel", "scikit-image", "polars")


def manifest(plan: Plan, run: Run, *, device: torch.device, parameters: int, slices: int) -> dict[str, Any]:
    """JSON-able. Patients appear by their ids in the data set, never by name; paths by their last part."""
    packages = PACKAGES if plan.spec.train.devices == 1 else (*PACKAGES, "lightning-fabric")
    return {
        "commit": commit(),
        "versions": {name: _version(name) for name in packages} | {"python": platform.python_version()},
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name(),
        "platform": f"{platform.system()} {platform.machine()}",
        "threads": torch.get_num_threads(),
        "devices": plan.spec.train.devices,
        "precision": plan.precision,
        "parameters": parameters,
        "training_slices": slices,
        "data_hash": plan.hash_of(run.fold.train + run.fold.test),
        "seeds": {"run": run.seed, "folds": plan.spec.folds.seed},
        "split": {
            "train": sorted({key.patient_id for key in run.fold.train}),
            "test": sorted({key.patient_id for key in run.fold.test}),
        },
        "command": " ".join(Path(word).name for word in sys.argv),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


@cache
def commit() -> str:
    """The commit of the source that runs, with a hash of its edits where it has any; `unknown` outside a checkout.

    Asked once per process, which runs the code that it has imported.
    """
    source = Path(__file__).parent
    try:
        head = _git(source, "rev-parse", "HEAD")
        edits = _git(source, "status", "--porcelain", "--", str(source.parent))
        if not edits:
            return head[:12]
        edits += _git(source, "diff", "HEAD", "--", str(source.parent))
        return f"{head[:12]}+changes-{hashlib.sha256(edits.encode()).hexdigest()[:8]}"
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def cpu_name() -> str:
    """The processor's name and how many of its cores this process may use."""
    cores = core_count()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name}, {cores} cores"


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def core_count() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

"""A run that another study beside this one has already done is taken over instead of trained again."""

from __future__ import annotations

import os
import shutil
from importlib.metadata import version
from pathlib import Path

import polars as pl
from rich.console import Console

from steelyard.records import read_table, run_record
from steelyard.runstore import RunFolder, read_json, write_json, write_parquet
from steelyard.study.manifest import commit
from steelyard.study.plan import Plan

REWRITTEN = {"run.json", "scores.parquet"}  # they name the study
LEFT_BEHIND = {"lock", "DONE", "FAILED", "checkpoint.pt", "progress.json"}
CRF = "crf"  # what a CRF decided is made anew from the weights: the other study's settings may be others


def take_from_other_studies(plan: Plan, *, console: Console) -> None:
    """Fill folders of undone runs from finished runs of the same name in studies under the same `out`.

    A run's name holds a hash of all that the study file and the data say about it; the code must be the same, too:
    runs of another version or commit are left alone. Files are linked where the file system can, and `run.json` says
    which study they were made in.
    """
    code = (commit(), version("steelyard"))
    for run in plan.runs:
        folder = plan.run_folder(run)
        if folder.is_done:
            continue
        found = (RunFolder(done.parent) for done in sorted(plan.folder.parent.glob(f"*/{run.name}/DONE")))
        source = next((other for other in found if _made_by(other) == code), None)
        if source is None:
            continue
        with folder.locked() as mine:
            if mine and not folder.is_done:
                _take(source, folder, study=plan.spec.study.name)
                console.print(f"{run.name}: taken from the study {source.path.parent.name}", highlight=False)


def _take(source: RunFolder, target: RunFolder, *, study: str) -> None:
    target.checkpoint.unlink(missing_ok=True)
    for file in sorted(source.path.rglob("*")):
        name = file.relative_to(source.path)
        if name.parts[0] == CRF:
            continue
        if file.is_file() and name.name not in REWRITTEN | LEFT_BEHIND and ".tmp." not in name.name:
            _link(file, target.path / name)
    scores = read_table(source.scores).with_columns(pl.lit(study, dtype=pl.String).alias("study"))
    write_parquet(target.scores, scores)
    record = run_record(source.manifest)
    write_json(target.manifest, record | {"study": study, "taken_from": record.get("taken_from", record.get("study"))})
    target.mark_done()


def _made_by(run: RunFolder) -> tuple[str, str] | None:
    """Commit and version that made a run; None where its record does not say, which is no error of this study."""
    try:
        manifest = read_json(run.manifest)["manifest"]
        return manifest["commit"], manifest["versions"]["steelyard"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _link(source: Path, target: Path) -> None:
    """A second name for the file, or a copy; files of runs are replaced and never changed, so both names are safe."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)

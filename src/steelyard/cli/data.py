"""Verbs that make and check image data, and that list what a study can name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import cyclopts
from cyclopts import App, Parameter

from steelyard.cli.app import console
from steelyard.cli.contents import VERBS
from steelyard.cli.fetch import fetch_data

data = App(name="data", help=VERBS["data"].sentence)
data.command(fetch_data, name="fetch")


def ls(kind: Literal["losses", "networks", "metrics", "datasets"]) -> None:
    """List what can be named in a study.

    Parameters
    ----------
    kind
        Which parts.
    """
    from importlib import import_module

    registry = getattr(import_module(f"steelyard.{kind}"), kind.upper())
    width = max(map(len, registry))
    for entry in registry.entries.values():
        print(f"{entry.name:<{width}}  {entry.summary}")


@data.command
def phantom(
    folder: Path,
    *,
    patients: Annotated[int, Parameter(validator=cyclopts.validators.Number(gte=1))] = 12,
    seed: int = 1,
) -> None:
    """Write abdominal phantoms in the layout of CHAOS: DICOM images and PNG masks of three sequences.

    Parameters
    ----------
    folder
        A new or empty folder.
    patients
        How many.
    seed
        The same seed gives the same files.
    """
    from steelyard.datasets.phantom import write_phantom

    write_phantom(folder, patients=patients, seed=seed)
    print(f"{patients} patients: {folder}")


@data.command(name="check")
def check_data(path: Path, *, json: Path | None = None) -> None:
    """Describe a data set and find what is broken or odd in it. Exit code 3 when a case cannot be used.

    Parameters
    ----------
    path
        A CHAOS tree, or a folder in nnU-Net's format.
    json
        Also write everything to this file.
    """
    from steelyard.datasets import DATASETS
    from steelyard.datasets.integrity import check
    from steelyard.report.data_check import show_findings
    from steelyard.runstore import write_json

    dataset = DATASETS["nnunet" if (path / "dataset.json").exists() else "chaos"](path)
    findings = check(dataset)
    show_findings(findings, console())
    if json is not None:
        write_json(json, findings.as_json())
    findings.raise_errors()

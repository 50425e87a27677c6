"""The verb that writes a trained network for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from steelyard.cli.app import console


def export_model(run: Path, out: Path, *, to: Literal["onnx"]) -> None:
    """Write a trained network as ONNX, with what its images need; compared with torch before it appears.

    Parameters
    ----------
    run
        A finished run's folder, as runs/<study>/<run>.
    out
        A file name that ends in .onnx; a .json of the same name is written beside it.
    to
        The format.
    """
    from steelyard.export.onnx_model import export_onnx

    exported = export_onnx(run, out)
    for agreement in exported.agreements:
        console().print(f"agreement: {agreement}", highlight=False, soft_wrap=True)
    for path in (exported.file, exported.sidecar):
        console().print(f"written: {path}", highlight=False, soft_wrap=True)

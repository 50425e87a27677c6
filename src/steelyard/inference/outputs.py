"""The files of one predicted case, each in the folder of its format."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal

from steelyard.errors import BadData
from steelyard.inference.inputs import Scan
from steelyard.io.dicom_seg import write_seg
from steelyard.io.nifti import write_label_map
from steelyard.io.png_masks import write_masks
from steelyard.io.rtstruct import write_rtstruct
from steelyard.volume import LabelMap

Format = Literal["nifti", "dicom-seg", "rtstruct", "png"]
FORMATS: tuple[Format, ...] = ("nifti", "dicom-seg", "rtstruct", "png")
NEEDS_DICOM: tuple[Format, ...] = ("dicom-seg", "rtstruct")


def write_outputs(
    out: Path, name: str, label_map: LabelMap, scan: Scan, formats: tuple[Format, ...], *, pseudonym: str | None
) -> list[Path]:
    """Writes every format, each file whole or not at all; returns the files and folders written.

        nifti       nifti/<case>.nii.gz: class indices on the scan's own grid, coordinates RAS
        dicom-seg   dicom-seg/<case>.dcm
        rtstruct    rtstruct/<case>.dcm
        png         png/<case>/<image>.png: source values of the organs, a file per slice, named after its image

    Raises:
        BadData: a DICOM object is asked for a scan that is no DICOM, or the label set does not fit into 8 bits.
    """
    written = []
    for wanted in formats:
        path = output_path(out, name, wanted)
        if wanted == "nifti":
            write_label_map(path, label_map)
        elif wanted == "png":
            write_masks(path, scan.slice_names, label_map)
        elif scan.source is None:
            raise BadData(no_dicom(wanted))
        elif wanted == "dicom-seg":
            write_seg(path, label_map, scan.source, pseudonym=pseudonym)
        else:
            write_rtstruct(path, label_map, scan.source, pseudonym=pseudonym)
        written.append(path)
    return written


def output_path(out: Path, name: str, wanted: Format) -> Path:
    """Where a case goes in one format."""
    ending = {"nifti": ".nii.gz", "dicom-seg": ".dcm", "rtstruct": ".dcm", "png": ""}[wanted]
    return out / wanted / f"{name}{ending}"


def remove_outputs(out: Path, name: str) -> None:
    """What a case that failed half-way left behind."""
    for wanted in FORMATS:
        path = output_path(out, name, wanted)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    preview_path(out, name).unlink(missing_ok=True)


def preview_path(out: Path, name: str) -> Path:
    """Where a case's picture goes."""
    return out / "preview" / f"{name}.png"


def no_dicom(wanted: Format) -> str:
    """The line for a DICOM object that has no images to refer to."""
    return f"{wanted} refers to DICOM images, and the input is NIfTI. Predict from the DICOM series, or use --to nifti."

"""Files that should be slices of a scan and cannot be read: a scan beside one is not whole, and is not predicted."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from pydicom.uid import UID

from steelyard.errors import BadData
from steelyard.io.dicom_folder import is_pipe, walk
from steelyard.io.dicom_header import AGAIN, NOT_SCANS, ImageName, dataset, text
from steelyard.io.dicom_series import is_litter

DICOM_SUFFIXES = (".dcm", ".ima", ".dicom")


def broken_files(top: Path, known: set[Path]) -> dict[Path, list[str]]:
    """Files named as DICOM images that cannot be read, by folder: one of them may be a slice of a series beside it.

    Many archives name slices without an ending, or with their number as one: then a file counts that is named like its
    neighbours but for digits, or is empty.
    """
    found: dict[Path, list[str]] = defaultdict(list)
    suffixes = {file.suffix.lower() for file in known if not file.suffix[1:].isdecimal()} | set(DICOM_SUFFIXES)
    suffixes.discard("")
    patterns = {(file.parent, _without_digits(file)) for file in known}
    folders_known = {file.parent for file in known}
    for _, _, files in walk(top):
        for file in files:
            if file in known or is_litter(file) or is_pipe(file):
                continue
            if (
                file.suffix.lower() in suffixes
                or (file.parent, _without_digits(file)) in patterns
                or (file.parent in folders_known and _is_bare(file) and _is_empty(file))
            ) and (why := _why_broken(file)):
                found[file.parent].append(why)
    return dict(found)


def _without_digits(file: Path) -> str:
    return re.sub(r"\d+", "#", file.name)


def _is_bare(file: Path) -> bool:
    return not file.suffix or file.suffix[1:].isdecimal()


def _is_empty(file: Path) -> bool:
    try:
        return file.stat().st_size == 0
    except OSError:
        return False


def _why_broken(file: Path) -> str:
    """A line for a file that is no DICOM or an image without its size; empty for whatever else lies beside scans."""
    try:
        data = dataset(file, stop_before_pixels=True, tags=["SOPClassUID", "Modality", "Rows"])
        kind, name = data.get("SOPClassUID"), ImageName(file)
        if (
            "Rows" not in data
            and text(data, "Modality", name) not in NOT_SCANS
            and (not kind or "Image Storage" in UID(kind).name)
        ):
            return f"{name} is truncated or damaged. {AGAIN}"
    except BadData as error:
        return str(error)
    return ""

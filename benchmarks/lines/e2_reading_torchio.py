"""From the files of CHAOS to cached slices, beside TorchIO."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.line import Line, Work
from benchmarks.lines.e1_reading import check_same, limit, new_folders, ours, read_by_them

if TYPE_CHECKING:
    import numpy as np

LINE = Line(
    "reading the same tree to the same slices",
    "TorchIO ScalarImage (SimpleITK's series reader) and PIL, series by series; then the same",
    wanted=1.0,
    of=(42, "series"),
    repeats=5,
    measures_memory=False,  # a study may read in several processes
    needs=("STEELYARD_DATA", "torchio"),
)

__all__ = ["LINE", "limit", "ours"]


def peer() -> Work:
    places = new_folders()
    return lambda: read_by_them(next(places), by_torchio)


def same() -> None:
    check_same(by_torchio)


def by_torchio(folder: Path) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """A folder as its documentation opens it; which way the files run, their first and last header tell."""
    import numpy as np
    import pydicom
    import torchio

    image = torchio.ScalarImage(folder)  # (1, column, row, slice), and an affine to RAS
    affine = np.diag([-1, -1, 1, 1]) @ image.affine @ np.eye(4)[:, [2, 1, 0, 3]]
    files = sorted(folder.glob("*.dcm"))
    ends = [pydicom.dcmread(file, stop_before_pixels=True).ImagePositionPatient for file in (files[0], files[-1])]
    forwards = np.dot(np.subtract(ends[1], ends[0]), affine[:3, 0]) > 0
    places = range(len(files)) if forwards else range(len(files))[::-1]
    return np.ascontiguousarray(image.numpy()[0].T).astype(np.float32), affine, list(places)


def notes() -> list[str]:
    return [
        "with a slice missing, or both echoes in one folder, that reader gives a volume and a warning on the console; "
        "ours also hashes every file and checks what it reads"
    ]

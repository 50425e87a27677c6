"""What a data set looks like: sizes, spacings, intensities and organ volumes of each case, and a hash of its files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from steelyard.datasets import CaseKey, Dataset
from steelyard.errors import BadData
from steelyard.volume import Case

PERCENTILES = (0.5, 50.0, 99.5)  # 0.5 and 99.5 ignore the few brightest and darkest voxels (vessels, artefacts)
HASHED_AT_ONCE = 1 << 20  # bytes


@dataclass(frozen=True)
class OrganFingerprint:
    """One organ in one case; `slices_with` + `slices_without` is the number of slices."""

    organ: str
    voxels: int
    volume_ml: float
    slices_with: int
    slices_without: int


@dataclass(frozen=True)
class CaseFingerprint:
    """One case: size in voxels, spacing in mm, intensities at `PERCENTILES` per channel, organs where labelled."""

    case_id: str
    patient_id: str
    sequence: str
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    intensity_percentiles: tuple[tuple[float, ...], ...]
    organs: tuple[OrganFingerprint, ...]

    def as_json(self) -> dict[str, Any]:
        """The same as plain lists and numbers; tuples become lists on writing."""
        return asdict(self)


def fingerprint_case(case: Case) -> CaseFingerprint:
    """The numbers of one case. An organ without a voxel has volume 0 and no slice; without reference `organs` is ()."""
    channels = case.image.intensities.reshape(-1, int(np.prod(case.image.geometry.shape)))
    return CaseFingerprint(
        case_id=case.case_id,
        patient_id=case.patient_id,
        sequence=case.sequence,
        shape=case.image.geometry.shape,
        spacing_mm=case.image.geometry.spacing_mm,
        intensity_percentiles=tuple(tuple(np.percentile(channel, PERCENTILES).tolist()) for channel in channels),
        organs=_organs(case),
    )


def _organs(case: Case) -> tuple[OrganFingerprint, ...]:
    if case.reference is None:
        return ()
    found = []
    for organ in case.reference.label_set.organs:
        voxels_in_slice = np.count_nonzero(case.reference.labels == organ.index, axis=(1, 2))
        slices_with = int(np.count_nonzero(voxels_in_slice))
        voxels = int(voxels_in_slice.sum())
        volume_ml = voxels * case.reference.geometry.voxel_ml
        slices_without = len(voxels_in_slice) - slices_with
        found.append(OrganFingerprint(organ.name, voxels, volume_ml, slices_with, slices_without))
    return tuple(found)


def data_hash(dataset: Dataset, keys: Sequence[CaseKey]) -> str:
    """SHA-256 over names and bytes of every file of the cases, in order of names.

    Names are relative to the folder that all files share, so a copy elsewhere has the same hash; a renamed, changed,
    added or missing file, or another choice of cases, has another.
    """
    return _combined(keys, _files(dataset, keys), _sha256)


def data_hashes(dataset: Dataset, keys: Iterable[CaseKey]) -> dict[CaseKey, str]:
    """`data_hash` of each case alone. No file is read twice, and several at once."""
    files = {key: _files(dataset, (key,)) for key in keys}
    every = sorted(set().union(*files.values()))
    with ThreadPoolExecutor() as pool:
        known = dict(zip(every, pool.map(_sha256, every), strict=True))
    return {key: _combined((key,), own, known.__getitem__) for key, own in files.items()}


def _files(dataset: Dataset, keys: Iterable[CaseKey]) -> list[Path]:
    return sorted({path for key in keys for path in dataset.files(key)})


def _combined(keys: Sequence[CaseKey], files: Sequence[Path], hash_of: Callable[[Path], str]) -> str:
    if not files:
        raise BadData("no files to hash: no cases were chosen. Name at least one sequence that the data set has.")
    shared = Path(os.path.commonpath([path.parent for path in files]))
    digest = hashlib.sha256()
    for key in sorted(keys):
        digest.update(f"case {key.case_id}\n".encode())
    for path in files:
        digest.update(f"{hash_of(path)}  {path.relative_to(shared).as_posix()}\n".encode())
    return digest.hexdigest()


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(HASHED_AT_ONCE):
                digest.update(block)
    except OSError as error:
        raise BadData(f"{path} cannot be read ({error.strerror}). Copy the data again.", file=path) from None
    return digest.hexdigest()

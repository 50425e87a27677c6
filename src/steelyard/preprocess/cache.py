"""Every case made ready for the network once: normalised, on the network's grid, kept in one file per case."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from steelyard.errors import BadData
from steelyard.preprocess.normalise import body_mask, normalise
from steelyard.preprocess.resize import PlaneMap, crop_or_pad, resample
from steelyard.runstore import write_unflushed
from steelyard.volume import Case

LOCAL_HEADER_LENGTHS = 26  # bytes into a zip member's header: the lengths of its name and of its extra field
CACHE_VERSION = 2  # raise when the arithmetic of this package changes


@dataclass(frozen=True)
class Preprocessing:
    """How a case becomes slices.

    Args:
        size: rows and columns that the network sees, in pixels.
        spacing_mm: in-plane spacing to resample to, with the body centred; None keeps native pixels and crops or pads
            around the centre of the slice, as the study does.
        context: how many neighbouring slices on each side become further channels; the end slices are repeated.
    """

    size: int = 256
    spacing_mm: float | None = None
    context: int = 0

    @property
    def key(self) -> str:
        """Names everything that changes a cached file; `context` is applied after the cache."""
        described = json.dumps([CACHE_VERSION, self.size, self.spacing_mm])
        return hashlib.sha256(described.encode()).hexdigest()[:12]


@dataclass(frozen=True, eq=False)
class PreparedCase:
    """A case on the network's grid: images (slice, channel, row, column) float32, labels (slice, row, column) uint8."""

    case_id: str
    patient_id: str
    sequence: str
    images: np.ndarray
    labels: np.ndarray | None
    plane: PlaneMap


def prepare(case: Case, preprocessing: Preprocessing) -> PreparedCase:
    """Normalise each channel by its body, then resample, or crop and pad. Context is added by `with_context`."""
    intensities = case.image.intensities
    if not np.isfinite(intensities).all():
        raise BadData(f"case {case.case_id}: finite intensities were wanted; some are NaN or infinite. Mend the image.")
    channels = intensities[None] if intensities.ndim == 3 else intensities
    body = body_mask(channels[0])
    native_shape = (case.image.geometry.shape[1], case.image.geometry.shape[2])
    if preprocessing.spacing_mm is None:
        plane = crop_or_pad(native_shape, preprocessing.size)
    else:
        plane = resample(
            native_shape,
            case.image.geometry.spacing_mm[1:],
            body,
            size=preprocessing.size,
            spacing_mm=preprocessing.spacing_mm,
        )
    images = []
    for channel in channels:
        scaled = normalise(channel, body)
        images.append(plane.to_network(scaled, fill=float(scaled.min())))
    labels = None if case.reference is None else plane.labels_to_network(case.reference.labels)
    return PreparedCase(case.case_id, case.patient_id, case.sequence, np.stack(images, axis=1), labels, plane)


def with_context(images: np.ndarray, context: int) -> np.ndarray:
    """(slice, channel, …) → (slice, channel · (2 context + 1), …): lower neighbours first, the end slices repeated."""
    if context == 0:
        return images
    count = len(images)
    neighbours = [np.clip(np.arange(count) + step, 0, count - 1) for step in range(-context, context + 1)]
    return np.concatenate([images[index] for index in neighbours], axis=1)


def prepare_cached(
    folder: Path, case_id: str, data_hash: str, preprocessing: Preprocessing, read: Callable[[], Case]
) -> PreparedCase:
    """The prepared case from `folder`, or made by `read` and kept there, named by its files' hash and preprocessing.

    Its arrays are read-only and mapped to the file: processes that read one case share its memory, and the system takes
    back what it needs elsewhere.
    """
    path = _cached_file(folder, case_id, data_hash, preprocessing)
    if path.is_dir():
        raise BadData(f"{path} is a folder where a prepared case is kept. Remove it.", file=path)
    if path.exists():
        try:
            return _load(path)
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
            RuntimeError,
            EOFError,
            zipfile.BadZipFile,
            zlib.error,
            struct.error,
            MemoryError,
        ):
            path.unlink(missing_ok=True)  # a damaged cache file is worth nothing: make it again
    keep_prepared(folder, case_id, data_hash, preprocessing, read)
    return _load(path)


def keep_prepared(
    folder: Path, case_id: str, data_hash: str, preprocessing: Preprocessing, read: Callable[[], Case]
) -> None:
    """Makes the file that `prepare_cached` finds."""
    prepared = prepare(read(), preprocessing)
    path = _cached_file(folder, case_id, data_hash, preprocessing)
    write_unflushed(path, lambda temporary: _save(temporary, prepared))


def is_cached(folder: Path, case_id: str, data_hash: str, preprocessing: Preprocessing) -> bool:
    """Whether `prepare_cached` finds a file, which may still be damaged."""
    return _cached_file(folder, case_id, data_hash, preprocessing).exists()


def _cached_file(folder: Path, case_id: str, data_hash: str, preprocessing: Preprocessing) -> Path:
    return folder / preprocessing.key / f"{case_id}-{data_hash[:12]}.npz"


def _save(path: Path, prepared: PreparedCase) -> None:
    about = {
        "case_id": prepared.case_id,
        "patient_id": prepared.patient_id,
        "sequence": prepared.sequence,
        "plane": asdict(prepared.plane),
        "labelled": prepared.labels is not None,
    }
    arrays = {"images": prepared.images} | ({} if prepared.labels is None else {"labels": prepared.labels})
    with path.open("wb") as file:
        np.savez(file, about=np.array(json.dumps(about)), **arrays)  # type: ignore[arg-type]


def _load(path: Path) -> PreparedCase:
    with zipfile.ZipFile(path) as file:
        if file.testzip() is not None:  # a mapped array is not checked again
            raise zipfile.BadZipFile(path)
        about = json.loads(str(_mapped(path, file, "about")))
        plane = about.pop("plane")
        plane = PlaneMap(tuple(plane["native_shape"]), plane["size"], tuple(plane["scale"]), tuple(plane["offset"]))
        labels = _mapped(path, file, "labels") if about.pop("labelled") else None
        return PreparedCase(**about, images=_mapped(path, file, "images"), labels=labels, plane=plane)


def _mapped(path: Path, file: zipfile.ZipFile, name: str) -> np.ndarray:
    """An array of an uncompressed npz file, where it lies in the file."""
    member = file.getinfo(f"{name}.npy")
    with path.open("rb") as content:
        content.seek(member.header_offset + LOCAL_HEADER_LENGTHS)
        content.seek(sum(struct.unpack("<HH", content.read(4))), os.SEEK_CUR)  # behind the member's name and extras
        np.lib.format.read_magic(content)
        shape, by_column, dtype = np.lib.format.read_array_header_1_0(content)
        if member.compress_type != zipfile.ZIP_STORED or dtype.hasobject:
            raise ValueError(f"{path} holds arrays that cannot be mapped")
        if not shape:
            return np.fromfile(content, dtype, count=1).reshape(())
        return np.memmap(path, dtype, mode="r", offset=content.tell(), shape=shape, order="F" if by_column else "C")

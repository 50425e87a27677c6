"""Class probabilities of every voxel of a case, kept in half precision for decisions that are taken later."""

from __future__ import annotations

import io
import zipfile
import zlib
from math import prod
from pathlib import Path

import numpy as np

from steelyard.errors import BadData
from steelyard.runstore import write_bytes


def write_probabilities(path: Path, probabilities: np.ndarray) -> None:
    """Probabilities (class, slice, row, column), any float type, as float16 in one compressed file.

    float16 keeps three digits, and steps of 6e-8 near 0: labels taken from it differ in a few voxels of a million.
    """
    buffer = io.BytesIO()
    np.savez_compressed(buffer, probabilities=probabilities.astype(np.float16))
    write_bytes(path, buffer.getvalue())


def read_probabilities(path: Path) -> np.ndarray:
    """Probabilities (class, slice, row, column), float16.

    Raises:
        BadData: the file is missing or damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            content = archive.read("probabilities.npy")
        found = _array(content)
    except FileNotFoundError:
        raise BadData(f"probabilities were wanted in {path}, which is not there. Do the run again.") from None
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise BadData(f"probabilities were wanted in {path}, but it cannot be read. Do the run again.") from error
    if found.ndim != 4 or found.dtype != np.float16:
        raise BadData(
            f"{path}: float16 of shape (class, slice, row, column) was wanted; came {found.dtype} {found.shape}. "
            "Do the run again."
        )
    return found


def _array(content: bytes) -> np.ndarray:
    """The array of an .npy file, in no more memory than its bytes account for."""
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in read_header:
        raise ValueError(f"version {version}")
    shape, _, kind = read_header[version](stream)
    if prod(shape) * kind.itemsize != len(content) - stream.tell():
        raise ValueError("another size than the header says")
    stream.seek(0)
    return np.lib.format.read_array(stream, allow_pickle=False)

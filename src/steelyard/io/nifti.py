"""Volumes and label maps as NIfTI files; the only place where DICOM's axes (LPS) turn into NIfTI's (RAS).

NIfTI counts voxels as (i, j, k) = (column, row, slice) and points to the patient's right, anterior, superior sides;
here voxels are (slice, row, column) and coordinates LPS. Reading keeps the file's own voxel order, as (k, j, i).

Source: the NIfTI-1 standard, nifti.nimh.nih.gov/nifti-1 (orientation: sform and qform).
"""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.imageglobals import LoggingOutputSuppressor

from steelyard.errors import BadData, BadSpec
from steelyard.io.nifti_placement import ras_affine
from steelyard.labels import LabelSet
from steelyard.runstore import write_atomically, writing_to
from steelyard.volume import Geometry, LabelMap, Volume, check_voxel_count

SUFFIXES = (".nii", ".nii.gz")
LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
REVERSED = np.array([2, 1, 0, 3])  # (i, j, k) ↔ (slice, row, column): the reversed order of axes
SCANNER = 1  # NIfTI's code for coordinates of the scanner
DEFLATE_LIMIT = 1040  # deflate shrinks at most 1032-fold: a header that promises more lies, and must not take memory
STORED_AS = {"float64", "float32", "int32", "int16", "uint16", "uint8"}  # types that other tools read, too


def read_volume(path: Path) -> Volume:
    """The image in a `.nii` or `.nii.gz` file: intensities float32 (slice, row, column) = (k, j, i), LPS grid.

    `BadData` in one line for a file that cannot be read, is damaged, or is not three-dimensional.
    """
    voxels, geometry = _read(path)
    return Volume(voxels.astype(np.float32), geometry)


def read_label_map(path: Path, label_set: LabelSet) -> LabelMap:
    """The labels in a file whose values are class indices of `label_set`; its numbers may be stored in any type.

    `BadData` names the file and a value that is no whole number or no class.
    """
    voxels, geometry = _read(path)
    highest = label_set.class_count - 1
    odd = ~((voxels >= 0) & (voxels <= highest) & (voxels == np.floor(voxels)))  # NaN is odd, too
    if odd.any():
        raise BadData(
            f"{path} holds the value {voxels[odd][0]:g} where the classes 0–{highest} are known "
            f"({', '.join(label_set.class_names)}). Check that it is a label map of these organs.",
            file=path,
        )
    return LabelMap(voxels.astype(np.uint8), geometry, label_set)


def write_volume(path: Path, volume: Volume) -> None:
    """Writes one channel on its own grid, whole or not at all; types that other tools cannot read become float32."""
    if volume.intensities.ndim != 3:
        raise BadData(f"{path}: a NIfTI volume has one channel; came {volume.intensities.shape[0]}. Write each alone.")
    stored = volume.intensities
    _write(path, stored if stored.dtype.name in STORED_AS else stored.astype(np.float32), volume.geometry)


def write_label_map(path: Path, label_map: LabelMap) -> None:
    """Writes class indices (uint8) on the label map's own grid, whole or not at all. Makes missing folders."""
    _write(path, label_map.labels.astype(np.uint8), label_map.geometry)


def _read(path: Path) -> tuple[np.ndarray, Geometry]:
    try:
        with LoggingOutputSuppressor():
            image = nib.load(path)
            if not isinstance(image, nib.Nifti1Image):  # NIfTI-2 is a subclass
                raise BadData(f"{path} is not a NIfTI file. Name a .nii or .nii.gz file.", file=path)
            shape = image.shape
            while len(shape) > 3 and shape[-1] == 1:
                shape = shape[:-1]
            if len(shape) != 3 or 0 in shape:
                raise BadData(
                    f"{path} has axes {image.shape} where three are wanted. Split it into volumes.", file=path
                )
            check_voxel_count(shape)
            promised = int(np.prod(shape, dtype=np.int64)) * image.get_data_dtype().itemsize
            if promised > DEFLATE_LIMIT * path.stat().st_size:
                raise BadData(f"{path} is truncated or damaged. Copy or make it again.", file=path)
            if image.get_data_dtype().kind not in "iuf":
                raise BadData(
                    f"{path} holds colours or complex numbers, not one number a voxel. Write it as such.", file=path
                )
            voxels = np.asarray(image.dataobj).reshape(shape)
            affine = LPS_FROM_RAS @ ras_affine(image)
        return np.ascontiguousarray(voxels.T), Geometry(voxels.T.shape, affine[:, REVERSED])
    except BadData as error:
        raise BadData(str(error) if error.file else f"{path}: {error} Write the file again.", file=path) from None
    except FileNotFoundError:
        raise BadData(f"there is no file {path}. Check the name.", file=path) from None
    except OSError as error:
        reason = f"cannot be read ({error.strerror})" if error.strerror else "is truncated or damaged"
        raise BadData(f"{path} {reason}. Copy or make it again.", file=path) from None
    except Exception:  # the parser raises whatever it meets in damaged bytes
        raise BadData(f"{path} is not a NIfTI file, or damaged. Copy or make it again.", file=path) from None


def _write(path: Path, voxels: np.ndarray, geometry: Geometry) -> None:
    if not path.name.endswith(SUFFIXES):
        raise BadSpec(f"{path} should be written as NIfTI. Give it a name that ends in .nii or .nii.gz.")
    affine = LPS_FROM_RAS @ geometry.affine[:, REVERSED]
    image = nib.Nifti1Image(voxels.T, affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=SCANNER)
    image.set_qform(affine, code=SCANNER)
    if not Geometry(geometry.shape, (LPS_FROM_RAS @ image.get_qform())[:, REVERSED]).same_grid(geometry):
        image.set_qform(None, code=0)  # a quaternion holds no shear, and turns of almost 180° only coarsely
    with writing_to(path):
        write_atomically(path, lambda temporary: nib.save(image, temporary))

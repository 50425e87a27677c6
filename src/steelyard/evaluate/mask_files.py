"""Masks as they lie on disk, a NIfTI file or a folder of PNG slices: which values they hold, and read as organs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from steelyard.errors import BadData
from steelyard.io.dicom_series import Series
from steelyard.io.nifti import SUFFIXES, read_volume
from steelyard.io.png_masks import read_masks
from steelyard.labels import LabelSet
from steelyard.volume import LabelMap, Volume

HIGHEST_VALUE = 65535  # labels beyond 16 bits are read as an image by mistake


@dataclass(frozen=True)
class NiftiMask:
    """One NIfTI label map of source values, or of class indices where these cannot be mistaken for source values."""

    file: Path

    @property
    def name(self) -> str:
        """The file's name without `.nii` or `.nii.gz`."""
        return without_suffix(self.file)

    def values(self) -> set[int]:
        """All values in the file; `BadData` when one is no whole number from 0 to 65535."""
        return self._values_of(read_volume(self.file))

    def read(self, label_set: LabelSet, *, or_indices: bool = False) -> LabelMap:
        """The label map on the file's own grid. `or_indices` also takes class indices that are no source values."""
        volume = read_volume(self.file)
        values = self._values_of(volume)
        sources = {organ.source_value for organ in label_set.organs}
        indices = set(range(1, label_set.class_count))
        if values <= sources | {0}:
            return LabelMap(label_set.classes_from_source(volume.intensities), volume.geometry, label_set)
        if or_indices and values <= indices | {0} and not sources & indices:
            return LabelMap(volume.intensities.astype(np.uint8), volume.geometry, label_set)
        strange = ", ".join(str(value) for value in sorted(values - sources - {0}))
        known = ", ".join(f"{organ.source_value} {organ.title}" for organ in label_set.organs)
        raise BadData(f"{self.file} holds {strange} where 0 and {known} are known. Check the labels.", file=self.file)

    def _values_of(self, volume: Volume) -> set[int]:
        voxels = volume.intensities
        odd = ~((voxels >= 0) & (voxels <= HIGHEST_VALUE) & (voxels == np.floor(voxels)))  # NaN is odd, too
        if odd.any():
            found = voxels[odd][0]
            raise BadData(f"{self.file} holds the value {found:g}. Check that it is a label map.", file=self.file)
        return {int(value) for value in np.flatnonzero(np.bincount(voxels.astype(np.int64).ravel()))}


@dataclass(frozen=True)
class PngMasks:
    """A folder of PNG masks, one per slice of a DICOM series, which owns the grid."""

    folder: Path
    series: Series

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    def values(self) -> set[int]:
        """All grey values in the masks. A file that is no grey-scale PNG adds none: `read` says what is wrong."""
        found: set[int] = set()
        for file in png_files(self.folder):
            try:
                with Image.open(file, formats=("PNG",)) as image:
                    found |= {int(value) for value in np.unique(np.array(image))} if image.mode in ("L", "1") else set()
            except Exception:  # the decoder raises whatever it meets in damaged bytes
                continue
        return found

    def read(self, label_set: LabelSet, *, or_indices: bool = False) -> LabelMap:
        """The label map on the series' grid: mask k by name belongs to the k-th image by name. PNGs hold no indices."""
        try:
            labels = read_masks(self._in_slice_order(), label_set)
        except BadData as error:
            raise BadData(f"{self.folder}: {error}", file=error.file) from None
        if labels.shape != self.series.geometry.shape:
            raise BadData(
                f"{self.folder}: masks have {labels.shape[1]} × {labels.shape[2]} pixels where the DICOM series has "
                f"{self.series.geometry.shape[1]} × {self.series.geometry.shape[2]}. Name the right series."
            )
        return LabelMap(labels, self.series.geometry, label_set)

    def _in_slice_order(self) -> list[Path]:
        masks, images = png_files(self.folder), self.series.files
        if len(masks) != len(images):
            raise BadData(f"{len(masks)} masks but {len(images)} images in the DICOM series. Name the right series.")
        stems = {mask.stem for mask in masks}, {image.stem for image in images}
        if stems[0] & stems[1] and stems[0] != stems[1]:
            stray = min(stems[0] - stems[1])
            raise BadData(f"the mask {stray} has no image of its name, though others have. Extract the masks again.")
        mask_of = dict(zip(sorted(images, key=_natural), sorted(masks, key=_natural), strict=True))
        return [mask_of[image] for image in images]


def png_files(folder: Path) -> list[Path]:
    """The PNG files of a folder, sorted by name, litter of file managers aside."""
    return sorted(f for f in folder.iterdir() if f.suffix.lower() == ".png" and not f.name.startswith("."))


def nifti_files(folder: Path) -> list[Path]:
    """The NIfTI files of a folder, sorted by name, litter of file managers aside."""
    return sorted(f for f in folder.iterdir() if f.name.endswith(SUFFIXES) and not f.name.startswith("."))


def without_suffix(file: Path) -> str:
    """`patient.01.nii.gz` → `patient.01`."""
    return file.name.removesuffix(".gz").removesuffix(".nii")


def _natural(file: Path) -> list[tuple[int, str]]:
    """Sorts `_9` before `_10`."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", file.name)]

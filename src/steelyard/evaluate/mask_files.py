"""Masks by value as they lie on disk, a NIfTI file or a folder of PNG slices: what they hold, and read as organs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from steelyard.errors import BadData
from steelyard.evaluate.structures import HIGHEST_VALUE, Reading, Structure
from steelyard.evaluate.value_names import ValueNames
from steelyard.io.nifti import SUFFIXES, read_volume
from steelyard.io.nifti_labels import read_label_names
from steelyard.io.png_masks import read_masks, read_png
from steelyard.labels import LabelSet, Organ
from steelyard.volume import Geometry, LabelMap, Volume

if TYPE_CHECKING:
    from steelyard.io.dicom_series import Series  # pydicom takes a while to import, and NIfTI files need none of it

BLACK = (0, 0, 0)  # a colour for classes that nobody will see


@dataclass(frozen=True)
class NiftiMask:
    """One NIfTI label map. `described` names its values, from a dataset.json; a table in its header does, too."""

    file: Path
    described: ValueNames | None = None

    @property
    def name(self) -> str:
        """The file's name without `.nii` or `.nii.gz`."""
        return without_suffix(self.file)

    def named(self) -> tuple[Structure, ...]:
        """Values with their names, as described or as the header says them; none where neither does."""
        names = self.described.names if self.described else read_label_names(self.file)
        return tuple(Structure(value, name) for value, name in sorted(names.items()))

    def values(self) -> set[int]:
        """All values in the file; `BadData` when one is no whole number from 0 to 65535."""
        return whole_values(self.file, read_volume(self.file))

    def read(self, reading: Reading, *, on: Geometry | None = None) -> LabelMap:
        """The label map on the file's own grid; `on` is for files without one."""
        volume = read_volume(self.file)
        values = whole_values(self.file, volume)
        if self.described and self.described.ignored in values and self.described.ignored not in reading.values:
            raise BadData(
                f"{self.file} holds {self.described.ignored}, which {self.described.file} calls ignore, but every "
                "voxel is scored here. Label these voxels, or leave the case out.",
                file=self.file,
            )
        try:
            return LabelMap(reading.classes(volume.intensities, values), volume.geometry, reading.label_set)
        except BadData as error:
            raise BadData(f"{self.file} {error}", file=self.file) from None


@dataclass(frozen=True)
class PngMasks:
    """A folder of PNG masks, one per slice of a DICOM series, which owns the grid."""

    folder: Path
    series: Series

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    def named(self) -> tuple[Structure, ...]:
        """None: grey values have no names."""
        return ()

    def values(self) -> set[int]:
        """All grey values in the masks. A file that is no grey-scale PNG adds none: `read` says what is wrong."""
        found: set[int] = set()
        for file in png_files(self.folder):
            try:
                mode, pixels = read_png(file)
                found |= {int(value) for value in np.unique(pixels)} if mode in ("L", "1") else set()
            except Exception:  # the decoder raises whatever it meets in damaged bytes
                continue
        return found

    def read(self, reading: Reading, *, on: Geometry | None = None) -> LabelMap:
        """The label map on the series' grid: mask k by name belongs to the k-th image by name. PNGs hold no indices."""
        more = self.values() if reading.background is None else reading.background
        known = sorted((reading.values.keys() | {key for key in more if isinstance(key, int)}) - {0})
        greys = LabelSet(tuple(Organ(_title(reading, v), k, v, BLACK) for k, v in enumerate(known, start=1)))
        try:
            found = read_masks(self._in_slice_order(), greys)
        except BadData as error:
            raise BadData(f"{self.folder}: {error}", file=error.file) from None
        labels = np.array([0, *(reading.values.get(value, 0) for value in known)], np.uint8)[found]
        if labels.shape != self.series.geometry.shape:
            raise BadData(
                f"{self.folder}: masks have {labels.shape[1]} × {labels.shape[2]} pixels where the DICOM series has "
                f"{self.series.geometry.shape[1]} × {self.series.geometry.shape[2]}. Name the right series."
            )
        return LabelMap(labels, self.series.geometry, reading.label_set)

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


def whole_values(file: Path, volume: Volume) -> set[int]:
    """All values of a label map; `BadData` when one is no whole number from 0 to 65535."""
    voxels = volume.intensities
    odd = ~((voxels >= 0) & (voxels <= HIGHEST_VALUE) & (voxels == np.floor(voxels)))  # NaN is odd, too
    if odd.any():
        raise BadData(f"{file} holds the value {voxels[odd][0]:g}. Check that it is a label map.", file=file)
    return {int(value) for value in np.flatnonzero(np.bincount(voxels.astype(np.int64).ravel()))}


def png_files(folder: Path) -> list[Path]:
    """The PNG files of a folder, sorted by name, litter of file managers aside."""
    return sorted(f for f in folder.iterdir() if f.suffix.lower() == ".png" and not f.name.startswith("."))


def nifti_files(folder: Path) -> list[Path]:
    """The NIfTI files of a folder, sorted by name, litter of file managers aside."""
    return sorted(f for f in folder.iterdir() if f.name.endswith(SUFFIXES) and not f.name.startswith("."))


def without_suffix(file: Path) -> str:
    """`patient.01.nii.gz` → `patient.01`."""
    return file.name.removesuffix(".gz").removesuffix(".nii")


def _title(reading: Reading, value: int) -> str:
    """A name for a grey value in a message; unique, because an organ may have several values."""
    index = reading.values.get(value, 0)
    organ = reading.label_set.class_names[index]
    return organ if index and [*reading.values.values()].count(index) == 1 else f"{organ} ({value})"


def _natural(file: Path) -> list[tuple[int, str]]:
    """Sorts `_9` before `_10`."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", file.name)]

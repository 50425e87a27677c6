"""Masks by name: a folder with one binary NIfTI file per organ, as TotalSegmentator writes it, or a DICOM SEG file."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from steelyard.errors import BadData
from steelyard.evaluate.mask_files import nifti_files, whole_values, without_suffix
from steelyard.evaluate.structures import Reading, Structure
from steelyard.io.nifti import read_volume
from steelyard.volume import Geometry, LabelMap


@dataclass(frozen=True)
class OrganFiles:
    """One case as a folder of NIfTI files, one organ each, named after it. 0 is off, the other value (1, 255) on."""

    folder: Path
    name: str

    @cached_property
    def files(self) -> dict[str, Path]:
        """Organ → file."""
        return {without_suffix(file): file for file in nifti_files(self.folder)}

    def named(self) -> tuple[Structure, ...]:
        """The files' names."""
        return tuple(Structure(name, name) for name in self.files)

    def read(self, reading: Reading, *, on: Geometry | None = None) -> LabelMap:
        """The organs asked for as one label map on the files' common grid; other files stay closed."""
        labels: np.ndarray | None = None
        geometry: Geometry | None = None
        for index, names in enumerate(reading.keys, start=1):
            for name in map(str, names):
                if name not in self.files:
                    raise BadData(f"{self.folder} lacks {name}.nii.gz, which other cases have. Add it.")
                mask, here = self._mask(self.files[name])
                if labels is None or geometry is None:
                    labels, geometry = np.zeros(mask.shape, np.uint8), here
                if not geometry.same_grid(here):
                    raise BadData(f"{self.files[name]} lies on another grid than its neighbours. Make them again.")
                taken = labels[mask]
                if (others := taken[(taken != 0) & (taken != index)]).size:
                    raise BadData(
                        f"{self.folder}: {name} and {reading.label_set.organs[int(others[0]) - 1].name} overlap in "
                        f"{others.size} voxels, where one organ per voxel is wanted. Score one at a time: --labels."
                    )
                labels[mask] = index
        if labels is None or geometry is None:
            raise ValueError("a reading of no organ")
        return LabelMap(labels, geometry, reading.label_set)

    def _mask(self, file: Path) -> tuple[np.ndarray, Geometry]:
        volume = read_volume(file)
        on = whole_values(file, volume) - {0}
        if len(on) > 1:
            raise BadData(
                f"{file} holds {', '.join(map(str, sorted(on)))} where a file per organ holds one value. "
                "Check that it is a mask of one organ.",
                file=file,
            )
        return volume.intensities > 0, volume.geometry


@dataclass(frozen=True)
class SegMask:
    """One DICOM SEG file. A segment that other cases have and it lacks is an organ that was not found."""

    file: Path
    name: str

    def named(self) -> tuple[Structure, ...]:
        """The segments, by their labels and coded concepts."""
        from steelyard.io.dicom_seg import read_seg  # takes a while to import

        organs = read_seg(self.file).label_set.organs
        return tuple(Structure(organ.name, organ.name, organ.concept) for organ in organs)

    def read(self, reading: Reading, *, on: Geometry | None = None) -> LabelMap:
        """The segments asked for, on the grid `on`, or on the file's own."""
        from steelyard.io.dicom_seg import read_seg

        found = read_seg(self.file, on=on)
        index_of = {name: index for index, names in enumerate(reading.keys, start=1) for name in names}
        lookup = np.array([0, *(index_of.get(organ.name, 0) for organ in found.label_set.organs)], np.uint8)
        return LabelMap(lookup[found.labels], found.geometry, reading.label_set)

"""Images and label maps on their grid in the patient, in plain numpy."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np

from steelyard.errors import BadData
from steelyard.labels import LabelSet

GRID_TOLERANCE_MM = 1e-2  # DICOM decimal strings and float32 NIfTI headers are rounded

MOST_VOXELS = 1 << 29  # 512 × 512 × 2048, 2 GiB as float32: a small file may claim more, and would take the memory


@dataclass(frozen=True, eq=False)
class Geometry:
    """Where voxels lie: `affine` (4 × 4) maps (slice, row, column) indices to DICOM patient coordinates, LPS, in mm."""

    shape: tuple[int, int, int]
    affine: np.ndarray

    def __post_init__(self) -> None:
        if self.affine.shape != (4, 4) or not np.isfinite(self.affine).all() or self.voxel_ml == 0:
            raise BadData(f"a geometry needs an invertible 4 × 4 affine; came {self.affine.tolist()}.")

    @cached_property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbours along (slice, row, column), from the affine and never from SliceThickness."""
        slice_mm, row_mm, column_mm = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(slice_mm), float(row_mm), float(column_mm)

    @cached_property
    def voxel_ml(self) -> float:
        """Volume of one voxel: |det affine| / 1000."""
        return abs(float(np.linalg.det(self.affine[:3, :3]))) / 1000

    @cached_property
    def diagonal_mm(self) -> float:
        """The volume's diagonal, voxel edges included: the distance charged for a missed or invented organ."""
        return float(np.linalg.norm(np.array(self.shape) * np.array(self.spacing_mm)))

    def same_grid(self, other: Geometry, *, tolerance_mm: float = GRID_TOLERANCE_MM) -> bool:
        """Whether every voxel of both lies at the same place within `tolerance_mm`."""
        if self.shape != other.shape:
            return False
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in self.shape], indexing="ij")).reshape(3, -1)
        corners = np.vstack([corners, np.ones(corners.shape[1])])
        return bool(np.abs((self.affine - other.affine) @ corners).max() <= tolerance_mm)


def check_voxel_count(shape: tuple[int, ...]) -> None:
    """Refuses an image of more than `MOST_VOXELS`, before memory is taken."""
    if prod(shape) > MOST_VOXELS:
        said = " × ".join(map(str, shape))
        raise BadData(f"{said} voxels are more than the {MOST_VOXELS} that are read. Crop or resample the image.")


@dataclass(frozen=True, eq=False)
class Volume:
    """Intensities (slice, row, column), or (channel, slice, row, column) for registered phases, on a grid."""

    intensities: np.ndarray
    geometry: Geometry

    def __post_init__(self) -> None:
        if self.intensities.ndim not in (3, 4) or self.intensities.shape[-3:] != self.geometry.shape:
            raise BadData(f"image {self.intensities.shape} does not fit its grid {self.geometry.shape}.")


@dataclass(frozen=True, eq=False)
class LabelMap:
    """Class indices (slice, row, column), uint8, on a grid; the label set says which organ each index is."""

    labels: np.ndarray
    geometry: Geometry
    label_set: LabelSet

    def __post_init__(self) -> None:
        if self.labels.shape != self.geometry.shape:
            raise BadData(f"labels {self.labels.shape} do not fit their grid {self.geometry.shape}.")
        if self.labels.size and int(self.labels.max()) >= self.label_set.class_count:
            raise BadData(
                f"label {int(self.labels.max())} was found where 0–{self.label_set.class_count - 1} are known. "
                "Check the label set."
            )

    def volume_ml(self, name: str) -> float:
        """Volume of one organ in millilitres."""
        return int(np.count_nonzero(self.labels == self.label_set.organ(name).index)) * self.geometry.voxel_ml


@dataclass(frozen=True, eq=False)
class Case:
    """One image volume of one sequence of one patient, with the expert's labels where there are any."""

    case_id: str
    patient_id: str
    sequence: str
    image: Volume
    reference: LabelMap | None

    def __post_init__(self) -> None:
        if self.reference is not None and not self.reference.geometry.same_grid(self.image.geometry):
            raise BadData(f"case {self.case_id}: image and reference lie on different grids.")

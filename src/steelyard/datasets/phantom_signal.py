"""What an MR scanner makes of an anatomy: signals of water and fat, two contrasts, shading, noise and partial volume.

T1 gradient echo: water W and fat F add up in phase, S = W + F, and cancel out of phase, S = |W − F|, so that pixels
which hold both (the borders of organs in fat) turn dark. T2 with spectral fat suppression: fat leaves a small rest.
Magnitude images carry Rician noise: S' = √((S + n₁)² + n₂²), n normal.

Source: Dixon, Radiology 153 (1984); Gudbjartsson and Patz, Magn Reson Med 34 (1995).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from steelyard.datasets.phantom_anatomy import TISSUES, Anatomy
from steelyard.datasets.phantom_shapes import SmoothField
from steelyard.labels import CHAOS_MR

# Per tissue: T1 water, T1 fat, T2 (fat suppressed), relative to subcutaneous fat in phase = 1. Levels seen in abdominal
# MRI at 1.5 T: soft organs and muscle lie close together in T1; in T2 spleen, kidneys and bowel are bright alike.
SIGNALS: Mapping[str, tuple[float, float, float]] = {
    "air": (0.0, 0.0, 0.0),
    "fat": (0.06, 0.94, 0.09),
    "muscle": (0.37, 0.03, 0.15),
    "marrow": (0.31, 0.20, 0.22),
    "bone": (0.06, 0.02, 0.03),
    "disc": (0.33, 0.0, 0.32),
    "fluid": (0.22, 0.0, 1.15),
    "blood": (0.25, 0.0, 0.52),
    "fast_blood": (0.28, 0.0, 0.07),
    "heart": (0.36, 0.02, 0.34),
    "lung": (0.03, 0.0, 0.02),
    "liver": (0.46, 0.02, 0.33),
    "spleen": (0.40, 0.0, 0.64),
    "renal_cortex": (0.45, 0.0, 0.66),
    "renal_medulla": (0.36, 0.0, 0.76),
    "pancreas": (0.45, 0.06, 0.42),
    "bile": (0.32, 0.0, 1.25),
    "wall": (0.38, 0.02, 0.38),
    "meal": (0.42, 0.05, 0.60),
    "stool": (0.50, 0.12, 0.30),
}
PARTIAL_VOLUME_MM = 2.6  # the pixels that scanners measure are coarser than those that they show
SLICE_SAMPLES = 3  # sub-slices that are averaged through a slice
AIR_MM = 25.0  # drawn around the body's mean outline, so that no deformed patient is cut off


@dataclass(frozen=True, eq=False)
class Grid:
    """A stack of slices in the patient: ascending axes in mm and the slice thickness."""

    z_mm: np.ndarray
    y_mm: np.ndarray
    x_mm: np.ndarray
    thickness_mm: float

    @property
    def shape(self) -> tuple[int, int, int]:
        return len(self.z_mm), len(self.y_mm), len(self.x_mm)


@dataclass(frozen=True, eq=False)
class Scan:
    """Water, fat and T2 signal (slice, row, column), float32, without noise, and the classes of the voxels (uint8)."""

    water: np.ndarray
    fat: np.ndarray
    t2: np.ndarray
    labels: np.ndarray


def random_signals(rng: np.random.Generator) -> dict[str, tuple[float, float, float]]:
    """The table of tissues for one patient: each signal up to about a quarter off, some livers fatty."""
    table = {}
    steatosis = float(rng.choice([0.0, 0.0, 0.0, 0.05, 0.12]))
    for tissue in TISSUES:
        water, fat, t2 = SIGNALS[tissue]
        t1_change, t2_change = np.exp(np.clip(rng.standard_normal(2), -2, 2) * (0.09, 0.14))
        if tissue == "liver":
            fat += steatosis
        table[tissue] = (water * t1_change, fat * t1_change, t2 * t2_change)
    return table


def scan(anatomy: Anatomy, signals: Mapping[str, tuple[float, float, float]], texture: SmoothField, grid: Grid) -> Scan:
    """Signals and labels of an anatomy on a grid; a voxel belongs to an organ that fills more than half of it."""
    rows = np.flatnonzero(np.abs(grid.y_mm) < anatomy.half_depth_mm + AIR_MM)
    columns = np.flatnonzero(np.abs(grid.x_mm) < anatomy.half_width_mm + AIR_MM)
    inside = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    y_mm, x_mm = grid.y_mm[inside[0]], grid.x_mm[inside[1]]
    offsets = ((np.arange(SLICE_SAMPLES) + 0.5) / SLICE_SAMPLES - 0.5) * grid.thickness_mm
    ramp_mm = max(PARTIAL_VOLUME_MM, 1.2 * float(grid.x_mm[1] - grid.x_mm[0]))

    channels = 3 + len(CHAOS_MR.organs)
    volume = np.zeros((channels, *grid.shape), np.float32)
    for index, z_mm in enumerate(grid.z_mm):
        points = anatomy.points(z_mm + offsets, y_mm, x_mm)
        canvas = np.zeros((channels, *points.x.shape), np.float32)
        for layer in anatomy.layers(points):
            filled = np.clip(0.5 - layer.distance / ramp_mm, 0, 1)
            if not filled.any():
                continue
            colour = np.zeros((channels, 1, 1, 1), np.float32)
            colour[:3, 0, 0, 0] = signals[layer.tissue]
            if layer.organ:
                colour[2 + layer.organ] = 1
            part = canvas[(slice(None), *layer.window)]
            part += filled * (colour - part)
        canvas[:3] *= 1 + 0.06 * texture.on(points.z_mm, points.y_mm, points.x_mm)
        volume[(slice(None), index, *inside)] = canvas.mean(1)
    occupied = volume[3:]
    labels = np.where(occupied.max(0) > 0.5, occupied.argmax(0) + 1, 0).astype(np.uint8)
    return Scan(volume[0], volume[1], volume[2], labels)


def shading(rng: np.random.Generator, grid: Grid) -> np.ndarray:
    """Uneven sensitivity of the coils, a smooth factor around 1 (slice, row, column)."""
    field = SmoothField.random(rng, lattice_mm=130)
    return np.exp(0.16 * field.on(grid.z_mm, grid.y_mm, grid.x_mm))


def magnitude(rng: np.random.Generator, signal: np.ndarray, *, noise: float, scale: float) -> np.ndarray:
    """A magnitude image in whole grey values (uint16): the signal with Rician noise, times the scanner's gain."""
    real = rng.standard_normal(signal.shape, dtype=np.float32)
    imaginary = rng.standard_normal(signal.shape, dtype=np.float32)
    noisy = np.hypot(signal + noise * real, noise * imaginary)
    return np.clip(np.rint(noisy * scale), 0, np.iinfo(np.uint16).max).astype(np.uint16)

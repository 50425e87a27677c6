"""The geometry that phantoms are made of: rounded solids, tubes and smooth random fields, all in millimetres."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.sparse import csr_array

UNIT_SD = (151 / 315) ** 1.5  # of white noise after cubic B-splines along three axes: ∫β₃² = 151/315 per axis
MARGIN_MM = 30.0  # how far a deformed solid may reach beyond its own radius

Window = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class SmoothField:
    """A smooth random field with mean 0 and standard deviation 1: cubic B-splines on a lattice of white noise."""

    coefficients: np.ndarray  # (z, y, x)
    lattice_mm: float

    @classmethod
    def random(cls, rng: np.random.Generator, *, lattice_mm: float, reach_mm: float = 260.0) -> SmoothField:
        """A field over the cube of half-width `reach_mm`, that changes over distances of about `lattice_mm`."""
        count = 2 * int(np.ceil(reach_mm / lattice_mm)) + 5
        noise = rng.standard_normal((count, count, count), dtype=np.float32)
        return cls(noise / np.float32(UNIT_SD), lattice_mm)

    def on(self, z_mm: np.ndarray, y_mm: np.ndarray, x_mm: np.ndarray) -> np.ndarray:
        """Values (z, y, x) on the grid of three axes."""
        values = self.coefficients
        for axis, points_mm in enumerate((z_mm, y_mm, x_mm)):
            moved = np.moveaxis(values, axis, 0)
            drawn = self._weights(points_mm) @ moved.reshape(len(moved), -1)
            values = np.moveaxis(drawn.reshape(-1, *moved.shape[1:]), 0, axis)
        return values

    def _weights(self, points_mm: np.ndarray) -> csr_array:
        """(point, lattice node): each point hears four nodes. Sparse, because dense products would start threads."""
        count = len(self.coefficients)
        first, t = np.divmod(points_mm / self.lattice_mm + (count - 1) / 2, 1)
        taps = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, 3 * (t + t**2 - t**3) + 1, t**3], axis=1) / 6
        nodes = first[:, None].astype(int) + np.arange(-1, 3)
        ends = 4 * np.arange(len(points_mm) + 1)
        return csr_array((taps.astype(np.float32).ravel(), nodes.ravel(), ends), shape=(len(points_mm), count))


@dataclass(frozen=True, eq=False)
class Points:
    """A block of points (z, y, x) in the patient's body, seen through a smooth deformation.

    `x`, `y`, `z` are where each point lies in the undeformed body; the axes are where it lies in the patient.
    """

    z_mm: np.ndarray
    y_mm: np.ndarray
    x_mm: np.ndarray
    z: np.ndarray
    y: np.ndarray
    x: np.ndarray

    def window(self, low: np.ndarray, high: np.ndarray) -> Window | None:
        """The block within the box `low` to `high` (x, y, z) and a margin for the deformation; None if empty."""
        if self.z_mm[-1] < low[2] - MARGIN_MM or self.z_mm[0] > high[2] + MARGIN_MM:
            return None
        rows = np.searchsorted(self.y_mm, (low[1] - MARGIN_MM, high[1] + MARGIN_MM))
        columns = np.searchsorted(self.x_mm, (low[0] - MARGIN_MM, high[0] + MARGIN_MM))
        if rows[0] == rows[1] or columns[0] == columns[1]:
            return None
        return slice(None), slice(*rows), slice(*columns)


@dataclass(frozen=True, eq=False)
class Ellipsoid:
    """Centre, three radii and a rotation whose columns are the ellipsoid's own axes."""

    centre: np.ndarray
    radii: np.ndarray
    rotation: np.ndarray

    @cached_property
    def low(self) -> np.ndarray:
        return self.centre - np.sqrt((self.rotation**2) @ self.radii**2)

    @cached_property
    def high(self) -> np.ndarray:
        return 2 * self.centre - self.low

    def distance(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Nearly the signed distance to the surface, negative inside: k(k − 1)/|∇k²/2| with k² = Σ (p_i / r_i)²."""
        centre = self.centre.astype(np.float32)
        x, y, z = x - centre[0], y - centre[1], z - centre[2]
        level = np.zeros_like(x)
        slope = np.zeros_like(x)
        for axis, radius in zip(self.rotation.T.astype(np.float32), self.radii.astype(np.float32), strict=True):
            along = ((x * axis[0] + y * axis[1] + z * axis[2]) / radius) ** 2
            level += along
            slope += along / radius**2
        level = np.sqrt(level)
        return level * (level - 1) / (np.sqrt(slope) + 1e-6)


@dataclass(frozen=True, eq=False)
class Tube:
    """A straight piece of vessel or bowel with round ends, that may taper."""

    start: np.ndarray
    end: np.ndarray
    radius: float
    end_radius: float

    @cached_property
    def low(self) -> np.ndarray:
        return np.minimum(self.start, self.end) - max(self.radius, self.end_radius)

    @cached_property
    def high(self) -> np.ndarray:
        return np.maximum(self.start, self.end) + max(self.radius, self.end_radius)

    def distance(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Distance to the axis, less the radius there."""
        start, axis = self.start.astype(np.float32), (self.end - self.start).astype(np.float32)
        x, y, z = x - start[0], y - start[1], z - start[2]
        share = np.clip((x * axis[0] + y * axis[1] + z * axis[2]) / (axis @ axis), 0, 1)
        away = np.sqrt((x - share * axis[0]) ** 2 + (y - share * axis[1]) ** 2 + (z - share * axis[2]) ** 2)
        return away - (self.radius + share * (self.end_radius - self.radius))


def rotation(*, about_x: float = 0.0, about_y: float = 0.0, about_z: float = 0.0) -> np.ndarray:
    """A rotation matrix from angles in radians, applied about x, then y, then z."""
    (cx, cy, cz), (sx, sy, sz) = np.cos((about_x, about_y, about_z)), np.sin((about_x, about_y, about_z))
    turn_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    turn_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    turn_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return turn_z @ turn_y @ turn_x


def joined(first: np.ndarray, second: np.ndarray, *, blend_mm: float) -> np.ndarray:
    """Distance to the union of two solids, with a smooth seam."""
    overlap = np.clip(1 - np.abs(first - second) / blend_mm, 0, None)
    return np.minimum(first, second) - overlap**2 * (blend_mm / 4)


def common(first: np.ndarray, second: np.ndarray, *, blend_mm: float) -> np.ndarray:
    """Distance to what two solids have in common, with a rounded edge."""
    return -joined(-first, -second, blend_mm=blend_mm)

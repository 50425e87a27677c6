"""The anatomy of an invented abdomen: which tissue lies where, and what belongs to which organ.

Coordinates are millimetres in the patient, centred in the abdomen at the height of the renal hila: x to the patient's
left, y to the back, z to the head.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from steelyard.datasets.phantom_shapes import Ellipsoid, Points, SmoothField, Tube, Window, common, joined
from steelyard.labels import LIVER, SPLEEN

TISSUES = (
    "air",
    "fat",
    "muscle",
    "marrow",
    "bone",
    "disc",
    "fluid",
    "blood",
    "fast_blood",
    "heart",
    "lung",
    "liver",
    "spleen",
    "renal_cortex",
    "renal_medulla",
    "pancreas",
    "bile",
    "wall",
    "meal",
    "stool",
)

EVERYWHERE: Window = (slice(None), slice(None), slice(None))


@dataclass(frozen=True, eq=False)
class Layer:
    """A solid of one tissue that covers all earlier layers: signed distance in mm on a window of the points."""

    window: Window
    distance: np.ndarray
    tissue: str
    organ: int = 0  # class index, 0 where no organ is labelled


@dataclass(frozen=True, eq=False)
class Kidney:
    """A bean: an ellipsoid with its sinus cut in from the middle."""

    label: int
    body: Ellipsoid
    sinus: Ellipsoid
    pelvis: Tube
    fat_mm: float
    cortex_mm: float


@dataclass(frozen=True, eq=False)
class Anatomy:
    """One patient: build, solids and random fields. `layers` tells the tissues of any block of points."""

    cavity_x: float
    cavity_y: float
    fat_mm: float
    wall_mm: float
    dome_mm: float
    spine_y: float
    liver_parts: tuple[Ellipsoid, Ellipsoid]
    liver_hollow: Ellipsoid
    vessels: tuple[Tube, ...]
    spleen: Ellipsoid
    kidneys: tuple[Kidney, Kidney]
    stomach: tuple[Ellipsoid, Ellipsoid]
    antrum: Tube
    stomach_level: float
    stomach_meal: float
    heart: Ellipsoid
    gallbladder: Ellipsoid
    pancreas: tuple[Tube, ...]
    colon: tuple[Tube, ...]
    bowel_top: float
    great_vessels: tuple[tuple[Tube, str], ...]
    muscles: tuple[Ellipsoid, ...]
    psoas: tuple[Tube, ...]
    bend: tuple[SmoothField, ...]
    bend_mm: float
    wobble: SmoothField
    loops: SmoothField
    filling: SmoothField

    def points(self, z_mm: np.ndarray, y_mm: np.ndarray, x_mm: np.ndarray) -> Points:
        """The grid of three ascending axes, in mm, seen through this patient's deformation."""
        x, y, z = (self.bend_mm * field.on(z_mm, y_mm, x_mm) for field in self.bend)
        x += x_mm.astype(np.float32)
        y += y_mm.astype(np.float32)[:, None]
        z += z_mm.astype(np.float32)[:, None, None]
        return Points(z_mm, y_mm, x_mm, z, y, x)

    @property
    def half_width_mm(self) -> float:
        return self.cavity_x + self.fat_mm * 1.5 + self.wall_mm

    @property
    def half_depth_mm(self) -> float:
        return self.cavity_y + self.fat_mm * 1.5 + self.wall_mm

    def layers(self, points: Points) -> Iterator[Layer]:
        """Tissues from the skin inwards; a later layer covers the earlier ones where its distance is negative."""
        wobble = self.wobble.on(points.z_mm, points.y_mm, points.x_mm)
        cavity = self._outline(points, self.cavity_x, self.cavity_y)
        dome = self._diaphragm(points)
        yield from self._body_wall(points, cavity)
        yield from self._chest(points, cavity, dome)
        loops = self.loops.on(points.z_mm, points.y_mm, points.x_mm)
        filling = self.filling.on(points.z_mm, points.y_mm, points.x_mm)
        yield from self._bowel(points, cavity, loops, filling)
        abdomen = common(cavity + 1.5, dome + 0.5, blend_mm=4)
        yield from self._spleen(points, abdomen, wobble)
        yield from self._stomach(points, abdomen, wobble, filling)
        yield from self._pancreas(points, wobble)
        yield from self._liver(points, abdomen, wobble)
        yield from self._retroperitoneum(points, wobble, loops)
        yield from self._spine(points, cavity)

    def _outline(self, points: Points, half_width: float, half_depth: float) -> np.ndarray:
        """Signed distance to a rounded box, x⁴ + y⁴ + 1.1 x²y² = 1, that narrows towards the waist."""
        waist = 1 - 0.05 / (1 + np.exp((points.z_mm.astype(np.float32) + 25) / 20))[:, None, None]
        u, v = points.x / (half_width * waist), points.y / (half_depth * waist)
        uu, vv = u * u, v * v
        level = np.sqrt(np.sqrt(uu * uu + vv * vv + 1.1 * uu * vv))
        slope_x = u * (2 * uu + 1.1 * vv) / half_width
        slope_y = v * (2 * vv + 1.1 * uu) / half_depth
        steepness = np.sqrt(slope_x**2 + slope_y**2) / 2 / (level**3 + 1e-4)
        return (level - 1) / (steepness + 2e-3)

    def _body_wall(self, points: Points, cavity: np.ndarray) -> Iterator[Layer]:
        depth = points.y / self.cavity_y
        fat = self.fat_mm * (1 + 0.45 * np.clip(depth, -1, 1))
        yield Layer(EVERYWHERE, cavity - self.wall_mm - fat - 2, "muscle")  # the skin
        yield Layer(EVERYWHERE, cavity - self.wall_mm - fat, "fat")
        yield Layer(EVERYWHERE, cavity - self.wall_mm, "muscle")
        sheath = np.abs(cavity - self.wall_mm * 0.55) - 0.7
        yield Layer(EVERYWHERE, sheath + 2 * (points.z > 40), "fat")
        height = points.z + 22 * depth + 0.12 * np.abs(points.x)
        rib = np.abs((height / 25) % 1 - 0.5) * 25 - 5.5
        rib = np.maximum(rib, np.abs(cavity - self.wall_mm * 0.5) - 3.5)
        rib = np.maximum(rib, 10 - points.z + 20 * (1 - np.abs(points.x) / self.cavity_x))
        yield Layer(EVERYWHERE, rib - 1.2, "bone")
        yield Layer(EVERYWHERE, rib, "marrow")
        yield Layer(EVERYWHERE, cavity, "fat")

    def _diaphragm(self, points: Points) -> np.ndarray:
        """Height above the diaphragm: two domes, the right one higher, that fall steeply towards the back."""
        back = np.clip(points.y + 10, 0, None) / self.cavity_y
        front = np.clip(-25 - points.y, 0, None) / self.cavity_y
        slope = 62 * back * back + 45 * front * front
        right = self.dome_mm - 40 * ((points.x + 0.5 * self.cavity_x) / (0.6 * self.cavity_x)) ** 2
        left = self.dome_mm - 14 - 40 * ((points.x - 0.5 * self.cavity_x) / (0.6 * self.cavity_x)) ** 2
        return (points.z - (-joined(-right, -left, blend_mm=30) - slope)) * 0.8

    def _chest(self, points: Points, cavity: np.ndarray, dome: np.ndarray) -> Iterator[Layer]:
        yield Layer(EVERYWHERE, np.maximum(cavity + 1, 2.5 - dome), "lung")
        yield Layer(EVERYWHERE, np.maximum(cavity + 1, np.abs(dome - 1.2) - 1.3), "muscle")
        if window := points.window(self.heart.low, self.heart.high):
            heart = self._inside(self.heart, points, window)
            above = -dome[window] + 2
            yield Layer(window, np.maximum(heart - 6, above), "fat")
            yield Layer(window, np.maximum(heart, above + 2), "heart")
            yield Layer(window, np.maximum(heart + 11, above + 10), "blood")

    def _bowel(self, points: Points, cavity: np.ndarray, loops: np.ndarray, filling: np.ndarray) -> Iterator[Layer]:
        place = np.maximum(cavity + 8, points.z - self.bowel_top + 0.35 * np.abs(points.x))
        place = np.maximum(place, points.y - 12 - 0.12 * np.abs(points.x))
        small = common(place, (-0.25 - loops) * 12, blend_mm=6)
        yield Layer(EVERYWHERE, small, "wall")
        yield Layer(EVERYWHERE, small + 2.5, "meal")
        yield Layer(EVERYWHERE, np.maximum(small + 2.5, (0.45 - filling) * 14), "fluid")
        yield Layer(EVERYWHERE, np.maximum(small + 3, (filling + 1.5) * 14), "air")
        for tube in self.colon:
            if window := points.window(tube.low, tube.high):
                colon = self._inside(tube, points, window) + 3 * loops[window]
                colon = common(colon, cavity[window] + 4, blend_mm=8)
                yield Layer(window, colon, "wall")
                yield Layer(window, colon + 2.5, "stool")
                yield Layer(window, np.maximum(colon + 2.5, (0.3 - loops[window]) * 9), "meal")
                yield Layer(window, np.maximum(colon + 3.5, (filling[window] + 0.5) * 14), "air")

    def _spleen(self, points: Points, abdomen: np.ndarray, wobble: np.ndarray) -> Iterator[Layer]:
        if window := points.window(self.spleen.low, self.spleen.high):
            spleen = self._inside(self.spleen, points, window) + 2.5 * wobble[window]
            spleen = common(spleen, abdomen[window] + 1.5, blend_mm=10)
            yield Layer(window, np.maximum(spleen - 1, abdomen[window]), "fat")
            yield Layer(window, spleen, "spleen", SPLEEN.index)

    def _stomach(self, points: Points, abdomen: np.ndarray, wobble: np.ndarray, filling: np.ndarray) -> Iterator[Layer]:
        fundus, body = self.stomach
        low = np.minimum(np.minimum(fundus.low, body.low), self.antrum.low)
        high = np.maximum(np.maximum(fundus.high, body.high), self.antrum.high)
        if window := points.window(low, high):
            parts = [self._inside(part, points, window) for part in (fundus, body, self.antrum)]
            stomach = joined(joined(parts[0], parts[1], blend_mm=20), parts[2], blend_mm=15)
            stomach = common(stomach - 2 * wobble[window], abdomen[window] + 1, blend_mm=8)
            yield Layer(window, np.maximum(stomach - 2.5, abdomen[window]), "fat")
            yield Layer(window, stomach, "wall")
            yield Layer(window, stomach + 4.5, "fluid")
            yield Layer(window, np.maximum(stomach + 4.5, (filling[window] - self.stomach_meal) * 20), "meal")
            yield Layer(window, np.maximum(stomach + 4.5, points.y[window] - self.stomach_level), "air")

    def _pancreas(self, points: Points, wobble: np.ndarray) -> Iterator[Layer]:
        for tube in self.pancreas:
            if window := points.window(tube.low, tube.high):
                pancreas = self._inside(tube, points, window) + 2.5 * wobble[window]
                yield Layer(window, pancreas - 3, "fat")
                yield Layer(window, pancreas, "pancreas")

    def _liver(self, points: Points, abdomen: np.ndarray, wobble: np.ndarray) -> Iterator[Layer]:
        right, left = self.liver_parts
        window = points.window(np.minimum(right.low, left.low), np.maximum(right.high, left.high))
        if window is None:
            return
        liver = joined(self._inside(right, points, window), self._inside(left, points, window), blend_mm=25)
        liver = common(liver, -self._inside(self.liver_hollow, points, window), blend_mm=18)
        liver = common(liver - 2.5 * wobble[window], abdomen[window], blend_mm=8)
        yield Layer(window, np.maximum(liver - 1.2, abdomen[window]), "fat")
        yield Layer(window, liver, "liver", LIVER.index)
        for tube in self.vessels:
            if (near := points.window(tube.low, tube.high)) and near[1].stop > window[1].start:
                full = np.full(points.x.shape, 99, np.float32)
                full[window] = liver
                vessel = np.maximum(self._inside(tube, points, near), full[near] + 5)
                yield Layer(near, vessel, "blood", LIVER.index)
        if window := points.window(self.gallbladder.low, self.gallbladder.high):
            yield Layer(window, self._inside(self.gallbladder, points, window), "bile")

    def _retroperitoneum(self, points: Points, wobble: np.ndarray, loops: np.ndarray) -> Iterator[Layer]:
        for kidney in self.kidneys:
            window = points.window(kidney.body.low - 10, kidney.body.high + 10)
            if window is None:
                continue
            bean = self._inside(kidney.body, points, window) + 1.2 * wobble[window]
            yield Layer(window, bean - kidney.fat_mm, "fat")
            yield Layer(window, bean, "renal_cortex", kidney.label)
            yield Layer(window, bean + kidney.cortex_mm + 2 * loops[window], "renal_medulla", kidney.label)
            yield Layer(window, self._inside(kidney.sinus, points, window), "fat")
            yield Layer(window, self._inside(kidney.pelvis, points, window), "fluid")
        for tube, tissue in self.great_vessels:
            if window := points.window(tube.low, tube.high):
                vessel = self._inside(tube, points, window)
                yield Layer(window, vessel - 1.5, "wall")
                yield Layer(window, vessel, tissue)

    def _spine(self, points: Points, cavity: np.ndarray) -> Iterator[Layer]:
        for psoas in self.psoas:
            if window := points.window(psoas.low, psoas.high):
                yield Layer(window, self._inside(psoas, points, window), "muscle")
        for muscle in self.muscles:
            if window := points.window(muscle.low, muscle.high):
                solid = np.maximum(self._inside(muscle, points, window), cavity[window] - self.wall_mm)
                yield Layer(window, np.maximum(solid - 1.5, cavity[window]), "fat")
                yield Layer(window, solid, "muscle")
        middle = self.spine_y
        low, high = np.array([-60, middle - 60, -400]), np.array([60, middle + 90, 400])
        if window := points.window(low, high):
            x, y, z = points.x[window], points.y[window], points.z[window]
            process = np.maximum(np.abs(x) - 4, np.abs(y - middle - 44) - 22)
            facets = np.maximum(np.abs(np.abs(x) - 15) - 8, np.abs(y - middle - 27 - 0.2 * np.abs(x)) - 6)
            yield Layer(window, joined(process, facets, blend_mm=8), "marrow")
            vertebra = np.hypot(x / 23, (y - middle) / 17)
            vertebra = (vertebra - 1) * 19
            yield Layer(window, vertebra, "bone")
            yield Layer(window, vertebra + 2, "marrow")
            gap = np.abs((z / 36) % 1 - 0.5) * 36
            yield Layer(window, np.maximum(vertebra, 13.5 - gap), "disc")
            canal = (np.hypot(x / 11, (y - middle - 24) / 9) - 1) * 10
            yield Layer(window, canal - 1.5, "bone")
            yield Layer(window, canal, "fluid")
            yield Layer(window, canal + 4.5, "wall")  # the cord and its roots

    @staticmethod
    def _inside(solid: Ellipsoid | Tube, points: Points, window: Window) -> np.ndarray:
        return solid.distance(points.x[window], points.y[window], points.z[window])

"""The anatomy of an invented patient: which tissue lies where in the abdomen, and which voxels belong to which organ.

Coordinates are millimetres in the patient, centred in the abdomen at the height of the renal hila: x to the patient's
left, y to the back, z to the head. Sizes are those of adults; every patient differs in build, in the size, place and
shape of each organ, in the filling of stomach and bowel, and by a smooth deformation of the whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from steelyard.datasets.phantom_shapes import Ellipsoid, Points, SmoothField, Tube, Window, common, joined, rotation
from steelyard.labels import LEFT_KIDNEY, LIVER, RIGHT_KIDNEY, SPLEEN

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
    """One patient. `layers` paints him on any block of points, back to front."""

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
        yield from self._bowel(points, cavity)
        abdomen = common(cavity + 2, dome + 2, blend_mm=6)
        yield from self._spleen(points, abdomen, wobble)
        yield from self._stomach(points, abdomen, wobble)
        yield from self._pancreas(points, wobble)
        yield from self._liver(points, abdomen, wobble)
        yield from self._retroperitoneum(points, wobble)
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

    def _bowel(self, points: Points, cavity: np.ndarray) -> Iterator[Layer]:
        loops = self.loops.on(points.z_mm, points.y_mm, points.x_mm)
        filling = self.filling.on(points.z_mm, points.y_mm, points.x_mm)
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
            yield Layer(window, spleen - 1, "fat")
            yield Layer(window, spleen, "spleen", SPLEEN.index)

    def _stomach(self, points: Points, abdomen: np.ndarray, wobble: np.ndarray) -> Iterator[Layer]:
        fundus, body = self.stomach
        low = np.minimum(np.minimum(fundus.low, body.low), self.antrum.low)
        high = np.maximum(np.maximum(fundus.high, body.high), self.antrum.high)
        if window := points.window(low, high):
            parts = [self._inside(part, points, window) for part in (fundus, body, self.antrum)]
            stomach = joined(joined(parts[0], parts[1], blend_mm=20), parts[2], blend_mm=15)
            stomach = common(stomach - 2 * wobble[window], abdomen[window] + 1, blend_mm=8)
            yield Layer(window, stomach - 2.5, "fat")
            yield Layer(window, stomach, "wall")
            filling = self.filling.on(points.z_mm, points.y_mm, points.x_mm)[window]
            yield Layer(window, stomach + 4.5, "fluid")
            yield Layer(window, np.maximum(stomach + 4.5, (filling - self.stomach_meal) * 20), "meal")
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
        yield Layer(window, liver - 1.2, "fat")
        yield Layer(window, liver, "liver", LIVER.index)
        for tube in self.vessels:
            if (near := points.window(tube.low, tube.high)) and near[1].stop > window[1].start:
                full = np.full(points.x.shape, 99, np.float32)
                full[window] = liver
                vessel = np.maximum(self._inside(tube, points, near), full[near] + 5)
                yield Layer(near, vessel, "blood", LIVER.index)
        if window := points.window(self.gallbladder.low, self.gallbladder.high):
            yield Layer(window, self._inside(self.gallbladder, points, window), "bile")

    def _retroperitoneum(self, points: Points, wobble: np.ndarray) -> Iterator[Layer]:
        for kidney in self.kidneys:
            window = points.window(kidney.body.low - 10, kidney.body.high + 10)
            if window is None:
                continue
            bean = self._inside(kidney.body, points, window) + 1.2 * wobble[window]
            yield Layer(window, bean - kidney.fat_mm, "fat")
            yield Layer(window, bean, "renal_cortex", kidney.label)
            pyramids = self.loops.on(points.z_mm, points.y_mm, points.x_mm)[window]
            yield Layer(window, bean + kidney.cortex_mm + 2 * pyramids, "renal_medulla", kidney.label)
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


def random_anatomy(rng: np.random.Generator) -> Anatomy:
    """A patient drawn at random; equal generators give equal patients."""

    def about(value: float, sd: float) -> float:
        return value + sd * float(np.clip(rng.standard_normal(), -1.8, 1.8))

    def sized(sd: float) -> float:
        return float(np.exp(about(0, sd)))

    cavity_x, cavity_y = about(136, 7), about(86, 5)
    wide, deep = cavity_x / 136, cavity_y / 86
    spine_y = about(38, 2) * deep

    def at(x: float, y: float, z: float, *, sd: float = 4) -> np.ndarray:
        return np.array([about(x, sd) * wide, about(y, sd) * deep, about(z, 1.5 * sd)])

    def solid(centre: np.ndarray, radii: tuple[float, float, float], *, size_sd: float, **turns: float) -> Ellipsoid:
        size = sized(size_sd)
        each = np.array([radius * size * sized(0.06) for radius in radii])
        return Ellipsoid(centre, each, rotation(**{axis: about(turn, 0.1) for axis, turn in turns.items()}))

    def kidney(side: int, z: float, label: int) -> Kidney:
        body = solid(
            at(side * 66, 40, z, sd=3),
            (31, 27, 57),
            size_sd=0.06,
            about_y=side * 0.2,
            about_x=0.15,
            about_z=-side * 0.5,
        )
        hilum = body.rotation @ np.array([-side, 0, 0])
        sinus = Ellipsoid(body.centre + hilum * body.radii[0] * 0.72, body.radii * (0.62, 0.36, 0.42), body.rotation)
        inner = body.centre + hilum * body.radii[0] * 0.5
        pelvis = Tube(inner, inner + hilum * 24 + np.array([0, -4, -8]), 4.0, 2.5)
        return Kidney(label, body, sinus, pelvis, fat_mm=abs(about(5, 3)) + 1.5, cortex_mm=about(7, 1))

    portal = at(-18, -8, 18)
    hepatic = at(-24, 18, 78)
    stomach_y = about(-22, 4)
    return Anatomy(
        cavity_x=cavity_x,
        cavity_y=cavity_y,
        fat_mm=float(rng.uniform(8, 24)),
        wall_mm=about(12, 1),
        dome_mm=about(108, 6),
        spine_y=spine_y,
        liver_parts=(
            solid(at(-76, -2, 28), (70, 88, 90), size_sd=0.06, about_y=0.15),
            solid(at(2, -48, 58, sd=7), (78, 34, 36), size_sd=0.12, about_y=-0.25, about_z=-0.1),
        ),
        liver_hollow=solid(at(14, 22, -42), (82, 80, 88), size_sd=0.05, about_y=-0.35),
        vessels=_portal_tree(rng, portal) + _hepatic_veins(rng, hepatic),
        spleen=solid(at(98, 32, 50, sd=4), (33, 54, 58), size_sd=0.1, about_z=0.45, about_x=0.3),
        kidneys=(kidney(-1, about(-20, 6), RIGHT_KIDNEY.index), kidney(1, about(-4, 6), LEFT_KIDNEY.index)),
        stomach=(
            solid(at(54, stomach_y + 12, 66), (34, 34, 36), size_sd=0.1),
            solid(at(60, stomach_y - 12, 30), (28, 28, 40), size_sd=0.15, about_y=0.3),
        ),
        antrum=Tube(at(48, -48, 4), at(-12, -44, 0), about(18, 2), about(11, 2)),
        stomach_level=about(-52, 14),
        stomach_meal=float(rng.uniform(-1.2, 1.2)),
        heart=solid(at(18, -28, 126), (58, 46, 52), size_sd=0.06),
        gallbladder=solid(at(-48, -40, -2, sd=5), (15, 15, 27), size_sd=0.15, about_x=0.3),
        pancreas=(
            Tube(at(-22, -12, -8), at(15, -22, 8), about(13, 1.5), about(9, 1)),
            Tube(at(15, -22, 8), at(72, 8, 30), about(9, 1), about(10, 1)),
        ),
        colon=(
            Tube(at(-104, 12, -95), at(-98, -6, -32), about(22, 3), about(20, 3)),
            Tube(at(-96, -30, -36), at(0, -62, -40, sd=9), about(18, 3), about(15, 3)),
            Tube(at(0, -62, -40, sd=9), at(92, -28, 8), about(15, 3), about(16, 3)),
            Tube(at(108, 6, 8), at(106, 24, -95), about(16, 2), about(15, 2)),
        ),
        bowel_top=about(12, 6),
        great_vessels=(
            (
                Tube(np.array([about(10, 3), spine_y - 27, -150]), np.array([about(6, 3), spine_y - 24, 150]), 10, 11),
                "fast_blood",
            ),
            (
                Tube(np.array([about(-20, 3), spine_y - 26, -150]), np.array([about(-24, 3), 12 * deep, 95]), 11, 13),
                "blood",
            ),
            (Tube(portal + np.array([32, 6, -26]), portal, 6.5, 6.5), "blood"),
        ),
        muscles=tuple(
            Ellipsoid(np.array([side * 35.0, spine_y + 43, -20]), np.array([34, 20 * sized(0.08), 320]), np.eye(3))
            for side in (-1, 1)
        ),
        psoas=tuple(
            Tube(np.array([side * 28.0, spine_y + 4, 10]), np.array([side * 46.0, spine_y + 2, -120]), 8, about(24, 3))
            for side in (-1, 1)
        ),
        bend=tuple(SmoothField.random(rng, lattice_mm=70) for _ in range(3)),
        bend_mm=5.5,
        wobble=SmoothField.random(rng, lattice_mm=26),
        loops=SmoothField.random(rng, lattice_mm=15),
        filling=SmoothField.random(rng, lattice_mm=40),
    )


def _portal_tree(rng: np.random.Generator, root: np.ndarray) -> tuple[Tube, ...]:
    """The portal vein's main trunk and two generations of branches to the right and left lobe."""
    right, left = root + np.array([-38, 4, 20]), root + np.array([16, -34, 34])
    tubes = [Tube(root, right, 7, 6), Tube(root, left, 6, 5)]
    for start, ways, radius in (
        (right, ((-1, 0.8, 0.9), (-1, -0.9, 0.6), (-0.8, 0.3, -1.2)), 4.2),
        (left, ((1, -0.2, 0.4), (-0.5, -0.6, 0.5)), 3.4),
    ):
        for way in ways:
            bough = start + (np.array(way) + rng.normal(0, 0.25, 3)) * 28
            tubes.append(Tube(start, bough, radius, radius * 0.75))
            tubes += [
                Tube(bough, bough + (np.array(way) + rng.normal(0, 0.8, 3)) * 24, radius * 0.75, radius * 0.45)
                for _ in range(2)
            ]
    return tuple(tubes)


def _hepatic_veins(rng: np.random.Generator, root: np.ndarray) -> tuple[Tube, ...]:
    """Three veins that meet at the vena cava under the diaphragm."""
    ways = np.array([[-70, 0, -35], [-45, -50, -30], [25, -55, -15]]) + rng.normal(0, 8, (3, 3))
    return tuple(Tube(root, root + way, 7, 3) for way in ways)

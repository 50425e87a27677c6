"""How phantom patients differ: build, size, place and shape of each organ, fillings, vessels and posture.

Sizes are those of adults: livers of about 1000–2000 ml, kidneys of 90–230 ml, spleens of 100–370 ml. The right kidney
lies lower than the left; upper poles lean to the spine and the back; the hila look forwards and inwards.
"""

from __future__ import annotations

import numpy as np

from steelyard.datasets.phantom_anatomy import Anatomy, Kidney
from steelyard.datasets.phantom_shapes import Ellipsoid, SmoothField, Tube, rotation
from steelyard.labels import LEFT_KIDNEY, RIGHT_KIDNEY


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
        each = np.array([radius * size * sized(0.035) for radius in radii])
        return Ellipsoid(centre, each, rotation(**{axis: about(turn, 0.1) for axis, turn in turns.items()}))

    def kidney(side: int, z: float, label: int) -> Kidney:
        body = solid(
            np.array([*at(side * 66, 40, 0, sd=3)[:2], z]),
            (29.5, 25.5, 54),
            size_sd=0.04,
            about_y=-side * 0.2,
            about_x=-0.15,
            about_z=side * 0.5,
        )
        hilum = body.rotation @ np.array([-side, 0, 0])
        sinus = Ellipsoid(body.centre + hilum * body.radii[0] * 0.72, body.radii * (0.62, 0.36, 0.42), body.rotation)
        inner = body.centre + hilum * body.radii[0] * 0.5
        pelvis = Tube(inner, inner + hilum * 24 + np.array([0, -4, -8]), 4.0, 2.5)
        return Kidney(label, body, sinus, pelvis, fat_mm=abs(about(5, 3)) + 1.5, cortex_mm=about(7, 1))

    portal = at(-18, -8, 18)
    hepatic = at(-24, 18, 78)
    stomach_y, right_z = about(-22, 4), about(-21, 6)
    return Anatomy(
        cavity_x=cavity_x,
        cavity_y=cavity_y,
        fat_mm=float(rng.uniform(8, 24)),
        wall_mm=about(12, 1),
        dome_mm=about(108, 6),
        spine_y=spine_y,
        liver_parts=(
            solid(at(-76, -2, 38), (63, 83, 97), size_sd=0.035, about_y=0.15),
            solid(at(2, -48, 58, sd=7), (70, 33, 35), size_sd=0.09, about_y=-0.25, about_z=-0.1),
        ),
        liver_hollow=solid(at(14, 22, -42), (82, 80, 88), size_sd=0.05, about_y=-0.35),
        vessels=_portal_tree(rng, portal) + _hepatic_veins(rng, hepatic),
        spleen=solid(at(98, 32, 50, sd=4), (34, 55, 59), size_sd=0.07, about_z=0.45, about_x=0.3),
        kidneys=(kidney(-1, right_z, RIGHT_KIDNEY.index), kidney(1, right_z + about(17, 4), LEFT_KIDNEY.index)),
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
            Tube(at(0, -62, -40, sd=9), at(96, -26, 24), about(15, 3), about(16, 3)),
            Tube(at(106, 4, 20), at(106, 24, -95), about(16, 2), about(15, 2)),
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
        bend=tuple(SmoothField.random(rng, lattice_mm=90) for _ in range(3)),
        bend_mm=4.5,
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

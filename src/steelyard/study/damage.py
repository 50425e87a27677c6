"""Ways in which a prediction can fail on one organ, done on purpose: removed, shifted, shrunk, spilled, mistaken.

Every damage touches one organ of a label map and leaves the voxels of all other organs as they are, save the swap of
left and right, which touches both. The input is never changed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.ndimage import distance_transform_edt

from steelyard.labels import Organ
from steelyard.volume import Geometry, LabelMap

SHIFT_MM = 20.0  # about the way that the liver and the kidneys go between breathing in and out
SHRUNK_TO = 0.5  # of the organ's voxels: Dice of a perfect prediction falls to .67
SPILLED_TO = 2.0  # times the organ's voxels: Dice of a perfect prediction falls to .67 here, too
FIRST_MARGIN_MM = 10.0  # around an organ, to look for background to spill into; doubled until there is enough

PatientAxis = Literal["left", "posterior", "superior"]
LPS: dict[PatientAxis, int] = {"left": 0, "posterior": 1, "superior": 2}


class CannotDamageError(ValueError):
    """This organ cannot be damaged in this way; the message is a clause that says why."""


@dataclass(frozen=True)
class Damage:
    """One failure: its name in tables, what it does in a sentence, and the function that does it."""

    name: str
    sentence: str
    apply: Callable[[LabelMap, Organ], LabelMap]

    def __call__(self, prediction: LabelMap, organ: Organ) -> LabelMap:
        """A new label map. `CannotDamageError` where the organ is not there or nothing would change."""
        if not (prediction.labels == organ.index).any():
            raise CannotDamageError("the prediction lacks it")
        damaged = self.apply(prediction, organ)
        if np.array_equal(damaged.labels, prediction.labels):
            raise CannotDamageError("nothing would change")
        return damaged


def removed(prediction: LabelMap, organ: Organ) -> LabelMap:
    """The organ becomes background."""
    return _relabel(prediction, prediction.labels == organ.index, 0)


def shifted(
    prediction: LabelMap, organ: Organ, *, axis: PatientAxis = "left", distance_mm: float = SHIFT_MM
) -> LabelMap:
    """The organ moves by whole voxels towards the patient's left, back or head.

    It moves along the grid's axis that comes nearest to the patient's, by the number of voxels that comes nearest to
    `distance_mm`; a negative distance moves it the other way. What it leaves becomes background; what leaves the image,
    or comes to lie on another organ, is lost.
    """
    along, step = _grid_step(prediction.geometry, axis, distance_mm)
    mask = prediction.labels == organ.index
    moved = np.zeros_like(mask)
    length = mask.shape[along]
    if abs(step) < length:
        to, source = (
            (slice(step, None), slice(None, length - step)) if step >= 0 else (slice(None, step), slice(-step, None))
        )
        place: list[slice] = [slice(None)] * 3
        origin: list[slice] = [slice(None)] * 3
        place[along], origin[along] = to, source
        moved[tuple(place)] = mask[tuple(origin)]
    emptied = _relabel(prediction, mask, 0)
    return _relabel(emptied, moved & (emptied.labels == 0), organ.index)


def shrunk(prediction: LabelMap, organ: Organ) -> LabelMap:
    """The half of the organ's voxels that lie deepest stay, one more where their number is odd.

    Depth is the distance to the nearest voxel outside, in mm, and the image edge counts as outside; of equally deep
    voxels those nearest to the organ's centre stay.
    """
    mask = prediction.labels == organ.index
    voxels = np.argwhere(mask)
    first, last = voxels.min(0), voxels.max(0) + 1
    box = np.pad(mask[tuple(slice(a, b) for a, b in zip(first, last, strict=True))], 1)
    depth = distance_transform_edt(box, sampling=prediction.geometry.spacing_mm)[tuple((voxels - first + 1).T)]
    off_centre = _distance_mm(voxels - voxels.mean(0), prediction.geometry)
    kept = np.lexsort((off_centre, -np.round(depth, 3)))[: int(np.ceil(len(voxels) * SHRUNK_TO))]
    rim = mask.copy()
    rim[tuple(voxels[kept].T)] = False
    return _relabel(prediction, rim, 0)


def spilled(prediction: LabelMap, organ: Organ) -> LabelMap:
    """The organ takes as many background voxels as it has voxels, those nearest to it in mm; other organs stay.

    It takes all background where there is less than that.
    """
    mask = prediction.labels == organ.index
    wanted = min(round(np.count_nonzero(mask) * (SPILLED_TO - 1)), int(np.count_nonzero(prediction.labels == 0)))
    spill = np.zeros_like(mask)
    margin_mm = FIRST_MARGIN_MM
    while True:
        box = _box(mask, prediction.geometry, margin_mm)
        distance = distance_transform_edt(~mask[box], sampling=prediction.geometry.spacing_mm)
        free = prediction.labels[box] == 0
        whole = mask[box].shape == mask.shape
        if whole or np.count_nonzero(free & (distance <= margin_mm)) >= wanted:
            order = np.argsort(np.where(free, distance, np.inf), axis=None, kind="stable")[:wanted]
            spill[box].flat[order] = True
            return _relabel(prediction, spill, organ.index)
        margin_mm *= 2


def swapped(prediction: LabelMap, organ: Organ) -> LabelMap:
    """Left and right change names: a right kidney becomes a left one, and the left one a right one."""
    other = _mirror(prediction, organ)
    if other is None:
        raise CannotDamageError("it has no counterpart on the other side")
    once = _relabel(prediction, prediction.labels == other.index, organ.index)
    return _relabel(once, prediction.labels == organ.index, other.index)


def mistaken(prediction: LabelMap, organ: Organ) -> LabelMap:
    """The organ is taken for another one: of those in the prediction, that whose centre is nearest in mm."""
    others = [
        other for other in prediction.label_set.organs if other != organ and (prediction.labels == other.index).any()
    ]
    if not others:
        raise CannotDamageError("the prediction holds no other organ")
    centre = _centre(prediction, organ)
    nearest = min(others, key=lambda other: _distance_mm(_centre(prediction, other) - centre, prediction.geometry))
    return _relabel(prediction, prediction.labels == organ.index, nearest.index)


DAMAGES = (
    Damage("removed", "the organ becomes background", removed),
    Damage(
        "shifted",
        f"the organ moves {SHIFT_MM:.0f} mm to the patient's left, rounded to whole voxels; "
        "what comes to lie on another organ or outside the image is lost",
        shifted,
    ),
    Damage("shrunk", "only the deeper half of the organ's voxels stays", shrunk),
    Damage("spilled", "the organ takes as many of the nearest background voxels as it has voxels", spilled),
    Damage("swapped", "left and right change names", swapped),
    Damage("mistaken", "the organ is taken for the nearest other organ", mistaken),
)


def _relabel(label_map: LabelMap, where: np.ndarray, index: int) -> LabelMap:
    return LabelMap(
        np.where(where, np.uint8(index), label_map.labels).astype(np.uint8), label_map.geometry, label_map.label_set
    )


def _grid_step(geometry: Geometry, axis: PatientAxis, distance_mm: float) -> tuple[int, int]:
    """The grid's axis nearest to the patient's, and how many voxels to go along it, with a sign."""
    along_patient = geometry.affine[LPS[axis], :3] / np.array(geometry.spacing_mm)
    along = int(np.argmax(np.abs(along_patient)))
    return along, round(distance_mm / geometry.spacing_mm[along]) * int(np.sign(along_patient[along]))


def _box(mask: np.ndarray, geometry: Geometry, margin_mm: float) -> tuple[slice, slice, slice]:
    """Around the mask, wide enough for all voxels within `margin_mm` of it."""
    voxels = np.argwhere(mask)
    margin = np.ceil(margin_mm / np.array(geometry.spacing_mm)).astype(int)
    first = np.maximum(voxels.min(0) - margin, 0)
    last = np.minimum(voxels.max(0) + margin + 1, mask.shape)
    return slice(first[0], last[0]), slice(first[1], last[1]), slice(first[2], last[2])


def _mirror(prediction: LabelMap, organ: Organ) -> Organ | None:
    here, there = ("left", "right") if "left" in organ.name else ("right", "left")
    name = organ.name.replace(here, there)
    return next((o for o in prediction.label_set.organs if o.name == name and o != organ), None)


def _centre(prediction: LabelMap, organ: Organ) -> np.ndarray:
    return np.argwhere(prediction.labels == organ.index).mean(0)


def _distance_mm(offset: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Length in mm of offsets in voxels (…, [slice, row, column])."""
    return np.linalg.norm(offset @ geometry.affine[:3, :3].T, axis=-1)

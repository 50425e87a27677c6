"""Volumes of organs in millilitres, and what makes one doubtful: not found, or cut off by the border of the scan."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from steelyard.labels import LabelSet
from steelyard.volume import LabelMap

COLUMNS = ("case", "organ", "ml", "voxels", "flag")
UNDEFINED = "undefined"
NOT_FOUND = "not found"
NOT_PREDICTED = "not predicted"

Box = tuple[slice, slice, slice]  # slices, rows and columns


@dataclass(frozen=True)
class OrganVolume:
    """One organ of one case. `ml` and `voxels` are None where nothing was predicted; `flag` is empty when all is well.

    Flags: `not found` (0 ml), `not predicted` (undefined), and `cut off at` the first slice, the last slice, the edge
    of the slices or the edge of what the network sees: the organ reaches it, so that the true one may be larger.
    """

    organ: str
    ml: float | None
    voxels: int | None
    flag: str


def organ_volumes(label_map: LabelMap, seen: Box | None = None) -> tuple[OrganVolume, ...]:
    """Voxels × |det affine| of every organ.

    Args:
        seen: the slices, rows and columns that the network saw; all when None.
    """
    found = []
    for organ in label_map.label_set.organs:
        mask = label_map.labels == organ.index
        voxels = int(np.count_nonzero(mask))
        flag = _cut_off(mask, seen) if voxels else NOT_FOUND
        found.append(OrganVolume(organ.name, voxels * label_map.geometry.voxel_ml, voxels, flag))
    return tuple(found)


def undefined_volumes(label_set: LabelSet) -> tuple[OrganVolume, ...]:
    """Of a case that could not be predicted."""
    return tuple(OrganVolume(organ.name, None, None, NOT_PREDICTED) for organ in label_set.organs)


def volumes_csv(cases: Sequence[tuple[str, Sequence[OrganVolume]]]) -> bytes:
    """A table with one row per case and organ; `undefined` where there is no number."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    for case, volumes in cases:
        for volume in volumes:
            ml = UNDEFINED if volume.ml is None else f"{volume.ml:.3f}"
            rows.writerow([case, volume.organ, ml, UNDEFINED if volume.voxels is None else volume.voxels, volume.flag])
    return text.getvalue().encode()


def volumes_json(cases: Sequence[tuple[str, Sequence[OrganVolume]]]) -> list[dict[str, Any]]:
    """The same for programs: null where there is no number."""
    return [{"case": case, "organs": [asdict(volume) for volume in volumes]} for case, volumes in cases]


def _cut_off(mask: np.ndarray, seen: Box | None) -> str:
    whole = (slice(0, mask.shape[0]), slice(0, mask.shape[1]), slice(0, mask.shape[2]))
    reached = ["the first slice"] if mask[0].any() else []
    reached += ["the last slice"] if mask[-1].any() else []
    reached += ["the edge of the slices"] if _touches(mask, whole, (1, 2)) else []
    narrower = [axis for axis in range(3) if seen is not None and seen[axis] != whole[axis]]
    if seen is not None and _touches(mask, seen, narrower):
        reached.append("the edge of what the network sees")
    return f"cut off at {' and '.join(reached)}" if reached else ""


def _touches(mask: np.ndarray, box: Box, axes: Sequence[int]) -> bool:
    """Whether a mask has a voxel in the outermost layers of a box along those axes, or beyond them."""
    inside = tuple(
        slice(part.start + 1, max(part.stop - 1, part.start + 1)) if axis in axes else slice(None)
        for axis, part in enumerate(box)
    )
    return int(np.count_nonzero(mask[inside])) < int(np.count_nonzero(mask))

"""A label map whose voxels are another grid's in another order, put in that order: no value is interpolated."""

from __future__ import annotations

from itertools import permutations

import numpy as np

from steelyard.volume import Geometry, LabelMap


def turned_onto(label_map: LabelMap, geometry: Geometry) -> LabelMap:
    """The label map with axes swapped and mirrored so that it lies on `geometry`; as it came where none of that does.

    Tools that turn images to one orientation before they work leave their masks so.
    """
    if label_map.geometry.same_grid(geometry):
        return label_map
    index = np.linalg.solve(geometry.affine[:3, :3], label_map.geometry.affine[:3, :3])  # own steps in the other's
    for axes in permutations(range(3)):
        along = index[:, axes]  # columns in the order that the other grid's axes should have
        if not np.allclose(np.abs(along), np.eye(3), atol=0.01):
            continue
        flips = tuple(axis for axis in range(3) if along[axis, axis] < 0)
        shape = tuple(label_map.geometry.shape[axis] for axis in axes)
        affine = label_map.geometry.affine[:, [*axes, 3]].copy()
        for axis in flips:
            affine[:, 3] += affine[:, axis] * (shape[axis] - 1)
            affine[:, axis] *= -1
        turned = Geometry((shape[0], shape[1], shape[2]), affine)
        if turned.same_grid(geometry):
            labels = np.flip(label_map.labels.transpose(axes), flips)
            return LabelMap(np.ascontiguousarray(labels), turned, label_map.label_set)
    return label_map

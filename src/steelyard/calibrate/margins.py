"""All decisions that differ in one organ's offset, counted in one pass: a voxel turns to the organ at one offset."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from steelyard.calibrate.voxels import CaseVoxels
from steelyard.postprocess.offsets import Offsets

UNEVEN = 1e-3  # relative: steps of offsets that differ less are even, and no place is wrong by more than one


def turning_points(probabilities: np.ndarray, organ_index: int, base: Offsets) -> tuple[np.ndarray, np.ndarray]:
    """Per voxel of (class, voxel): the weight e^b above which the organ wins, and the class that wins below.

    The other classes keep the offsets of `base`. The weight is max over others (p_k e^b_k) / p; ∞ where p = 0. A voxel
    with weight w is the organ if and only if e^b > w: where a tie falls to the organ, w is the next number below.
    """
    weights = base.weights
    rival = np.zeros(probabilities.shape[1], np.uint8)
    highest = probabilities[0] * weights[0]
    for class_index in range(1, len(weights)):
        if class_index != organ_index:
            score = probabilities[class_index] * weights[class_index]
            rival[score > highest] = class_index
            np.maximum(highest, score, out=highest)
    own = probabilities[organ_index].astype(np.float64)
    turning = np.divide(highest, own, out=np.full(own.shape, np.inf), where=own > 0)
    np.nextafter(turning, 0, out=turning, where=rival > organ_index)
    return turning, rival


def sweep_matrices(cases: Sequence[CaseVoxels], organ_index: int, offsets: np.ndarray, base: Offsets) -> np.ndarray:
    """Confusion matrices (offset, case, class, class), int64, of every case at ascending offsets of one organ."""
    class_count, places = len(base.values), len(offsets) + 1
    weights = np.exp(np.asarray(offsets, np.float64))
    matrices = np.empty((len(offsets), len(cases), class_count, class_count), np.int64)
    for case_index, case in enumerate(cases):
        turning, rival = turning_points(case.probabilities, organ_index, base)
        first = first_above(offsets, weights, turning)  # the first offset that makes the voxel the organ
        keys = (case.labels.astype(np.int64) * class_count + rival) * places + first
        found = np.bincount(keys, minlength=class_count**2 * places).reshape(class_count, class_count, places)
        turned = found.cumsum(-1)[..., :-1]  # (reference, rival, offset)
        of_case = found.sum(-1, keepdims=True) - turned
        of_case[:, organ_index] += turned.sum(1)
        matrices[:, case_index] = np.moveaxis(of_case, -1, 0) + case.settled
    return matrices


def first_above(offsets: np.ndarray, weights: np.ndarray, turning: np.ndarray) -> np.ndarray:
    """The place of the first weight above each turning point, their number where none is; weights e^offset ascend.

    On evenly spaced offsets the logarithm tells the place, or its neighbour: several times faster than a search.
    """
    steps = np.diff(offsets)
    if not steps.size or steps.min() <= 0 or np.ptp(steps) > UNEVEN * steps.min():
        return np.searchsorted(weights, turning, side="right")
    with np.errstate(divide="ignore"):  # log 0 = −∞: the voxel is the organ at every offset
        places = np.log(turning)
    places -= offsets[0]
    places *= (len(offsets) - 1) / (offsets[-1] - offsets[0])
    np.clip(places, -1, len(offsets) - 1, out=places)
    found = np.floor(places, out=places).astype(np.int64) + 1
    found -= np.append(-np.inf, weights)[found] > turning
    found += np.append(weights, np.nan)[found] <= turning
    return found

"""Cases made smaller for a fit: without the voxels that no allowed offset turns, or with every k-th voxel only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from steelyard.calibrate.voxels import CaseVoxels, decided_matrix
from steelyard.postprocess.offsets import Offsets

ROUNDING = 1e-6  # a ratio at the very edge stays open
OF_AN_ORGAN = 1000  # a recall of .9 is then known to .01


def within(case: CaseVoxels, limit: float) -> CaseVoxels:
    """For offsets of at most `limit`: background voxels that stay background are settled."""
    organs = case.probabilities[1:].max(0, initial=0)
    open_ = (case.labels != 0) | (organs * np.exp(limit + ROUNDING) > case.probabilities[0])
    settled = case.settled.copy()
    settled[0, 0] += np.count_nonzero(~open_)
    return _keep(case, open_, settled)


def near(case: CaseVoxels, centre: Offsets, radius: float) -> CaseVoxels:
    """For offsets that differ from `centre` by at most `radius` each: voxels that keep their class are settled.

    Two offsets change the ratio of two classes by e^(2 radius) at most.
    """
    best = case.probabilities[0] * centre.weights[0]
    second = np.zeros_like(best)
    for probabilities, weight in zip(case.probabilities[1:], centre.weights[1:], strict=True):
        score = probabilities * weight
        np.maximum(second, np.minimum(best, score), out=second)
        np.maximum(best, score, out=best)
    open_ = second * np.exp(2 * radius + ROUNDING) >= best
    others = _keep(case, ~open_, case.settled)
    return _keep(case, open_, decided_matrix(others, centre))


def every_kth(cases: Sequence[CaseVoxels], enough: int) -> list[CaseVoxels]:
    """About `enough` voxels of all cases together, each standing for k of the same volume.

    All of them where there are fewer, and more where an organ would be left with less than `OF_AN_ORGAN` voxels.
    """
    of_class = np.sum([np.bincount(case.labels, minlength=case.class_count) for case in cases], axis=0)
    present = of_class[1:][of_class[1:] > 0]
    k = min(-(-int(of_class.sum()) // enough), int(present.min(initial=of_class.sum())) // OF_AN_ORGAN)
    if k <= 1:
        return list(cases)
    return [
        CaseVoxels(
            case.patient_id,
            case.voxel_ml * k,
            np.ascontiguousarray(case.probabilities[:, ::k]),
            case.labels[::k],
            case.settled // k,
        )
        for case in cases
    ]


def _keep(case: CaseVoxels, kept: np.ndarray, settled: np.ndarray) -> CaseVoxels:
    few = np.ascontiguousarray(case.probabilities[:, kept])
    return replace(case, probabilities=few, labels=case.labels[kept], settled=settled)

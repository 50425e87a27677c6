"""One case kept small, for deciding it again and again: only the voxels on which a moved decision can matter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from steelyard.calibrate.tally import Tally
from steelyard.confusion import Confusion, confusion_matrix
from steelyard.errors import BadData

Decision = Callable[[np.ndarray], np.ndarray]  # probabilities (class, *space) → classes (*space), uint8

FLOOR = 1e-4  # organs less probable than this together, in the background, are dropped: most of a scan is
SUM_TOLERANCE = 0.01  # probabilities kept in float16 and resampled sum to 1 only so far
REACH = 9.2  # a dropped voxel stays background up to this offset: e^9.2 × FLOOR < 1 − SUM_TOLERANCE − FLOOR


@dataclass(frozen=True, eq=False)
class CaseVoxels:
    """The voxels of one case that may be decided as an organ or are one, and how many others there are.

    Args:
        probabilities: (class, voxel), float32.
        labels: the reference's classes (voxel,), uint8.
        settled: counts of the voxels left out (reference class, decided class), the same under every decision within
            reach: background decided as background.
    """

    patient_id: str
    voxel_ml: float
    probabilities: np.ndarray
    labels: np.ndarray
    settled: np.ndarray

    @property
    def class_count(self) -> int:
        """Organs and the background."""
        return len(self.probabilities)


def case_voxels(
    probabilities: np.ndarray, reference_labels: np.ndarray, *, patient_id: str, voxel_ml: float
) -> CaseVoxels:
    """A case from its probabilities (class, *space) and reference classes (*space) on the same grid.

    Keeps a voxel where the organs' probabilities sum to more than `FLOOR` or the reference is an organ.

    Raises:
        BadData: shapes that do not fit, probabilities that do not sum to 1 (NaN does not), an unknown class, no volume.
    """
    class_count = len(probabilities)
    name = f"patient {patient_id}"
    if probabilities.shape[1:] != reference_labels.shape:
        shapes = f"{probabilities.shape[1:]} and {reference_labels.shape}"
        raise BadData(
            f"{name}: probabilities and reference must lie on one grid; came {shapes}. Predict the case again."
        )
    if reference_labels.size and not (reference_labels.min() >= 0 and reference_labels.max() < class_count):
        came = f"classes {reference_labels.min()}–{reference_labels.max()}"
        raise BadData(
            f"{name}: a reference of classes 0–{class_count - 1} was wanted; came {came}. Check the label set."
        )
    if not (np.isfinite(voxel_ml) and voxel_ml > 0):
        raise BadData(f"{name}: a voxel must have a volume; came {voxel_ml} ml. Check the scan's spacing.")
    organs = probabilities[1:].sum(0, dtype=np.float32)
    sums = organs + probabilities[0]
    if not (probabilities.size and probabilities.min() >= 0 and (np.abs(sums - 1) <= SUM_TOLERANCE).all()):
        raise BadData(
            f"{name}: probabilities of 0 or more that sum to 1 were wanted; came others. Predict the case again."
        )
    kept = (organs > FLOOR) | (reference_labels != 0)
    few = np.ascontiguousarray(probabilities[:, kept], np.float32)
    labels = reference_labels[kept].astype(np.uint8)
    settled = np.zeros((class_count, class_count), np.int64)
    settled[0, 0] = kept.size - labels.size
    return CaseVoxels(patient_id, float(voxel_ml), few, labels, settled)


def tally(cases: Sequence[CaseVoxels], decision: Decision) -> Tally:
    """Counts of every case under a decision: those that the whole volumes would give.

    Raises:
        ValueError: no case, or a decision that makes organs of dropped voxels, as offsets above `REACH` do.
    """
    class_count = common_class_count(cases)
    if decision(_hardest_dropped(class_count)).any():
        raise ValueError(
            f"the decision reaches voxels that were dropped: offsets go up to {REACH}, thresholds to {FLOOR}"
        )
    return tally_of_matrices(cases, np.stack([decided_matrix(case, decision) for case in cases]))


def decided_matrix(case: CaseVoxels, decision: Decision) -> np.ndarray:
    """The confusion matrix of one case under a decision within reach (class, class), int64."""
    return confusion_matrix(case.labels, decision(case.probabilities), case.class_count) + case.settled


def tally_of_matrices(cases: Sequence[CaseVoxels], matrices: np.ndarray) -> Tally:
    """From one confusion matrix per case (case, class, class), int64, reference in rows."""
    tp = np.diagonal(matrices, axis1=1, axis2=2).copy()
    fn, fp = matrices.sum(2) - tp, matrices.sum(1) - tp
    tn = matrices.sum((1, 2))[:, None] - tp - fp - fn
    patients = tuple(case.patient_id for case in cases)
    return Tally(patients, Confusion(tp, fp, fn, tn), np.array([case.voxel_ml for case in cases], np.float64))


def _hardest_dropped(class_count: int) -> np.ndarray:
    """Per organ, the voxel nearest to it among all that are dropped (class, organ)."""
    voxels = np.zeros((class_count, class_count - 1), np.float32)
    voxels[0] = 1 - SUM_TOLERANCE - FLOOR
    np.fill_diagonal(voxels[1:], FLOOR)
    return voxels


def common_class_count(cases: Sequence[CaseVoxels]) -> int:
    """The number of classes of all cases.

    Raises:
        ValueError: no case, or cases that differ.
    """
    counts = {case.class_count for case in cases}
    if len(counts) != 1:
        raise ValueError(
            f"cases of one label set are needed; came {len(cases)} cases with class counts {sorted(counts)}"
        )
    return counts.pop()

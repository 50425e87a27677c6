"""A bound on how much of one organ is missed, on average over new patients: conformal risk control of its offset.

The offset is the smallest at which n patients' mean miss R̂ satisfies n/(n+1) R̂ + 1/(n+1) ≤ the bound. If they and a
new patient are drawn alike, the new patient's expected miss is within the bound, whatever the network and however few
patients. It holds in expectation over patients, not for each patient, and for that organ only.

Source: Angelopoulos, Bates, Fisch, Lei, Schuster, "Conformal Risk Control", ICLR 2024, theorem 1.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from steelyard.calibrate.fit_decision import LIMIT
from steelyard.calibrate.margins import turning_points
from steelyard.calibrate.tally import Tally, defined_mean
from steelyard.calibrate.voxels import REACH, CaseVoxels, common_class_count, tally
from steelyard.confusion import iou
from steelyard.errors import BadSpec
from steelyard.postprocess.offsets import Offsets

STEP = 0.001  # offsets are chosen on this grid, fixed before any patient is seen
ROUNDING = 1e-9  # a mean miss is a sum of very many small shares


@dataclass(frozen=True)
class Bound:
    """An organ's offset that keeps its expected miss within `max_miss`.

    Args:
        organ_index: the organ's class.
        offset: its offset, the smallest that certifies the bound.
        offsets: those of all classes: the ones that were given, with this organ's moved.
        patients: n, those who have the organ.
        max_miss: the bound.
        empirical_miss: mean over these patients of the share of their organ's voxels missed.
        miss_before: the same at the offsets that were given.
    """

    organ_index: int
    offset: float
    offsets: Offsets
    patients: int
    max_miss: float
    empirical_miss: float
    miss_before: float

    @property
    def smallest_certifiable(self) -> float:
        """1/(n+1): what so many patients certify if they miss nothing."""
        return 1 / (self.patients + 1)

    def promise(self, organ: str) -> str:
        """What holds, in words; `organ` as people write it."""
        return (
            f"On average over new patients like these {self.patients}, at most {100 * self.max_miss:g} % of the "
            f"{organ}'s voxels are missed. This holds in expectation over patients, not for each patient, and for the "
            f"{organ} only."
        )


def fit_bound(
    cases: Sequence[CaseVoxels],
    organ_index: int,
    max_miss: float = 0.10,
    *,
    base: Offsets | None = None,
    lowest: float = -LIMIT,
) -> Bound:
    """The smallest offset of one organ, in steps of .001 from `lowest` to 9.2, that certifies the bound.

    The patients must be others than those on whom network, weights and `base` (the offsets of all classes before the
    shift; default: 0) were chosen. A patient's miss is the share of the organ's reference voxels decided as another
    class, averaged over the patient's cases that have the organ; patients without it count nowhere. Raising `lowest`
    to the organ's offset in `base` keeps the bound and never misses more than before.

    Raises:
        BadSpec: a bound outside 0–1, below what so many patients can certify, or out of reach of every offset.
        ValueError: a class that is no organ, or offsets that do not fit.
    """
    class_count = common_class_count(cases)
    base = base or Offsets.none(class_count)
    if not 1 <= organ_index < class_count or len(base.values) != class_count:
        raise ValueError(f"class {organ_index} and {len(base.values)} offsets do not fit {class_count} classes")
    if not 0 < max_miss < 1:
        raise BadSpec(f"the share that may be missed must lie between 0 and 1; came {max_miss:g}.")
    misses = _Misses(cases, organ_index, base)
    n = misses.patients
    needed = _patients_needed(max_miss, 0.0)
    if n < needed:
        can = (
            f"{n} patients with the organ can certify no less than {1 / (n + 1):.4g}"
            if n
            else "no patient has the organ"
        )
        raise BadSpec(f"a miss of at most {max_miss:g} was asked, but {can}: that takes {needed} patients.")

    def certifies(step: int) -> bool:
        return (n * misses.mean(round(step * STEP, 3)) + 1) / (n + 1) <= max_miss + ROUNDING

    steps = range(math.ceil(lowest / STEP - ROUNDING), math.floor(REACH / STEP + ROUNDING) + 1)
    place = bisect_left(steps, True, key=certifies)  # misses never rise with the offset
    if place == len(steps):
        raise BadSpec(_out_of_reach(max_miss, n, misses.mean(REACH)))
    offset = round(steps[place] * STEP, 3)
    before = misses.mean(base.values[organ_index])
    return Bound(organ_index, offset, base.moved(organ_index, offset), n, max_miss, misses.mean(offset), before)


@dataclass(frozen=True)
class OrganChange:
    """Means over patients of one organ before and after a shift: IoU, and ml missed and spilled."""

    organ_index: int
    iou_before: float
    iou_after: float
    missed_ml_before: float
    missed_ml_after: float
    spilled_ml_before: float
    spilled_ml_after: float


def cost_to_others(
    cases: Sequence[CaseVoxels], offsets_before: Offsets, offsets_after: Offsets
) -> tuple[OrganChange, ...]:
    """What a shift did to every organ whose own offset stayed."""
    changes = organ_changes(cases, offsets_before, offsets_after)
    return tuple(c for c in changes if offsets_before.values[c.organ_index] == offsets_after.values[c.organ_index])


def organ_changes(
    cases: Sequence[CaseVoxels], offsets_before: Offsets, offsets_after: Offsets
) -> tuple[OrganChange, ...]:
    """What a shift did to every organ; NaN for the IoU of an organ that no patient has and none is given."""
    columns = [c for offsets in (offsets_before, offsets_after) for c in _patient_means(tally(cases, offsets))]
    iou_before, missed_before, spilled_before, iou_after, missed_after, spilled_after = columns
    return tuple(
        OrganChange(
            organ,
            float(iou_before[organ]),
            float(iou_after[organ]),
            float(missed_before[organ]),
            float(missed_after[organ]),
            float(spilled_before[organ]),
            float(spilled_after[organ]),
        )
        for organ in range(1, len(iou_before))
    )


class _Misses:
    """The mean miss of the patients at every offset: each voxel of the organ is found from its turning point on."""

    def __init__(self, cases: Sequence[CaseVoxels], organ_index: int, base: Offsets) -> None:
        of_patient: dict[str, list[np.ndarray]] = {}
        for case in cases:
            voxels = case.probabilities[:, case.labels == organ_index]
            if voxels.shape[1]:
                turning = turning_points(voxels, organ_index, base)[0]
                of_patient.setdefault(case.patient_id, []).append(turning)
        self.patients = len(of_patient)
        of_case = [(turning, len(of_cases)) for of_cases in of_patient.values() for turning in of_cases]
        turning = np.concatenate([np.empty(0), *(points for points, _ in of_case)])
        share = [np.full(points.size, 1 / (self.patients * number * points.size)) for points, number in of_case]
        order = np.argsort(turning)
        self._turning = turning[order]
        self._missed = np.append(np.concatenate([np.empty(0), *share])[order][::-1].cumsum()[::-1], 0.0)

    def mean(self, offset: float) -> float:
        """Mean over patients of the mean over their cases of the share missed."""
        return float(self._missed[np.searchsorted(self._turning, np.exp(np.float64(offset)))])


def _patients_needed(max_miss: float, mean_miss: float) -> int:
    """The least n with (n R̂ + 1)/(n + 1) ≤ the bound, were the mean miss R̂ the same: n ≥ (1 − bound)/(bound − R̂)."""
    return math.ceil((1 - max_miss) / (max_miss - mean_miss) - 1e-9)


def _out_of_reach(max_miss: float, patients: int, least: float) -> str:
    start = f"a miss of at most {max_miss:g} was asked, but at the highest offset, {REACH}, {patients} patients still"
    start += f" miss {least:.4g} on average, which certifies {(patients * least + 1) / (patients + 1):.4g}"
    if least >= max_miss:
        return f"{start}: no number of patients would do. Ask for more, or train the network to miss less."
    return f"{start}: with such a mean it takes {_patients_needed(max_miss, least)} patients."


def _patient_means(found: Tally) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """IoU, missed ml and spilled ml per class, each the mean over patients."""
    values = (iou(found.counts), found.missed_ml, found.spilled_ml)
    of_iou, missed, spilled = (defined_mean(found.patient_means(v), axis=0) for v in values)
    return of_iou, missed, spilled

"""Moved decisions fitted to predicted cases: offsets for any objective, the optimal rule for an overlap index.

The network stays as it is. Fit on patients that it was not trained on, and judge on yet others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from steelyard.calibrate.margins import sweep_matrices
from steelyard.calibrate.objective import Objective
from steelyard.calibrate.tally import Tally
from steelyard.calibrate.voxels import FLOOR, REACH, CaseVoxels, common_class_count, tally, tally_of_matrices
from steelyard.confusion import Confusion, tversky_index
from steelyard.errors import BadSpec
from steelyard.postprocess.offsets import Offsets
from steelyard.postprocess.optimal import LEFT_OUT, OptimalRule

LIMIT = 6.0  # e^6 ≈ 400: an organ 400 times less probable than the background may win; beyond, noise decides
COARSE, FINE = 0.1, 0.01  # steps of an offset; .01 changes odds by 1 %
ROUNDS = 20  # passes over the organs at each step; a few are enough
ITERATIONS = 50  # of the optimal rule; a handful are enough

Merit = tuple[float, float]


def fit_offsets(cases: Sequence[CaseVoxels], objective: Objective, *, class_count: int) -> Offsets:
    """The offsets (steps of .01, within ±6) with the best merit that moving one organ at a time finds.

    Starts from 0, or from every organ fitted for its own sake where that is better, and is never worse than 0 on these
    cases. The same cases give the same offsets.

    Raises:
        BadSpec: an objective about an organ that does not exist.
        ValueError: cases of another number of classes.
    """
    if common_class_count(cases) != class_count:
        raise ValueError(f"cases of {class_count} classes were wanted; came {common_class_count(cases)}")
    organs = objective.organs_moved(class_count)
    if not set(organs) <= set(range(1, class_count)):
        raise BadSpec(f"the objective is about class {max(organs)}; the organs are classes 1–{class_count - 1}.")
    cases = [_within_limit(case) for case in cases]
    steps = np.round(np.arange(-round(LIMIT / COARSE), round(LIMIT / COARSE) + 1) * COARSE, 2)
    start, alone = Offsets.none(class_count), Offsets.none(class_count)
    for organ in organs:
        alone = _best_along(cases, objective, organ, alone, steps, for_its_own_sake=True)[0]
    fitted = max((start, alone), key=lambda o: objective.merit(tally(cases, o)))  # the first of equals
    fitted = _ascend(cases, objective, organs, fitted, lambda _: steps)
    return _ascend(cases, objective, organs, fitted, _around)


def fit_optimal(cases: Sequence[CaseVoxels], *, fp_weight: float = 1.0, fn_weight: float = 1.0) -> OptimalRule:
    """The rule that maximises the mean over organs of T_{α,β} of the pooled counts, if the network is calibrated.

    The rule depends on the T_c that it reaches: starting from the most probable class, counts and rule follow from each
    other until they repeat. Of all rules met the one with the best mean index is kept (the earliest of equals).

    Raises:
        BadSpec: a weight below 0, or both 0.
    """
    if not (np.isfinite((fp_weight, fn_weight)).all() and min(fp_weight, fn_weight) >= 0 and fp_weight + fn_weight > 0):
        raise BadSpec(f"weights must be 0 or more and not both 0; came FP {fp_weight} and FN {fn_weight}.")
    counts = tally(cases, Offsets.none(common_class_count(cases))).counts.over_cases()
    seen: dict[OptimalRule, float] = {}
    for _ in range(ITERATIONS):
        rule = optimal_rule(counts, fp_weight=fp_weight, fn_weight=fn_weight)
        if rule in seen:
            break
        counts = tally(cases, rule).counts.over_cases()
        seen[rule] = mean_index(counts, fp_weight=fp_weight, fn_weight=fn_weight)
    return max(seen, key=lambda rule: seen[rule])


def optimal_rule(counts: Confusion, *, fp_weight: float, fn_weight: float) -> OptimalRule:
    """The best response to counts (class,): t = α T / (1 − (1−α−β) T), a = (1 − (1−α−β) T) / D, D = TP + α FP + β FN.

    The change of T by one more voxel of the organ with probability p is a (p − t), to first order. Thresholds stay at
    `FLOOR` or above. An organ with D = 0 has no index, and never wins.
    """
    index = tversky_index(counts, fp_weight=fp_weight, fn_weight=fn_weight)
    denominators = counts.tp + fp_weight * counts.fp + fn_weight * counts.fn
    slopes, thresholds = [0.0], [0.0]
    for T, D in zip(index[1:], denominators[1:], strict=True):
        lean = 1 - (1 - fp_weight - fn_weight) * T
        slope, threshold = (lean / D, fp_weight * T / lean) if D > 0 and lean > 0 else LEFT_OUT
        slopes.append(float(slope))
        thresholds.append(float(np.clip(threshold, FLOOR, 1.0)))
    return OptimalRule(tuple(slopes), tuple(thresholds))


def mean_index(counts: Confusion, *, fp_weight: float, fn_weight: float) -> float:
    """Mean of T_{α,β} over the organs that have one, of counts (class,); −∞ where none has."""
    organs = tversky_index(counts, fp_weight=fp_weight, fn_weight=fn_weight)[1:]
    return float(np.nanmean(organs)) if not np.isnan(organs).all() else -np.inf


def sweep(
    cases: Sequence[CaseVoxels], organ_index: int, offsets: np.ndarray, *, base: Offsets | None = None
) -> tuple[Tally, ...]:
    """What each offset (offset,) of one organ misses and spills, all others kept at `base` (default: 0). In one pass.

    Raises:
        ValueError: an offset above `REACH`, or a class that is no organ.
    """
    class_count = common_class_count(cases)
    base = base or Offsets.none(class_count)
    if not 1 <= organ_index < class_count or len(base.values) != class_count:
        raise ValueError(f"class {organ_index} and {len(base.values)} offsets do not fit {class_count} classes")
    if max(np.max(offsets, initial=-np.inf), *base.values) > REACH:
        raise ValueError(f"voxels that offsets above {REACH} would turn were dropped; came {np.max(offsets)}")
    order = np.argsort(offsets, kind="stable")
    matrices = sweep_matrices(cases, organ_index, np.asarray(offsets)[order], base)
    return tuple(tally_of_matrices(cases, matrices[place]) for place in np.argsort(order, kind="stable"))


def _ascend(
    cases: Sequence[CaseVoxels],
    objective: Objective,
    organs: Sequence[int],
    fitted: Offsets,
    candidates: Callable[[float], np.ndarray],
) -> Offsets:
    """Moves one organ after another to the best of its candidate offsets, until none moves."""
    merit = objective.merit(tally(cases, fitted))
    for _ in range(ROUNDS):
        before = fitted
        for organ in organs:
            found, found_merit = _best_along(cases, objective, organ, fitted, candidates(fitted.values[organ]))
            if found_merit > merit:
                fitted, merit = found, found_merit
        if fitted == before:
            break
    return fitted


def _best_along(
    cases: Sequence[CaseVoxels],
    objective: Objective,
    organ: int,
    base: Offsets,
    offsets: np.ndarray,
    *,
    for_its_own_sake: bool = False,
) -> tuple[Offsets, Merit]:
    """The best of some offsets of one organ, the smallest shift among equals, and its merit."""
    matrices = sweep_matrices(cases, organ, offsets, base)
    sake = (organ,) if for_its_own_sake else None
    merits = [objective.merit(tally_of_matrices(cases, matrix), sake) for matrix in matrices]
    best = max(range(len(offsets)), key=lambda place: (merits[place], -abs(offsets[place])))
    return base.moved(organ, offsets[best]), merits[best]


def _around(offset: float) -> np.ndarray:
    steps = round(COARSE / FINE)
    return np.clip(np.round(offset + np.arange(-steps, steps + 1) * FINE, 2), -LIMIT, LIMIT)


def _within_limit(case: CaseVoxels) -> CaseVoxels:
    """Without the voxels that no offset within `LIMIT` turns: background, and sure to be decided so."""
    organs = case.probabilities[1:].max(0, initial=0)
    kept = (case.labels != 0) | (organs * np.exp(LIMIT) > case.probabilities[0])
    few = np.ascontiguousarray(case.probabilities[:, kept])
    return CaseVoxels(case.patient_id, case.voxel_ml, few, case.labels[kept], case.dropped + int((~kept).sum()))

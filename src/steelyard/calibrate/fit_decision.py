"""Moved decisions fitted to predicted cases: offsets for any objective, the optimal rule for an overlap index.

The network stays as it is. Fit on patients that it was not trained on, and judge on yet others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle, islice

import numpy as np

from steelyard.calibrate.fewer_voxels import every_kth, near, within
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
BOX = 0.25  # the fine steps go so far from the coarse result at a time
ENOUGH_VOXELS = 2_000_000  # for the coarse steps; every k-th of more of them shows the same hill
ROUNDS = 20  # passes over the organs; a few are enough
ITERATIONS = 50  # of the optimal rule; a handful are enough
SETTLED = 1e-4  # the optimal rule is found when no threshold, and no slope by more than this share, moves further


def fit_offsets(cases: Sequence[CaseVoxels], objective: Objective, *, class_count: int) -> Offsets:
    """The offsets (steps of .01, within ±6) with the best merit that moving one organ at a time finds.

    Never worse than offsets of 0 on these cases. The same cases give the same offsets.

    Raises:
        BadSpec: an objective about an organ that does not exist.
        ValueError: cases of another number of classes.
    """
    if common_class_count(cases) != class_count:
        raise ValueError(f"cases of {class_count} classes were wanted; came {common_class_count(cases)}")
    organs = objective.organs_moved(class_count)
    if not set(organs) <= set(range(1, class_count)):
        raise BadSpec(f"the objective is about class {max(organs)}; the organs are classes 1–{class_count - 1}.")
    cases = [within(case, LIMIT) for case in cases]
    none = Offsets.none(class_count)
    coarse = dict.fromkeys(organs, _steps(-LIMIT, LIMIT, COARSE))
    fitted = _climb(every_kth(cases, ENOUGH_VOXELS), objective, coarse, none)
    for _ in range(ROUNDS):
        centre = fitted
        fine = {organ: _steps(centre.values[organ] - BOX, centre.values[organ] + BOX, FINE) for organ in organs}
        fitted = _climb([near(case, centre, BOX) for case in cases], objective, fine, centre)
        if max(abs(np.subtract(fitted.values, centre.values))) < BOX - FINE / 2:  # not stopped by the box
            break
    return max((none, fitted), key=lambda offsets: objective.merit(tally(cases, offsets)))  # the first of equals


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
        if any(_close(rule, other) for other in seen):
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


def _climb(
    cases: Sequence[CaseVoxels], objective: Objective, candidates: Mapping[int, np.ndarray], start: Offsets
) -> Offsets:
    """An ascent from the start; where that falls short of a demand, each organ is first fitted for its own sake.

    A demand on every organ shows in the merit as its worst organ alone, which hides the progress of the others.
    """
    merit = objective.merit(tally(cases, start))
    if merit[0] < 0:
        alone = _ascend(cases, objective, candidates, start, alone=True)
        start = alone if objective.merit(tally(cases, alone)) > merit else start
    return _ascend(cases, objective, candidates, start, alone=False)


def _ascend(
    cases: Sequence[CaseVoxels],
    objective: Objective,
    candidates: Mapping[int, np.ndarray],
    start: Offsets,
    *,
    alone: bool,
) -> Offsets:
    """Moves one organ after another to its best candidate, the smallest of equals, until none gets better."""
    fitted, unmoved = start, 0
    for organ in islice(cycle(candidates), ROUNDS * len(candidates)):
        offsets = candidates[organ]
        matrices = sweep_matrices(cases, organ, offsets, fitted)
        merits = [objective.merit(tally_of_matrices(cases, m), (organ,) if alone else None) for m in matrices]
        best = max(range(len(offsets)), key=lambda place: (merits[place], -abs(offsets[place])))
        if merits[best] > merits[int(np.flatnonzero(offsets == fitted.values[organ])[0])]:
            fitted, unmoved = fitted.moved(organ, offsets[best]), 0
        unmoved += 1  # an organ that has just moved stays where it is until another moves
        if unmoved == len(candidates):
            break
    return fitted


def _steps(lowest: float, highest: float, step: float) -> np.ndarray:
    """Multiples of a step within both ends and ±`LIMIT`, in two decimals."""
    first, last = round(max(lowest, -LIMIT) / step), round(min(highest, LIMIT) / step)
    return np.round(np.arange(first, last + 1) * step, 2)


def _close(rule: OptimalRule, other: OptimalRule) -> bool:
    thresholds = np.abs(np.subtract(rule.thresholds, other.thresholds)).max() <= SETTLED
    return bool(thresholds and np.allclose(rule.slopes, other.slopes, rtol=SETTLED, atol=0))

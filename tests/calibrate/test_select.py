"""The selection rule: best on inner folds, as one number or organ by organ, the default where nothing parts them."""

from __future__ import annotations

import numpy as np

from steelyard.calibrate.objective import LeastSpill, MeanIndex
from steelyard.calibrate.prices import Prices
from steelyard.calibrate.select import select
from steelyard.calibrate.tally import Tally
from steelyard.confusion import Confusion

UNION = 1000


def tally(*ious: tuple[float, ...]) -> Tally:
    """One patient per argument, with the IoU of each organ; what is not found is half missed and half spilled."""
    tp = np.array([[0, *(round(UNION * iou) for iou in patient)] for patient in ious])
    wrong = (UNION - tp) // 2
    wrong[:, 0] = 0
    counts = Confusion(tp, UNION - tp - wrong, wrong, np.full_like(tp, 10 * UNION))
    return Tally(tuple(f"p{index}" for index in range(len(ious))), counts, np.ones(len(ious)))


def test_one_number_is_that_with_the_best_mean_over_organs() -> None:
    found = {Prices((0.3,)): tally((0.8, 0.4)), Prices((0.5,)): tally((0.6, 0.5)), Prices((0.8,)): tally((0.2, 0.9))}
    assert select(found, MeanIndex()) == Prices((0.3,))  # .6 against .55 and .55


def test_organ_by_organ_each_takes_its_own_best() -> None:
    found = {
        Prices((0.3, 0.3), True): tally((0.8, 0.4)),
        Prices((0.5, 0.5), True): tally((0.6, 0.5)),
        Prices((0.8, 0.8), True): tally((0.2, 0.9)),
    }
    assert select(found, MeanIndex()) == Prices((0.3, 0.8), per_organ=True)


def test_of_equal_candidates_the_one_nearest_to_the_default_is_taken() -> None:
    found = {Prices((r,)): tally((0.7, 0.7)) for r in (0.2, 0.6, 0.9)}
    assert select(found, MeanIndex()) == Prices((0.6,))


def test_an_objective_about_one_organ_leaves_the_others_at_the_default() -> None:
    found = {Prices((0.2, 0.2), True): tally((0.9, 0.9)), Prices((0.8, 0.8), True): tally((0.4, 0.4))}
    assert select(found, LeastSpill(2, 0.5)) == Prices((0.5, 0.2), per_organ=True)


def test_candidates_that_differ_from_organ_to_organ_are_taken_whole() -> None:
    found = {
        Prices((0.3, 0.3), True): tally((0.9, 0.1)),
        Prices((0.4, 0.7), True): tally((0.6, 0.6)),
        Prices((0.8, 0.8), True): tally((0.1, 0.9)),
    }
    assert select(found, MeanIndex()) == Prices((0.4, 0.7), per_organ=True)

"""The points of the CHAOS challenge, at and beyond each limit."""

import numpy as np
import pytest

from masks import mask_of, pair_of
from steelyard.metrics.chaos_score import (
    chaos_assd_score,
    chaos_dice_score,
    chaos_mssd_score,
    chaos_ravd_score,
    chaos_score,
)

LINE = (1, 1, 200)


def lines(reference: slice, prediction: slice):
    """Two stretches of one line of 200 voxels."""
    masks = np.zeros(LINE, bool), np.zeros(LINE, bool)
    masks[0][0, 0, reference] = True
    masks[1][0, 0, prediction] = True
    return pair_of(*masks)


def apart(mm: float):
    """Two single voxels `mm` apart."""
    return pair_of(mask_of((1, 1, 2), (0, 0, 0)), mask_of((1, 1, 2), (0, 0, 1)), (1.0, 2.0, mm))


def test_dice_earns_a_hundredfold_of_itself_from_point_eight_on():
    assert chaos_dice_score(lines(slice(0, 100), slice(20, 120))) == pytest.approx(80)  # Dice 160 / 200
    assert chaos_dice_score(lines(slice(0, 100), slice(21, 121))) == 0
    assert chaos_dice_score(lines(slice(0, 100), slice(0, 100))) == 100


def test_volume_earns_twenty_points_less_for_each_percent():
    assert chaos_ravd_score(lines(slice(0, 100), slice(0, 102))) == pytest.approx(60)
    assert chaos_ravd_score(lines(slice(0, 100), slice(0, 95))) == pytest.approx(0)
    assert chaos_ravd_score(lines(slice(0, 100), slice(0, 90))) == 0


def test_mean_distance_earns_nothing_from_15_mm_and_the_largest_from_60_mm():
    assert chaos_assd_score(apart(3)) == pytest.approx(100 - 20 / 3 * 3)
    assert chaos_assd_score(apart(16)) == 0
    assert chaos_mssd_score(apart(12)) == pytest.approx(100 - 5 / 3 * 12)
    assert chaos_mssd_score(apart(61)) == 0


def test_an_organs_score_is_the_mean_of_its_four():
    """6 mm apart: Dice 0, RAVD 0 % → 100, ASSD 6 → 60, MSSD 6 → 90."""
    assert chaos_score(apart(6)) == pytest.approx((0 + 100 + 60 + 90) / 4)


def test_a_mask_without_border_has_no_score():
    assert chaos_score(pair_of(np.ones((2, 3, 4), bool), mask_of((2, 3, 4), (0, 0, 0)))) is None

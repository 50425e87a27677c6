"""Volume errors, with voxels of 1 × 2 × 3 = 6 cubic millimetres."""

import numpy as np
import pytest

from masks import pair_of
from steelyard.metrics.volume_error import ravd, volume_error_ml


def masks(reference_voxels: int, prediction_voxels: int):
    reference, prediction = np.zeros((3, 4, 5), bool), np.zeros((3, 4, 5), bool)
    reference.flat[:reference_voxels] = True
    prediction.flat[-prediction_voxels:] = True
    return pair_of(reference, prediction)


def test_ravd_is_the_percentage_of_the_reference_not_of_the_prediction():
    assert ravd(masks(4, 5)) == pytest.approx(25)
    assert ravd(masks(5, 4)) == pytest.approx(20)


def test_ravd_does_not_see_where_the_voxels_are():
    assert ravd(masks(7, 7)) == 0


def test_a_prediction_larger_by_two_voxels_errs_by_plus_12_cubic_millimetres():
    assert volume_error_ml(masks(3, 5)) == pytest.approx(0.012)
    assert volume_error_ml(masks(5, 3)) == pytest.approx(-0.012)

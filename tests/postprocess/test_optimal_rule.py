"""The optimal rule as a decision: thresholds and slopes, worked by hand."""

import json

import numpy as np
import pytest

from steelyard.postprocess.optimal import OptimalRule

RULE = OptimalRule((0.0, 2.0, 5.0), (0.0, 0.25, 0.5))


def voxel(*probabilities):
    return np.array(probabilities, np.float64)[:, None]


def test_an_organ_wins_where_its_slope_times_its_excess_is_largest():
    assert RULE(voxel(0.1, 0.45, 0.45)).tolist() == [1]  # .4 against −.25
    assert RULE(voxel(0.0, 0.4, 0.6)).tolist() == [2]  # .3 against .5
    assert RULE(voxel(0.0, 0.44, 0.56)).tolist() == [1]  # .38 against .30


def test_the_background_wins_where_no_organ_exceeds_its_threshold_however_unlikely_it_is_itself():
    assert RULE(voxel(0.3, 0.2, 0.5)).tolist() == [0]
    assert RULE(voxel(0.7, 0.26, 0.04)).tolist() == [1]  # the background is likelier, but left out of the index


def test_the_lower_class_wins_a_tie():
    assert OptimalRule((0.0, 2.0, 4.0), (0.0, 0.25, 0.375))(voxel(0.0, 0.5, 0.5)).tolist() == [1]  # .5 and .5


def test_space_keeps_its_shape_and_half_precision_is_read():
    probabilities = np.random.default_rng(0).dirichlet((1, 1, 1), (2, 3, 4)).transpose(3, 0, 1, 2)
    decided = RULE(probabilities.astype(np.float16))
    assert decided.shape == (2, 3, 4)
    assert decided.dtype == np.uint8


def test_the_rule_survives_json_and_no_other_rule_is_taken_for_it():
    assert OptimalRule.from_json(json.loads(json.dumps(RULE.as_json()))) == RULE
    with pytest.raises(ValueError, match="the rule 'optimal' was wanted; came 'offsets'"):
        OptimalRule.from_json({"rule": "offsets", "values": [0]})


@pytest.mark.parametrize(
    ("slopes", "thresholds"),
    [((), ()), ((0.0, 1.0), (0.0,)), ((0.0, -1.0), (0.0, 0.5)), ((0.0, 1.0), (0.0, 1.5)), ((0.0, np.nan), (0.0, 0.5))],
)
def test_impossible_slopes_and_thresholds_are_refused(slopes, thresholds):
    with pytest.raises(ValueError, match="slope"):
        OptimalRule(slopes, thresholds)


def test_a_rule_of_another_number_of_classes_is_refused():
    with pytest.raises(ValueError, match="3 slopes do not fit 2 classes"):
        RULE(voxel(0.2, 0.8))

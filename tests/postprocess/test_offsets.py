"""Moved decisions: offsets on log probabilities, worked by hand and against the logarithms themselves."""

import json

import numpy as np
import pytest

from steelyard.postprocess.offsets import Offsets


def voxel(*probabilities):
    return np.array(probabilities, np.float32)[:, None]


def test_a_doubled_organ_wins_over_a_background_less_than_twice_as_likely():
    doubled = Offsets((0.0, np.log(2), 0.0))
    assert doubled(voxel(0.5, 0.3, 0.2)).tolist() == [1]  # .5, .6, .2
    assert doubled(voxel(0.7, 0.3, 0.0)).tolist() == [0]  # .7, .6, 0
    assert doubled(voxel(0.1, 0.25, 0.65)).tolist() == [2]  # .1, .5, .65


def test_the_lower_class_wins_a_tie():
    assert Offsets((0.0, np.log(2), 0.0))(voxel(0.25, 0.25, 0.5)).tolist() == [1]
    assert Offsets((0.0, np.log(2), 0.0))(voxel(0.5, 0.25, 0.25)).tolist() == [0]


def test_a_class_of_probability_0_never_wins_whatever_its_offset():
    assert Offsets((0.0, 80.0, -80.0))(voxel(0.0, 0.0, 1e-6)).tolist() == [2]
    assert Offsets((0.0, 80.0, 80.0))(voxel(0.0, 0.0, 0.0)).tolist() == [0]


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_offsets_equal_the_largest_shifted_logarithm_on_any_grid(kind):
    generator = np.random.default_rng(3)
    probabilities = generator.dirichlet((2, 1, 0.5, 0.3), (3, 4, 5)).transpose(3, 0, 1, 2).astype(kind)
    values = (0.0, 1.3, -0.7, 2.9)
    with np.errstate(divide="ignore"):
        expected = (np.log(probabilities.astype(np.float64)) + np.reshape(values, (4, 1, 1, 1))).argmax(0)
    decided = Offsets(values)(probabilities)
    assert decided.dtype == np.uint8
    assert (decided == expected).all()
    assert len(np.unique(decided)) == 4


def test_without_offsets_the_most_probable_class_wins_ties_included():
    probabilities = np.random.default_rng(5).integers(0, 4, (3, 500)).astype(np.float32) / 8
    assert (Offsets.none(3)(probabilities) == probabilities.argmax(0)).all()


def test_moving_one_organ_leaves_the_others():
    assert Offsets((0.0, 1.0, 2.0)).moved(1, -0.5) == Offsets((0.0, -0.5, 2.0))


def test_offsets_survive_json_and_no_other_rule_is_taken_for_them():
    offsets = Offsets((0.0, 1.25, -0.1))
    assert Offsets.from_json(json.loads(json.dumps(offsets.as_json()))) == offsets
    with pytest.raises(ValueError, match="the rule 'offsets' was wanted; came 'optimal'"):
        Offsets.from_json({"rule": "optimal", "slopes": [0], "thresholds": [0]})


@pytest.mark.parametrize("values", [(), (0.1, 0.0), (0.0, np.nan), (0.0, np.inf)])
def test_offsets_start_with_a_background_of_0_and_are_finite(values):
    with pytest.raises(ValueError, match="must be finite and start with 0"):
        Offsets(values)


def test_offsets_of_another_number_of_classes_are_refused():
    with pytest.raises(ValueError, match="2 offsets do not fit 3 classes"):
        Offsets((0.0, 1.0))(voxel(0.2, 0.3, 0.5))

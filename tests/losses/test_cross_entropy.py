"""Cross-entropy, plain and weighted by inverse frequency, against arithmetic by hand and torch's own."""

from __future__ import annotations

import warnings
from math import log

import pytest
import torch
from torch.nn import functional

from steelyard.losses import LOSSES
from steelyard.losses.cross_entropy import CrossEntropyLoss
from worked_losses import LOGITS, TARGET, random_case, value_and_gradient

# The probability of the reference class of each pixel of the worked example: classes 0, 1, 2 and 0, 1, 1.
GIVEN = (0.7, 0.5, 0.6, 0.6, 0.8, 0.1)


def test_plain_cross_entropy_is_the_mean_negative_logarithm():
    assert float(LOSSES["cross_entropy"]()(LOGITS, TARGET)) == pytest.approx(-sum(map(log, GIVEN)) / 6, rel=1e-12)


def test_weights_multiply_each_pixel_and_their_sum_divides():
    loss = CrossEntropyLoss(class_weights=[0.2, 0.8, 3.0])
    charged = 0.2 * log(0.7) + 0.8 * log(0.5) + 3 * log(0.6) + 0.2 * log(0.6) + 0.8 * log(0.8) + 0.8 * log(0.1)
    assert float(loss(LOGITS, TARGET)) == pytest.approx(-charged / (2 * 0.2 + 3 * 0.8 + 3.0), rel=1e-12)


def test_cross_e_weighs_a_class_by_one_over_its_frequency():
    """Frequencies .5, .4, .1 make the weights 2, 2.5 and 10."""
    charged = 2 * log(0.7) + 2.5 * log(0.5) + 10 * log(0.6) + 2 * log(0.6) + 2.5 * log(0.8) + 2.5 * log(0.1)
    value = float(LOSSES["crossE"](class_frequencies=[0.5, 0.4, 0.1])(LOGITS, TARGET))
    assert value == pytest.approx(-charged / (2 * 2 + 3 * 2.5 + 10), rel=1e-12)


def test_cross_e_charges_nothing_for_a_class_never_seen_and_says_so():
    with pytest.warns(UserWarning, match=r"no training pixel of class \[2\]"):
        loss = LOSSES["crossE"](class_frequencies=[0.75, 0.25, 0.0])
    charged = 4 / 3 * (log(0.7) + log(0.6)) + 4 * (log(0.5) + log(0.8) + log(0.1))
    assert float(loss(LOGITS, TARGET)) == pytest.approx(-charged / (2 * 4 / 3 + 3 * 4), rel=1e-12)


def test_cross_e_is_silent_when_every_class_was_seen():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LOSSES["crossE"](class_frequencies=[0.9, 0.06, 0.04])


@pytest.mark.parametrize("shares", [[0.5, float("nan"), 0.5], [1.2, -0.2, 0.0], [float("inf"), 0.1, 0.1]])
def test_cross_e_refuses_frequencies_that_are_none(shares: list[float]):
    with pytest.raises(ValueError, match="class_frequencies"):
        LOSSES["crossE"](class_frequencies=shares)


def test_a_batch_of_weight_zero_alone_costs_nothing_and_moves_nothing():
    value, gradient = value_and_gradient(
        CrossEntropyLoss(class_weights=[1.0, 2.0, 0.0]), LOGITS, torch.full((2, 3), 2, dtype=torch.long)
    )
    assert value == 0
    assert not gradient.any()


@pytest.mark.parametrize("weights", [None, [0.2, 0.8, 3.0]])
def test_values_and_gradients_are_those_of_torch(weights: list[float] | None):
    logits, target = random_case(seed=5)
    of_torch = None if weights is None else torch.tensor(weights, dtype=torch.float64)
    ours = value_and_gradient(CrossEntropyLoss(class_weights=weights), logits, target)
    theirs = value_and_gradient(lambda x, t: functional.cross_entropy(x, t, weight=of_torch), logits, target)
    assert ours[0] == pytest.approx(theirs[0], rel=1e-12)
    torch.testing.assert_close(ours[1], theirs[1], rtol=1e-12, atol=1e-15)


def test_seventeen_million_pixels_are_summed_without_loss():
    side = 4160
    logits = torch.tensor([0.3, 0.7]).log()[None, :, None, None].expand(1, 2, side, side)
    loss = CrossEntropyLoss(class_weights=[0.7, 1.9])
    target = torch.zeros(1, 1, 1, dtype=torch.long).expand(1, side, side)
    assert float(loss(logits, target)) == pytest.approx(-log(0.3), rel=1e-5)


@pytest.mark.parametrize("weights", [[1.0, -0.5], [float("nan"), 1.0], [float("inf"), 1.0]])
def test_a_weight_that_makes_no_sense_is_refused(weights: list[float]):
    with pytest.raises(ValueError, match="class_weights must be finite"):
        CrossEntropyLoss(class_weights=weights)


def test_one_weight_too_few_is_refused():
    with pytest.raises(ValueError, match="class_weights has 2 values for 3 classes"):
        CrossEntropyLoss(class_weights=[1.0, 2.0])(LOGITS, TARGET)


def test_rare_classes_keep_their_weight_under_half_and_on_another_device():
    loss = LOSSES["crossE"](class_frequencies=[1 - 2e-6, 1e-6, 1e-6])  # weight 1e6 is inf in float16
    assert float(loss.half()(LOGITS, TARGET)) == float(loss.double()(LOGITS, TARGET))
    assert loss(LOGITS.to("meta"), TARGET.to("meta")).device.type == "meta"

"""Power by simulation: at its limits, where it is known without simulating."""

from __future__ import annotations

import numpy as np

from steelyard.stats.power import power, simulated_differences


def test_nine_patients_find_nothing_in_a_family_of_24():
    found = power(patients=9, sd=1, true_difference=50, family_size=24, seed=1, studies=40)
    assert (found.alone, found.in_family) == (1, 0)


def test_no_difference_is_hardly_ever_found():
    assert power(patients=14, sd=4, true_difference=0, family_size=2, seed=1, studies=400).alone < 0.05


def test_a_loss_is_found_as_often_as_a_gain():
    """Only the side of the truth counts as found."""
    gain = power(patients=14, sd=4, true_difference=4, family_size=3, seed=1, studies=600)
    loss = power(patients=14, sd=4, true_difference=-4, family_size=3, seed=1, studies=600)
    np.testing.assert_allclose((gain.alone, gain.in_family), (loss.alone, loss.in_family), atol=0.08)
    assert gain.in_family > 0.3


def test_only_the_ratio_of_difference_to_spread_matters():
    options = {"patients": 14, "family_size": 3, "seed": 1, "studies": 200}
    assert power(sd=4, true_difference=4, **options) == power(sd=0.5, true_difference=0.5, **options)


def test_a_family_of_one_has_the_power_of_one():
    found = power(patients=12, sd=4, true_difference=3, family_size=1, seed=1, studies=200)
    assert found.alone == found.in_family


def test_simulated_comparisons_of_a_patient_correlate_by_one_half():
    x = simulated_differences(14, 3_000, 3, np.random.default_rng(1))
    flat = x.reshape(-1, 3)
    np.testing.assert_allclose(np.cov(flat.T), [[1, 0.5, 0.5], [0.5, 1, 0.5], [0.5, 0.5, 1]], atol=0.03)
    across_patients = np.corrcoef(x[0, :, 0], x[1, :, 0])[0, 1]
    assert abs(across_patients) < 0.06

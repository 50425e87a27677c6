"""Ranks of losses over resampled patients, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from steelyard.stats.rank_stability import rank_shares


def shares(values, **options):
    found = rank_shares(np.array(values, float), seed=1, **options)
    return found.ranks.tolist(), found.share, found.mean_rank


def test_a_loss_that_is_best_for_everyone_is_always_first():
    ranks, share, mean_rank = shares([[0.9, 0.1, 0.5], [0.8, 0.3, 0.4], [0.7, 0.2, 0.6]])
    assert ranks == [1, 2, 3]
    np.testing.assert_array_equal(share, [[1, 0, 0], [0, 0, 1], [0, 1, 0]])
    np.testing.assert_array_equal(mean_rank, [1, 3, 2])


def test_where_lower_is_better_the_lowest_is_first():
    _, _, mean_rank = shares([[9, 1, 5], [8, 3, 4]], higher_is_better=False)
    np.testing.assert_array_equal(mean_rank, [3, 1, 2])


def test_two_patients_who_disagree():
    """(1, 0) and (0, 3): the first loss wins only where its patient is drawn twice, in one resample of four."""
    ranks, share, mean_rank = shares([[1, 0], [0, 3]])
    assert ranks == [1, 2]
    np.testing.assert_allclose(share, [[0.25, 0.75], [0.75, 0.25]], atol=0.02)
    np.testing.assert_allclose(mean_rank, [1.75, 1.25], atol=0.02)


def test_equal_means_share_their_ranks_in_spite_of_rounding():
    ranks, share, _ = shares([[0.1, 0.3, 0.9], [0.2, 0.2, 0.9], [0.3, 0.1, 0.9]][1:2] * 3)
    assert ranks == [1, 2.5]
    np.testing.assert_array_equal(share, [[0, 1], [0, 1], [1, 0]])
    ranks, _, _ = shares([[0.1 + 0.2, 0.3], [0.3, 0.1 + 0.2]])
    assert ranks == [1.5]


def test_shares_of_a_loss_add_up_to_one():
    _, share, _ = shares(np.random.default_rng(2).integers(0, 4, (6, 5)))
    np.testing.assert_allclose(share.sum(axis=1), 1)


def test_an_undefined_value_has_no_rank():
    with pytest.raises(ValueError, match="a value for every loss"):
        rank_shares(np.array([[0.1, np.nan]]), seed=1)

"""How firmly losses keep their places: the ranks that they would have had with other patients, drawn from these."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from steelyard.stats.paired import DIFFERENCE_DECIMALS, Floats
from steelyard.stats.studentised import RESAMPLES, draw_patients


@dataclass(frozen=True)
class RankShares:
    """`share[loss, i]`: of the resamples, the share in which that loss has rank `ranks[i]`. `mean_rank`: per loss."""

    ranks: Floats
    share: Floats
    mean_rank: Floats


def rank_shares(values: Floats, *, seed: int, higher_is_better: bool = True, resamples: int = RESAMPLES) -> RankShares:
    """Ranks of the losses' mean values over resampled patients: 1 for the best, equal means share the mean rank.

    `values`: (patients, losses) of one metric, all defined, at least one patient.

    Raises:
        ValueError: no patient, or an undefined value.
    """
    if not len(values) or np.isnan(values).any():
        raise ValueError(f"ranks need patients with a value for every loss; came {values.shape}, some without")
    draws = draw_patients(len(values), size=len(values), resamples=resamples, seed=seed)
    means = np.round(draws.T @ values / len(values), DIFFERENCE_DECIMALS)
    ranks = rankdata(-means if higher_is_better else means, axis=1)
    possible = np.unique(ranks)
    share = np.stack([(ranks == rank).mean(axis=0) for rank in possible], axis=1)
    return RankShares(possible, share, ranks.mean(axis=0))

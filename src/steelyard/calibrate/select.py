"""The selection rule: the candidate with the best merit on inner folds, as one r or organ by organ."""

from __future__ import annotations

from collections.abc import Mapping

from steelyard.calibrate.objective import Objective
from steelyard.calibrate.prices import EQUAL, Prices
from steelyard.calibrate.tally import Tally


def select(tallies: Mapping[Prices, Tally], objective: Objective) -> Prices:
    """The prices with the best merit; of equal ones those nearest to the default, then the smaller r.

    Candidates with one r for all organs but weights per organ (`Prices.per_organ`) are mixed: each organ takes the r
    that is best for it. That holds as far as an organ's result depends on its own weights alone, which the outer folds
    then put to the test. Where candidates already differ from organ to organ, the best of them is taken as it is.
    """
    if all(prices.per_organ and len(set(prices.ratios)) == 1 for prices in tallies):
        organs = len(next(iter(tallies)).ratios)
        moved = objective.organs_moved(organs + 1)
        ratios = [
            _best(tallies, objective, (index,)).ratios[0] if index in moved else EQUAL for index in range(1, organs + 1)
        ]
        return Prices(tuple(ratios), per_organ=True)
    return _best(tallies, objective, None)


def _best(tallies: Mapping[Prices, Tally], objective: Objective, organs: tuple[int, ...] | None) -> Prices:
    def order(prices: Prices) -> tuple[tuple[float, float], float, tuple[float, ...]]:
        from_default = sum(abs(ratio - EQUAL) for ratio in prices.ratios)
        return objective.merit(tallies[prices], organs), -from_default, tuple(-ratio for ratio in prices.ratios)

    return max(tallies, key=order)

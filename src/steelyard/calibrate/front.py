"""Missed against spilled: every trained weight and the whole sweep of a moved decision, organ by organ, on one chart.

Weights that lie below the sweep of a network dominate it; weights on the sweep only move along it, and the same could
be had without training anew. All of it is on inner folds, where every weight was tried.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from operator import add
from typing import Any

import numpy as np

from steelyard.calibrate.fit_decision import sweep
from steelyard.calibrate.prices import Prices
from steelyard.calibrate.tally import Tally
from steelyard.calibrate.voxels import CaseVoxels
from steelyard.labels import LabelSet

OFFSETS = np.round(np.arange(-40, 41) * 0.1, 1)  # odds from 1/55 to 55


class Sweeps:
    """Sweeps of every organ and network, added up over outer folds, so that no two folds' voxels are in memory."""

    def __init__(self, folds: int) -> None:
        self._folds = folds
        self._added: dict[str, int] = {}
        self._tallies: dict[tuple[str, int], list[Tally]] = {}

    def add(self, cases: Mapping[str, Sequence[CaseVoxels]]) -> None:
        """The inner cases of one outer fold, per network."""
        for title, own in cases.items():
            self._added[title] = self._added.get(title, 0) + 1
            for organ in range(1, own[0].class_count):
                found = list(sweep(own, organ, OFFSETS))
                known = self._tallies.get((title, organ))
                self._tallies[title, organ] = (
                    found if known is None else [a + b for a, b in zip(known, found, strict=True)]
                )

    def of_organ(self, organ: int) -> dict[str, list[dict[str, float]]]:
        """Per network with cases in every fold, a point for each offset, in their order."""
        return {
            title: [
                {"offset": float(offset)} | point(tally, organ) for offset, tally in zip(OFFSETS, tallies, strict=True)
            ]
            for (title, index), tallies in self._tallies.items()
            if index == organ and self._added[title] == self._folds
        }


def point(tally: Tally, organ: int) -> dict[str, float]:
    """Mean over patients of the organ's volume missed and spilled, in ml."""
    missed, spilled = (tally.patient_means(volumes[:, organ]).mean() for volumes in (tally.missed_ml, tally.spilled_ml))
    return {"missed_ml": float(missed), "spilled_ml": float(spilled)}


def front(
    tallies: Iterable[Mapping[Prices, Tally]], sweeps: Sweeps, chosen: Prices, label_set: LabelSet
) -> list[dict[str, Any]]:
    """An entry per organ: the weights trained in full in every outer fold, the sweeps, and what they say of each other.

    `tallies`: inner predictions per outer fold.
    """
    folds = list(tallies)
    everywhere = [prices for prices in folds[0] if all(prices in fold for fold in folds)]
    pooled = {prices: reduce(add, (fold[prices] for fold in folds)) for prices in everywhere}
    entries = []
    for organ in label_set.organs:
        position = organ.index - 1
        curves = sweeps.of_organ(organ.index)
        weights = [
            {"label": prices.label, "r": prices.of_organ(position)} | _against_all(point(tally, organ.index), curves)
            for prices, tally in pooled.items()
        ]
        own = [weight for weight in weights if weight["r"] == chosen.of_organ(position)]
        entries.append(
            {
                "organ": organ.name,
                "chosen_r": chosen.of_organ(position),
                "weights": weights,
                "sweeps": curves,
                "against_sweeps": own[0]["against_sweeps"] if own else {},
            }
        )
    return entries


def _against_all(weight: dict[str, float], curves: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, Any]:
    """The point, and what it says of every network's sweep."""
    return {**weight, "against_sweeps": {title: _against(weight, curve) for title, curve in curves.items()}}


def _against(weight: Mapping[str, float], curve: Sequence[Mapping[str, float]]) -> dict[str, float | None]:
    """What the sweep spills where it misses as much as the weight does; None where it never misses just that."""
    missed = [p["missed_ml"] for p in curve][::-1]  # falls with the offset
    spilled = [p["spilled_ml"] for p in curve][::-1]
    inside = missed[0] <= weight["missed_ml"] <= missed[-1]
    on_curve = float(np.interp(weight["missed_ml"], missed, spilled)) if inside else None
    return {"missed_ml": weight["missed_ml"], "spilled_ml": weight["spilled_ml"], "spilled_ml_on_sweep": on_curve}

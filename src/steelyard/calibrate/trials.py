"""What a strategy found out about its candidates: which were trained in full, which were given up, at what cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from steelyard.calibrate.objective import Objective
from steelyard.calibrate.prices import Prices
from steelyard.calibrate.tally import Tally
from steelyard.errors import RunsFailed


@dataclass(frozen=True)
class Trial:
    """One candidate in one outer fold.

    Attributes:
        epochs: seen by each of its networks, all that they started from included.
        merit: on the inner folds, at that many epochs; see `Objective.merit`. None where a training failed.
        given_up: why it was not trained further; None for those that were.
    """

    prices: Prices
    epochs: int
    merit: tuple[float, float] | None
    given_up: str | None = None


def trials_of(
    tallies: Mapping[Prices, Tally], failed: Mapping[Prices, str], objective: Objective, *, epochs: int
) -> tuple[Trial, ...]:
    """All candidates at so many epochs: those that were judged, then those of which a training failed."""
    judged = (Trial(prices, epochs, objective.merit(tally)) for prices, tally in tallies.items())
    return (*judged, *(Trial(prices, epochs, None, reason) for prices, reason in failed.items()))


@dataclass(frozen=True, eq=False)
class Trials:
    """All candidates of one outer fold. `RunsFailed` where none is left to choose from.

    Attributes:
        tallies: inner predictions of the candidates that may be chosen, all after equally many epochs.
        trials: every candidate, in the order in which it came up.
        epochs_spent: by all trainings, those of candidates given up among them.
        notes: what a reader should know about the way they were found.
    """

    tallies: Mapping[Prices, Tally]
    trials: tuple[Trial, ...]
    epochs_spent: int
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.tallies:
            raise RunsFailed(f"no candidate is left to choose from: {self.trials[0].given_up}.")

"""Strategy `warm`: one shared start trained with the default loss, then a short branch per candidate.

Cheap, and only as good as branches rank candidates like full trainings do: that is checked, on the first inner fold of
the first outer fold with the first seed, where every candidate is trained in full as well.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

from scipy.stats import spearmanr

from steelyard.calibrate.bench import Bench
from steelyard.calibrate.nested import OuterFold
from steelyard.calibrate.prices import Prices
from steelyard.calibrate.trials import Trials, trials_of
from steelyard.errors import RunsFailed
from steelyard.study.plan import Run

START = 1 / 2  # of the epochs, shared by all candidates
BRANCH = 1 / 6  # of the epochs, for each candidate: nine cost 1/2 + 9/6 = 2 full trainings instead of 9


def stretches(epochs: int) -> tuple[int, int]:
    """(epochs of the shared start, epochs at the end of a branch)."""
    start = max(1, math.floor(START * epochs))
    return start, start + max(1, math.floor(BRANCH * epochs))


def planned_epochs(candidates: int, epochs: int) -> int:
    """What one inner fold and seed cost, the check left out."""
    start, end = stretches(epochs)
    return start + candidates * (end - start)


@dataclass(frozen=True)
class RankCheck:
    """How far branches rank candidates as full trainings do, on one inner fold with one seed."""

    correlation: float  # NaN where one side ranks all alike
    branch_best: Prices
    full_best: Prices

    @property
    def sentence(self) -> str:
        """For the page."""
        same = "the same one" if self.branch_best == self.full_best else f"{self.full_best.label}"
        correlation = "undefined" if math.isnan(self.correlation) else f"{self.correlation:.2f}"
        return (
            "Branches against full trainings of every candidate, on one inner fold with one seed: Spearman's rank "
            f"correlation {correlation}; branches put {self.branch_best.label} first, full training {same}."
        )


def branch_off(bench: Bench) -> dict[int, Trials]:
    """Trials per outer fold."""
    found = {fold.outer.index: _fold(bench, fold) for fold in bench.nested.folds}
    sentence, spent = _check_ranks(bench, bench.nested.folds[0])
    first = bench.nested.folds[0].outer.index
    known = found[first]
    found[first] = Trials(known.tallies, known.trials, known.epochs_spent + spent, (sentence,))
    return found


def _fold(bench: Bench, fold: OuterFold) -> Trials:
    start, end = stretches(bench.epochs)
    places = [(inner, seed) for inner in fold.inner for seed in bench.seeds]
    starts = [
        bench.run("inner", bench.default, inner, seed, epochs=start, keeps_state=True, keeps_probabilities=False)
        for inner, seed in places
    ]
    candidates = bench.candidates()
    branches: dict[Prices, list[Run]] = {
        prices: [
            bench.run("inner", bench.loss(prices), inner, seed, epochs=end, start=run.name, keeps_probabilities=False)
            for (inner, seed), run in zip(places, starts, strict=True)
        ]
        for prices in candidates
    }
    every = [run for own in branches.values() for run in own]
    if bench.failure("inner", every) is not None:
        bench.train("inner", starts)
        if (reason := bench.failure("inner", starts)) is not None:
            raise RunsFailed(f"no branch can start: {reason}.")
    bench.train("inner", every)
    for run in starts:
        bench.run_folder("inner", run).state.unlink(missing_ok=True)
    tallies, failed = bench.looked_at("inner", branches)
    return Trials(
        tallies,
        trials_of(tallies, failed, bench.objective, epochs=end),
        epochs_spent=planned_epochs(len(candidates), bench.epochs) * len(places),
    )


def _check_ranks(bench: Bench, fold: OuterFold) -> tuple[str, int]:
    """What comes out, in a sentence, and the epochs that it took."""
    start, end = stretches(bench.epochs)
    inner, seed = fold.inner[0], bench.seeds[0]
    shared = bench.run("inner", bench.default, inner, seed, epochs=start, keeps_state=True, keeps_probabilities=False)
    candidates = bench.candidates()
    branches, full = {}, {}
    for prices in candidates:
        loss = bench.loss(prices)
        branches[prices] = bench.run(
            "inner", loss, inner, seed, epochs=end, start=shared.name, keeps_probabilities=False
        )
        full[prices] = bench.run("inner", loss, inner, seed)
    bench.train("inner", full.values())
    found = [bench.looked_at("inner", {prices: [run] for prices, run in runs.items()})[0] for runs in (branches, full)]
    merits = [{prices: bench.objective.merit(tally) for prices, tally in own.items()} for own in found]
    both = [prices for prices in candidates if all(prices in own for own in merits)]
    spent = bench.epochs * len(candidates)
    if len(both) < 2:
        return "Whether branches rank candidates as full trainings do could not be checked: too many failed.", spent
    ranks = [[sorted(of.values()).index(of[prices]) for prices in both] for of in merits]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # all equal: the correlation is undefined, which the sentence says
        correlation = float(spearmanr(ranks[0], ranks[1]).statistic)
    best = [max(both, key=lambda prices, of=of: of[prices]) for of in merits]  # type: ignore[misc]
    return RankCheck(correlation, *best).sentence, spent

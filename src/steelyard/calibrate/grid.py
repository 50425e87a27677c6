"""Strategy `grid`: every candidate is trained in full, on every inner fold and seed."""

from __future__ import annotations

from steelyard.calibrate.bench import Bench
from steelyard.calibrate.nested import OuterFold
from steelyard.calibrate.prices import Prices
from steelyard.calibrate.trials import Trials, trials_of
from steelyard.study.plan import Run


def try_all(bench: Bench) -> dict[int, Trials]:
    """Trials per outer fold; all of them are trained in one go, so that many workers find enough to do."""
    runs = {
        fold.outer.index: {prices: runs_of(bench, fold, prices) for prices in bench.candidates()}
        for fold in bench.nested.folds
    }
    bench.train("inner", [run for of_fold in runs.values() for of_prices in of_fold.values() for run in of_prices])
    return {index: _looked_at(bench, of_fold) for index, of_fold in runs.items()}


def runs_of(bench: Bench, fold: OuterFold, prices: Prices) -> list[Run]:
    """A full training of the candidate on every inner fold of one outer fold, with every seed."""
    loss = bench.loss(prices)
    return [bench.run("inner", loss, inner, seed) for inner in fold.inner for seed in bench.seeds]


def _looked_at(bench: Bench, runs: dict[Prices, list[Run]]) -> Trials:
    tallies, failed = bench.looked_at("inner", runs)
    return Trials(
        tallies,
        trials_of(tallies, failed, bench.objective, epochs=bench.epochs),
        epochs_spent=bench.epochs * sum(map(len, runs.values())),
    )

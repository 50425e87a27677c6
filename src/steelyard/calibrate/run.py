"""A calibration from its study to its card: choose on inner folds, judge on outer patients, write down both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np
from rich.console import Console

from steelyard.calibrate import grid, search, warm
from steelyard.calibrate.bench import Bench, CarryOut, make_bench
from steelyard.calibrate.budget import Budget
from steelyard.calibrate.card import card_content, recommended
from steelyard.calibrate.cost import check_budget, foresee, foreseen, spent
from steelyard.calibrate.final import final_bound
from steelyard.calibrate.front import Sweeps, front
from steelyard.calibrate.judge import judge
from steelyard.calibrate.later import decide_later, inner_runs
from steelyard.calibrate.named_objective import objective_of
from steelyard.calibrate.nested import OuterFold
from steelyard.calibrate.outcome import CHOSEN, Outcome
from steelyard.calibrate.prices import Prices
from steelyard.calibrate.select import select
from steelyard.calibrate.tally import Tally
from steelyard.calibrate.trials import Trials
from steelyard.errors import BadSpec, RunsFailed
from steelyard.runstore import write_json
from steelyard.study.plan import Run
from steelyard.study.spec import StudySpec

CARD = "card.json"

STRATEGIES: Mapping[str, Callable[[Bench, Budget], dict[int, Trials]]] = {
    "grid": lambda bench, _: grid.try_all(bench),
    "search": search.search,
    "warm": lambda bench, _: warm.branch_off(bench),
}


def calibrate_study(spec: StudySpec, *, carry_out: CarryOut, console: Console, dry_run: bool = False) -> Path | None:
    """Carry out what is not done of a calibration, and write its card; returns the card's path, None when dry.

    Raises:
        BadSpec: what does not fit, or a budget that would be exceeded.
        BadData, Interrupted, RunsFailed: as a study's runner.
    """
    bench = make_bench(spec, objective_of=objective_of, carry_out=carry_out)
    cost = foresee(bench)
    console.print(foreseen(bench, cost), highlight=False, soft_wrap=True)
    budget = check_budget(bench, cost)
    if dry_run:
        return None
    outcome = _carry_out(bench, budget)
    path = bench.folder / CARD
    write_json(path, card_content(bench, outcome, None))
    if bench.nested.bound:
        try:
            write_json(path, card_content(bench, outcome, final_bound(bench, recommended(bench, outcome))))
        except (BadSpec, RunsFailed) as error:
            outcome.lost["the bound"] = str(error).rstrip(".")
            write_json(path, card_content(bench, outcome, None))
            console.print(f"no bound: {error}", highlight=False, soft_wrap=True)
    console.print(f"{outcome.judgement.decision}: {outcome.judgement.reason}", highlight=False, soft_wrap=True)
    return path


def _carry_out(bench: Bench, budget: Budget) -> Outcome:
    trials = STRATEGIES[bench.table.strategy](bench, budget)
    folds = bench.nested.folds
    bench.train(
        "inner", [run for fold in folds for loss in bench.decided_later for run in inner_runs(bench, fold, loss)]
    )
    chosen = {index: select(found.tallies, bench.objective) for index, found in trials.items()}
    runs = {fold.outer.index: _outer_runs(bench, fold, chosen[fold.outer.index]) for fold in folds}
    bench.train("outer", [run for of_fold in runs.values() for own in of_fold.values() for run in own])

    default = bench.default.title
    every = {title: [run for of_fold in runs.values() for run in of_fold[title]] for title in next(iter(runs.values()))}
    methods, lost = bench.looked_at("outer", every)
    if missing := [lost[title] for title in (CHOSEN, default) if title in lost]:
        raise RunsFailed(f"there is nothing to judge: {missing[0]}.")
    sweeps, later = Sweeps(len(folds)), {}
    for fold in folds:
        own = runs[fold.outer.index]
        later[fold.outer.index], cases = decide_later(
            bench,
            fold,
            lambda loss, seed, own=own: own[loss.title][bench.seeds.index(seed)],  # type: ignore[misc]
        )
        sweeps.add(cases)
    for loss in bench.decided_later:
        moved = [decided for of_fold in later.values() for decided in of_fold if decided.loss == loss]
        for title in dict.fromkeys(decided.title for decided in moved):
            found = [decided.tally for decided in moved if decided.title == title]
            if len(found) == len(folds):
                methods[title] = reduce(add, found)
        if not any(decided.title in methods for decided in moved):
            lost[f"{loss.title} with its decision moved"] = "a training that it needs failed in some fold"
    final = final_choice(bench, trials, chosen)
    judged_by, higher_is_better, values = _judged(bench, methods, default)
    shortfall = {title: -bench.objective.merit(methods[title])[0] for title in (CHOSEN, default)}
    judgement = judge(
        values[CHOSEN],
        values[default],
        {title: own for title, own in values.items() if title not in (CHOSEN, default)},
        default_title=default,
        higher_is_better=higher_is_better,
        always_default=all(prices.is_default for prices in chosen.values()),
        breaks_demand=shortfall[CHOSEN] > 0 and shortfall[default] == 0,
    )
    return Outcome(
        trials=trials,
        chosen=chosen,
        final=final,
        methods=methods,
        lost=lost,
        later=later,
        front=front([found.tallies for found in trials.values()], sweeps, final, bench.label_set),
        judged_by=judged_by,
        judgement=judgement,
        cost=spent(bench, trials),
    )


def _outer_runs(bench: Bench, fold: OuterFold, chosen: Prices) -> dict[str, list[Run]]:
    """Per method, its full trainings on all of the outer fold's training patients: the chosen weights, then rivals."""
    losses = {CHOSEN: bench.loss(chosen)} | {part.title: part for part in bench.rivals}
    return {
        title: [bench.run("outer", loss, fold.outer, seed) for seed in bench.seeds] for title, loss in losses.items()
    }


def _judged(bench: Bench, methods: Mapping[str, Tally], default: str) -> tuple[str, bool, dict[str, np.ndarray]]:
    """What is compared: the objective's value, or, where the default misses its demand, how well that is met.

    Gives its title, whether higher is better, and the values of every method's outer patients.
    """
    objective = bench.objective
    if objective.merit(methods[default])[0] < 0:
        demand = {title: objective.demand_of_patients(tally) for title, tally in methods.items()}
        return f"the demand of: {objective.title}", True, {t: own for t, own in demand.items() if own is not None}
    values = {title: objective.of_patients(tally) for title, tally in methods.items()}
    return objective.title, objective.higher_is_better, values


def final_choice(bench: Bench, trials: Mapping[int, Trials], chosen: Mapping[int, Prices]) -> Prices:
    """The weights of the card: the rule's choice from the inner predictions of all outer folds together.

    With `search` folds may have kept different candidates to the end, and predictions of different patients do not
    compare: there it is the middle one of the folds' choices, organ by organ (of two middle ones the first).
    """
    first, *others = trials.values()
    common = [prices for prices in first.tallies if all(prices in other.tallies for other in others)]
    if bench.table.strategy != "search":
        if not common:
            raise RunsFailed("no candidate was trained in every outer fold, so none goes on a card. Run it again.")
        return select(
            {prices: reduce(add, (found.tallies[prices] for found in trials.values())) for prices in common},
            bench.objective,
        )
    ratios = (sorted(own) for own in zip(*(prices.ratios for prices in chosen.values()), strict=True))
    return Prices(tuple(own[(len(own) - 1) // 2] for own in ratios), bench.table.per_organ)

"""Strategy `search`: all candidates for a few epochs, the better ones for more, the best in full (successive halving).

Candidates are trials of an optuna study in a journal on disk, which also proposes further ones; the trainings are runs
like any others, so that an interrupted search goes on where it stopped. A candidate's networks go on from their last
state and are never trained twice.

Source: Jamieson and Talwalkar, "Non-stochastic best arm identification and hyperparameter optimization", AISTATS 2016.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import t as student_t

from steelyard.calibrate.bench import Bench
from steelyard.calibrate.budget import Budget
from steelyard.calibrate.nested import OuterFold
from steelyard.calibrate.objective import Objective
from steelyard.calibrate.prices import EQUAL, Prices
from steelyard.calibrate.select import select
from steelyard.calibrate.tally import Tally
from steelyard.calibrate.trials import Trial, Trials, trials_of
from steelyard.errors import BadData
from steelyard.runstore import write_bytes
from steelyard.study.plan import Run

if TYPE_CHECKING:
    import optuna

# Shares of the epochs at which candidates are looked at. At a sixth, losses have parted; with nine candidates of which
# a third goes on each time, 9/6 + 3/3 + 1/2 = 3 full trainings are spent instead of 9.
RUNGS = (1 / 6, 1 / 2, 1.0)
KEPT = 1 / 3
AT_ONCE = 9  # proposals that are tried against one another before the next are made
LEAST, MOST = 0.05, 0.95  # of proposed r: beyond, one of the two weights is all but 0
LEVEL = 0.05  # one-sided, for giving a candidate up before its turn
FEWEST_PATIENTS = 5  # for that; with fewer the SD is a guess
SHORTFALL = 1e3  # how much more a missed demand weighs than the value, in the one number that optuna sees


def rungs(epochs: int) -> list[int]:
    """The epochs at which candidates are looked at, the last of them all: [3, 9, 18] of 18."""
    return sorted({max(1, math.floor(share * epochs)) for share in RUNGS})


def planned_epochs(candidates: int, epochs: int) -> int:
    """What one training per candidate costs when only the number kept decides."""
    spent, before, left = 0, 0, candidates
    for now in rungs(epochs):
        spent += left * (now - before)
        before, left = now, math.ceil(left * KEPT)
    return spent


def search(bench: Bench, budget: Budget) -> dict[int, Trials]:
    """Trials per outer fold, one fold after the other."""
    return {fold.outer.index: _search_fold(bench, fold, budget) for fold in bench.nested.folds}


def _search_fold(bench: Bench, fold: OuterFold, budget: Budget) -> Trials:
    study = _open(bench, fold)
    given = bench.candidates()
    trials: list[Trial] = []
    tallies: dict[Prices, Tally] = {}
    notes: list[str] = []
    spent, first = 0, 0
    while first < len(given) + bench.table.proposals:
        if first < len(given):
            wanted: list[Prices | None] = list(given)
        else:
            count = min(AT_ONCE, len(given) + bench.table.proposals - first)
            cost = planned_epochs(count, bench.epochs) * len(fold.inner) * len(bench.seeds)
            if not budget.allows(cost):
                notes.append(f"the budget ended the search before {count} further proposals")
                break
            wanted = [None] * count
            if first == len(given) and bench.table.per_organ:
                wanted[0] = select(tallies, bench.objective)  # the mixture of the best, never trained so far
        asked = [_ask(study, first + index, prices, bench) for index, prices in enumerate(wanted)]
        full, seen, cost = _halve(bench, fold, [prices for _, prices in asked], budget)
        for (trial, _), own in zip(asked, seen, strict=True):
            _tell(study, trial, own)
        trials += seen
        tallies |= full
        spent += cost
        first += len(asked)
    return Trials(tallies, tuple(trials), spent, tuple(notes))


def _halve(
    bench: Bench, fold: OuterFold, candidates: Sequence[Prices], budget: Budget
) -> tuple[dict[Prices, Tally], list[Trial], int]:
    """One round of successive halving: what was trained to the end, every candidate's trial, and the epochs spent."""
    left = list(dict.fromkeys(candidates))
    runs: dict[Prices, list[Run]] = {}
    seen: dict[Prices, Trial] = {}
    spent, before = 0, 0
    looks = rungs(bench.epochs)
    for now in looks:
        last = now == looks[-1]
        runs |= {prices: _go_on(bench, fold, prices, runs.get(prices), now, last=last) for prices in left}
        own = [run for prices in left for run in runs[prices]]
        bench.train("inner", own)
        for run in own:
            if run.start is not None:  # gone on from, and never needed again
                (bench.folder / "inner" / run.start / "state.pt").unlink(missing_ok=True)
        spent += (now - before) * len(own)
        budget.spend((now - before) * len(own))
        before = now
        tallies, failed = bench.looked_at("inner", {prices: runs[prices] for prices in left})
        judged = trials_of(tallies, failed, bench.objective, epochs=now)
        reasons = {} if last or not tallies else given_up(tallies, bench.objective, per_organ=bench.table.per_organ)
        reasons |= failed
        seen |= {trial.prices: replace(trial, given_up=reasons.get(trial.prices)) for trial in judged}
        for prices in reasons:
            for run in runs[prices]:
                bench.run_folder("inner", run).state.unlink(missing_ok=True)
        left = [prices for prices in left if prices not in reasons]
        if not left:
            break
    return {prices: tallies[prices] for prices in left}, [seen[prices] for prices in candidates], spent


def given_up(tallies: Mapping[Prices, Tally], objective: Objective, *, per_organ: bool) -> dict[Prices, str]:
    """The candidates that are not trained further, and why.

    A third goes on; with weights per organ, every candidate that is among the best third for some organ. Of these,
    those clearly worse than the leader on the same patients do not.
    """
    some = next(iter(tallies.values()))
    groups = [(organ,) for organ in objective.organs_moved(some.class_count)] if per_organ else [None]
    count = math.ceil(len(tallies) * KEPT)
    reasons = {prices: f"not among the best {count} of {len(tallies)}" for prices in tallies}
    kept: set[Prices] = set()
    for organs in groups:
        order = sorted(tallies, key=lambda prices: objective.merit(tallies[prices], organs), reverse=True)
        for prices in order[:count]:
            if prices == order[0] or not clearly_worse(tallies[prices], tallies[order[0]], objective, organs):
                kept.add(prices)
            else:
                reasons[prices] = f"worse than {order[0].label} on the same patients"
    return {prices: reason for prices, reason in reasons.items() if prices not in kept}


def clearly_worse(own: Tally, leader: Tally, objective: Objective, organs: tuple[int, ...] | None = None) -> bool:
    """Whether the mean paired difference from the leader lies below 0 with all of its one-sided 95 % t interval.

    Only where both meet the objective's demand: where not, values alone do not compare.
    """
    if objective.merit(own, organs)[0] < 0 or objective.merit(leader, organs)[0] < 0:
        return False
    difference = objective.of_patients(own, organs) - objective.of_patients(leader, organs)
    difference = difference[~np.isnan(difference)] * (1 if objective.higher_is_better else -1)
    n = len(difference)
    if n < FEWEST_PATIENTS:
        return False
    return bool(difference.mean() + student_t.ppf(1 - LEVEL, n - 1) * difference.std(ddof=1) / math.sqrt(n) < 0)


def _go_on(
    bench: Bench, fold: OuterFold, prices: Prices, before: list[Run] | None, epochs: int, *, last: bool
) -> list[Run]:
    """The candidate's runs to that many epochs, each from the state in which the one before it ended."""
    starts = [None] * (len(fold.inner) * len(bench.seeds)) if before is None else [run.name for run in before]
    places = [(inner, seed) for inner in fold.inner for seed in bench.seeds]
    return [
        bench.run(
            "inner", bench.loss(prices), inner, seed,
            epochs=epochs, start=start, keeps_state=not last, keeps_probabilities=False,
        )
        for (inner, seed), start in zip(places, starts, strict=True)
    ]  # fmt: skip


def _open(bench: Bench, fold: OuterFold) -> optuna.Study:
    """The fold's optuna study, from its journal where there is one. Its name holds all that its trials depend on."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    bench.folder.mkdir(parents=True, exist_ok=True)
    journal = bench.folder / "search.journal"
    some_run = bench.run("inner", bench.default, fold.inner[0], bench.seeds[0])
    try:
        _mend(journal)
        return _study(optuna, journal, fold, some_run, bench)
    except (ValueError, KeyError) as error:
        raise BadData(
            f"{journal} cannot be read as a journal: {str(error).splitlines()[0]}. Delete it: trainings are kept."
        ) from error


def _mend(journal: Path) -> None:
    """Take off a line that a kill or a full disk has torn; what it told is told again."""
    content = journal.read_bytes() if journal.exists() else b""
    if content and not content.endswith(b"\n"):
        write_bytes(journal, content[: content.rfind(b"\n") + 1])


def _study(optuna: Any, journal: Path, fold: OuterFold, some_run: Run, bench: Bench) -> Any:
    from optuna.storages.journal import JournalFileBackend

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # of `multivariate`, since 2020
        sampler = optuna.samplers.TPESampler(seed=fold.outer.index, multivariate=True)
    return optuna.create_study(
        storage=optuna.storages.JournalStorage(JournalFileBackend(str(journal))),
        study_name=f"outer fold {fold.outer.index}, {some_run.name}, {bench.table.model_dump_json()}",
        direction="maximize",
        sampler=sampler,
        load_if_exists=True,
    )


def _ask(study: optuna.Study, number: int, wanted: Prices | None, bench: Bench) -> tuple[Any, Prices]:
    """The trial of that number, from the journal where it is there, and its candidate: `wanted`, or a proposal."""
    import optuna

    known = {trial.number: trial for trial in study.get_trials(deepcopy=False)}
    organs = bench.organs if bench.table.per_organ else 1
    if number in known and known[number].state != optuna.trial.TrialState.WAITING:
        values = [known[number].params[f"r{index}"] for index in range(organs)]
        return known[number], Prices(tuple(values), bench.table.per_organ)
    if wanted is not None and number not in known:
        study.enqueue_trial({f"r{index}": wanted.of_organ(index) for index in range(organs)})
    moved = bench.objective.organs_moved(bench.organs + 1) if bench.table.per_organ else (1,)
    trial = study.ask()
    values = [
        trial.suggest_float(f"r{index}", LEAST, MOST) if wanted is not None or index + 1 in moved else EQUAL
        for index in range(organs)
    ]
    if wanted is not None:  # as given: .97 lies outside of what is proposed
        values = [wanted.of_organ(index) for index in range(organs)]
    return trial, Prices(tuple(values), bench.table.per_organ)


def _tell(study: optuna.Study, trial: Any, seen: Trial) -> None:
    """Note how the trial ended, unless the journal has it."""
    import optuna

    found = study.get_trials(deepcopy=False)[trial.number]
    if found.state.is_finished():
        return
    merit = -math.inf if seen.merit is None else seen.merit[1] + SHORTFALL * seen.merit[0]
    value = merit if math.isfinite(merit) else -SHORTFALL
    still = optuna.trial.Trial(study, found._trial_id)
    if seen.epochs not in found.intermediate_values:
        still.report(value, seen.epochs)
    if seen.given_up is None:
        study.tell(trial.number, value)
    else:
        study.tell(trial.number, state=optuna.trial.TrialState.PRUNED)

"""The three strategies on drawn learning curves: what they find, what they spend, and how they go on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from phantoms import write_chaos_patient
from pretended_trainings import EPOCHS, bench_of, failing, pretending, ratio, stopping
from steelyard.calibrate import grid, search, warm
from steelyard.calibrate.budget import Budget
from steelyard.calibrate.prices import Prices
from steelyard.calibrate.run import final_choice
from steelyard.calibrate.select import select
from steelyard.errors import BadData, Interrupted, RunsFailed


@pytest.fixture(scope="module")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("patients")
    for number in range(1, 10):
        write_chaos_patient(root / "Train_Sets" / "MR", number)
    return root


@pytest.mark.parametrize("best", [0.2, 0.35, 0.8])
def test_the_choice_is_within_a_point_of_the_grids_best_for_a_third_of_its_epochs(
    patients: Path, tmp_path: Path, best: float
) -> None:
    whole = grid.try_all(bench_of(patients, tmp_path / "grid", pretending(best)))[0]
    bench = bench_of(patients, tmp_path / "search", pretending(best), strategy="search")
    found = search.search(bench, Budget(None))[0]
    values = {prices: bench.objective.merit(tally)[1] for prices, tally in whole.tallies.items()}
    assert values[select(found.tallies, bench.objective)] >= max(values.values()) - 0.01
    assert found.epochs_spent <= 0.35 * whole.epochs_spent
    assert whole.epochs_spent == 9 * 3 * 2 * EPOCHS


def test_the_candidates_that_are_given_up_are_the_worse_ones(patients: Path, tmp_path: Path) -> None:
    bench = bench_of(patients, tmp_path, pretending(0.8), strategy="search")
    found = search.search(bench, Budget(None))[0]
    by_epochs = {trial.prices.ratios[0]: trial.epochs for trial in found.trials}
    assert {r for r, epochs in by_epochs.items() if epochs == 6} >= {0.1, 0.2, 0.3, 0.4, 0.5}
    assert [r for r, epochs in by_epochs.items() if epochs == EPOCHS] != []


def test_no_state_is_left_behind(patients: Path, tmp_path: Path) -> None:
    bench = bench_of(patients, tmp_path, pretending(0.8), strategy="search")
    search.search(bench, Budget(None))
    assert not list(bench.folder.glob("inner/*/state.pt"))  # each is three times the weights


def test_a_search_that_was_stopped_goes_on_with_the_same_trials(patients: Path, tmp_path: Path) -> None:
    options = {"strategy": "search", "values": [0.3, 0.5, 0.7], "proposals": 4}
    whole = search.search(bench_of(patients, tmp_path / "whole", pretending(0.6), **options), Budget(None))[0]
    carry_out = stopping(pretending(0.6), at=(2, 4, 5, 7))
    stopped = 0
    while True:
        try:
            found = search.search(bench_of(patients, tmp_path / "stopped", carry_out, **options), Budget(None))[0]
            break
        except Interrupted:
            stopped += 1
    assert stopped == 4
    assert found.trials == whole.trials
    assert len(found.trials) == 7
    assert len({trial.prices for trial in found.trials}) == 7  # proposals are new ones


def test_proposals_gather_around_the_best(patients: Path, tmp_path: Path) -> None:
    bench = bench_of(patients, tmp_path, pretending(0.8), seeds=(1,), strategy="search", proposals=18)
    proposed = [trial.prices.ratios[0] for trial in search.search(bench, Budget(None))[0].trials[9:]]
    assert np.mean([abs(r - 0.8) for r in proposed]) < 0.2  # .32 on average for numbers drawn at random


def test_a_budget_ends_the_proposals_and_says_so(patients: Path, tmp_path: Path) -> None:
    bench = bench_of(patients, tmp_path, pretending(0.8), seeds=(1,), strategy="search", proposals=9)
    given = search.planned_epochs(9, EPOCHS) * 2
    found = search.search(bench, Budget(given))[0]
    assert len(found.trials) == 9
    assert found.notes == ("the budget ended the search before 9 further proposals",)


def test_with_weights_per_organ_the_first_proposal_is_the_mixture_of_the_best(patients: Path, tmp_path: Path) -> None:
    bench = bench_of(patients, tmp_path, pretending(0.8), seeds=(1,), strategy="search", proposals=2, per_organ=True)
    found = search.search(bench, Budget(None))[0]
    assert len(found.trials) == 11
    assert all(len(trial.prices.ratios) == 4 for trial in found.trials)
    assert set(found.trials[9].prices.ratios) <= {trial.prices.ratios[0] for trial in found.trials[:9]}


def test_a_warm_start_branches_once_per_candidate_and_checks_its_ranks(patients: Path, tmp_path: Path) -> None:
    bench = bench_of(patients, tmp_path, pretending(0.8), strategy="warm")
    found = warm.branch_off(bench)[0]
    assert {trial.epochs for trial in found.trials} == {18 + 6}
    assert found.epochs_spent == 2 * 3 * (18 + 9 * 6) + 9 * EPOCHS
    assert "rank correlation" in found.notes[0]
    assert abs(select(found.tallies, bench.objective).ratios[0] - 0.8) < 0.11
    assert not list(bench.folder.glob("inner/*/state.pt"))


def test_a_failed_candidate_is_left_out_and_named(patients: Path, tmp_path: Path) -> None:
    carry_out = failing(pretending(0.75), loses=lambda run, epochs: run.loss.name == "iou0515")
    found = grid.try_all(bench_of(patients, tmp_path, carry_out, values=[0.25, 0.5, 0.75]))[0]
    assert set(found.tallies) == {Prices((0.25,)), Prices((0.5,))}
    lost = next(trial for trial in found.trials if trial.prices == Prices((0.75,)))
    assert lost.merit is None
    assert "the loss became nan" in lost.given_up


def test_a_search_goes_on_without_a_candidate_that_fails_on_its_way(patients: Path, tmp_path: Path) -> None:
    carry_out = failing(pretending(0.8), loses=lambda run, epochs: ratio(run.loss) == 0.8 and epochs == 18)
    for _ in range(2):  # the same command again finds the states gone, and comes to the same end
        found = search.search(bench_of(patients, tmp_path, carry_out, strategy="search"), Budget(None))[0]
        by_ratio = {trial.prices.ratios[0]: trial for trial in found.trials}
        assert "the loss became nan" in by_ratio[0.8].given_up
        assert [trial.prices.ratios[0] for trial in found.trials if trial.epochs == EPOCHS] in ([0.9], [0.7])


def test_a_search_without_any_candidate_left_says_why(patients: Path, tmp_path: Path) -> None:
    carry_out = failing(pretending(0.8), loses=lambda run, epochs: epochs == EPOCHS)
    with pytest.raises(RunsFailed, match="no candidate is left to choose from"):
        search.search(bench_of(patients, tmp_path, carry_out, strategy="search"), Budget(None))


def test_proposals_that_fail_leave_the_earlier_finds(patients: Path, tmp_path: Path) -> None:
    carry_out = failing(pretending(0.5), loses=lambda run, epochs: ratio(run.loss) not in (0.25, 0.5))
    bench = bench_of(patients, tmp_path, carry_out, strategy="search", values=[0.25, 0.5], proposals=1)
    found = search.search(bench, Budget(None))[0]
    assert set(found.tallies) == {Prices((0.5,))}
    assert found.trials[-1].merit is None


def test_a_warm_start_goes_on_without_a_branch_that_fails(patients: Path, tmp_path: Path) -> None:
    carry_out = failing(pretending(0.8), loses=lambda run, epochs: ratio(run.loss) == 0.9 and epochs == 24)
    found = warm.branch_off(bench_of(patients, tmp_path, carry_out, strategy="warm"))[0]
    assert Prices((0.9,)) not in found.tallies
    assert len(found.tallies) == 8


def test_values_added_later_find_the_start_that_was_cleared_away(patients: Path, tmp_path: Path) -> None:
    for values in ([0.3, 0.5], [0.3, 0.5, 0.7]):
        found = warm.branch_off(bench_of(patients, tmp_path, pretending(0.8), strategy="warm", values=values))[0]
        assert len(found.tallies) == len(values)


def test_fewer_values_keep_a_candidate_that_was_given_up_before(patients: Path, tmp_path: Path) -> None:
    for values in ([0.1, 0.2, 0.3, 0.6, 0.7, 0.8], [0.1, 0.2, 0.3]):
        bench = bench_of(patients, tmp_path, pretending(0.8), strategy="search", values=values)
        found = search.search(bench, Budget(None))[0]
        assert select(found.tallies, bench.objective).ratios[0] == max(values)


def test_a_search_goes_on_from_a_torn_journal_and_names_a_broken_one(patients: Path, tmp_path: Path) -> None:
    options = {"strategy": "search", "values": [0.3, 0.5]}
    whole = search.search(bench_of(patients, tmp_path, pretending(0.8), **options), Budget(None))[0]
    bench = bench_of(patients, tmp_path, pretending(0.8), **options)
    journal = bench.folder / "search.journal"
    for torn in (15, 400):
        journal.write_bytes(journal.read_bytes()[:-torn])
        assert search.search(bench, Budget(None))[0].trials == whole.trials
    journal.write_bytes(b"{broken\n" + journal.read_bytes())
    with pytest.raises(BadData, match=r"search.journal cannot be read as a journal.*Delete it"):
        search.search(bench, Budget(None))


def test_the_cards_weights_after_a_search_are_the_middle_of_the_folds_choices(patients: Path, tmp_path: Path) -> None:
    bench = bench_of(patients, tmp_path, pretending(0.8), strategy="search", per_organ=True)
    chosen = {0: Prices((0.2, 0.9), True), 1: Prices((0.6, 0.1), True), 2: Prices((0.3, 0.4), True)}
    assert final_choice(bench, search.search(bench, Budget(None)), chosen) == Prices((0.3, 0.4), True)

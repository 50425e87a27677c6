"""The verdict: change for a gain that is more than noise, else keep the default; checked on simulated studies."""

from __future__ import annotations

import numpy as np
import pytest

from steelyard.calibrate.judge import judge
from steelyard.calibrate.objective import MeanIndex
from steelyard.calibrate.prices import Prices
from steelyard.calibrate.select import select
from steelyard.calibrate.tally import Tally
from steelyard.confusion import Confusion

PATIENTS, FOLDS = 20, 5
RATIOS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
SD = 0.06 / np.sqrt(2)  # of one method's result in a patient: paired differences then have an SD of 6 points
UNION = 100_000


def tally(ious: np.ndarray, patients: np.ndarray) -> Tally:
    tp = np.stack([np.full(len(ious), UNION), np.round(UNION * ious).astype(int)], axis=1)
    rest = np.stack([np.zeros(len(ious), int), UNION - tp[:, 1]], axis=1)
    counts = Confusion(tp, rest, np.zeros_like(tp), np.zeros_like(tp))
    return Tally(tuple(f"p{p:02}" for p in patients), counts, np.ones(len(ious)))


def simulated_decision(gain: float, seed: int) -> str:
    """A whole calibration whose trainings are drawn: r = .8 is `gain` better than the eight others, which are alike."""
    random = np.random.default_rng(seed)
    of_patient = np.clip(random.normal(0.75, 0.08, PATIENTS), 0.4, 0.9)
    effect = {r: gain if r == 0.8 else 0.0 for r in RATIOS}

    def results(r: float, patients: np.ndarray) -> np.ndarray:
        return np.clip(of_patient[patients] + effect[r] + random.normal(0, SD, len(patients)), 0, 1)

    chosen, default = np.empty(PATIENTS), np.empty(PATIENTS)
    ratios = []
    for fold in range(FOLDS):
        unseen = np.arange(fold, PATIENTS, FOLDS)
        training = np.setdiff1d(np.arange(PATIENTS), unseen)
        inner = {Prices((r,)): tally(results(r, training), training) for r in RATIOS}
        (r,) = select(inner, MeanIndex()).ratios
        ratios.append(r)
        default[unseen] = results(0.5, unseen)
        chosen[unseen] = default[unseen] if r == 0.5 else results(r, unseen)
    found = judge(
        chosen, default, {}, default_title="iou11", higher_is_better=True, always_default=set(ratios) == {0.5}
    )
    return found.decision


def test_with_nothing_but_noise_between_candidates_the_default_is_kept() -> None:
    decisions = [simulated_decision(0.0, seed) for seed in range(100)]
    assert decisions.count("keep the default") >= 90


def test_a_true_gain_of_five_points_is_found() -> None:
    decisions = [simulated_decision(0.05, seed) for seed in range(100)]
    assert decisions.count("change") >= 80


VALUES = np.linspace(0.5, 0.8, 12)
WOBBLE = np.tile([0.01, -0.01], 6)


def judged(difference: float, *, higher_is_better: bool = True, patients: int = 12, **options: bool):
    chosen = (VALUES + difference + WOBBLE)[:patients]
    return judge(
        chosen, VALUES[:patients], {"rival": VALUES[:patients] + 0.2}, default_title="iou11",
        higher_is_better=higher_is_better, **{"always_default": False} | options,
    )  # fmt: skip


def test_a_clear_gain_is_a_change_and_tells_its_size() -> None:
    found = judged(0.05)
    assert found.decision == "change"
    assert found.against_default.difference == pytest.approx(0.05)
    assert found.against_default.low < 0.05 < found.against_default.high
    assert [rival.verdict for rival in found.against_rivals] == ["worse"]


def test_where_lower_is_better_the_same_difference_is_a_loss() -> None:
    found = judged(0.05, higher_is_better=False)
    assert found.decision == "keep the default"
    assert "did worse" in found.reason


def test_a_gain_within_noise_keeps_the_default_and_says_so() -> None:
    found = judged(0.001)
    assert (found.decision, found.reason) == ("keep the default", "the gain is within noise.")


def test_five_patients_are_too_few_whatever_the_gain() -> None:
    found = judged(0.2, patients=5)
    assert found.decision == "keep the default"
    assert "5 patients are too few" in found.reason


def test_weights_that_miss_the_demand_are_not_taken_whatever_they_gain() -> None:
    found = judged(0.05, breaks_demand=True)
    assert found.decision == "keep the default"
    assert "miss the demand" in found.reason


def test_folds_that_chose_the_default_keep_it() -> None:
    assert "chose the default itself" in judged(0.0, always_default=True).reason

"""Successive halving: who is given up and why, what it costs, and that a search goes on where it stopped."""

from __future__ import annotations

import numpy as np
import pytest

from steelyard.calibrate.objective import LeastSpill, MeanIndex
from steelyard.calibrate.prices import Prices
from steelyard.calibrate.search import clearly_worse, given_up, planned_epochs, rungs
from steelyard.calibrate.tally import Tally
from steelyard.confusion import Confusion

UNION = 1000


def tally(ious: np.ndarray) -> Tally:
    """(patient, organ) → one case per patient; all that is wrong is spilled."""
    tp = np.concatenate([np.full((len(ious), 1), UNION), np.round(UNION * ious)], axis=1).astype(int)
    fp = UNION - tp
    return Tally(tuple(f"p{i:02}" for i in range(len(ious))), Confusion(tp, fp, 0 * tp, 0 * tp), np.ones(len(ious)))


def alike(iou: float, *, wobble: float = 0.0, patients: int = 8, organs: int = 1) -> Tally:
    own = iou + wobble * np.resize([1.0, -1.0], patients)[:, None]
    return tally(np.repeat(own, organs, axis=1))


def test_nine_candidates_cost_a_third_of_their_grid() -> None:
    assert rungs(18) == [3, 9, 18]
    assert planned_epochs(9, 18) == 9 * 3 + 3 * 6 + 1 * 9  # 54 of 162
    for epochs in range(6, 200):
        assert planned_epochs(9, epochs) <= 0.35 * 9 * epochs


def test_short_trainings_have_fewer_looks_and_never_none() -> None:
    assert rungs(1) == [1]
    assert rungs(2) == [1, 2]


def test_the_best_third_goes_on() -> None:
    random = np.random.default_rng(1)
    found = {}
    for r in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7):
        noise = random.normal(0, 0.1, (8, 1))
        found[Prices((r,))] = tally(0.5 + r / 10 + noise - noise.mean())
    reasons = given_up(found, MeanIndex(), per_organ=False)
    assert set(found) - set(reasons) == {Prices((0.7,)), Prices((0.6,)), Prices((0.5,))}
    assert reasons[Prices((0.1,))] == "not among the best 3 of 7"


def test_one_that_is_clearly_worse_than_the_leader_is_given_up_before_its_turn() -> None:
    found = {
        Prices((0.2,)): alike(0.8),
        Prices((0.3,)): alike(0.6),  # twenty points worse in every patient
        **{Prices((r,)): alike(0.3) for r in (0.5, 0.6)},
    }
    reasons = given_up(found, MeanIndex(), per_organ=False)
    assert reasons[Prices((0.3,))] == "worse than r = .2 on the same patients"


def test_with_weights_per_organ_the_best_of_any_organ_goes_on() -> None:
    ious = {0.2: (0.9, 0.1), 0.4: (0.5, 0.5), 0.8: (0.1, 0.9)}
    found = {
        Prices((r, r), True): tally(np.tile(own, (8, 1)) + 0.05 * np.resize([1.0, -1.0], 8)[:, None])
        for r, own in ious.items()
    }
    assert set(found) - set(given_up(found, MeanIndex(), per_organ=True)) == {
        Prices((0.2, 0.2), True),
        Prices((0.8, 0.8), True),
    }


def test_clearly_worse_is_a_paired_t_limit_worked_by_hand() -> None:
    # Differences −.01 ± .02: mean −.01, SD .0214, n 8: −.01 + 1.895 · .0214 / √8 = +.0043: not clear.
    assert not clearly_worse(alike(0.6, wobble=0.02), alike(0.61), MeanIndex())
    # ± .01: SD .0107 and −.01 + 1.895 · .0107 / √8 = −.0028: clear.
    assert clearly_worse(alike(0.6, wobble=0.01), alike(0.61), MeanIndex())


def test_four_patients_or_a_missed_demand_give_nobody_up_early() -> None:
    assert not clearly_worse(alike(0.2, patients=4), alike(0.9, patients=4), MeanIndex())
    spilling = LeastSpill(1, 0.5)
    assert clearly_worse(alike(0.4), alike(0.9), spilling)
    missing = alike(0.4)
    missed = Confusion(missing.counts.tp, 0 * missing.counts.fp, missing.counts.fp, missing.counts.tn)
    assert not clearly_worse(Tally(missing.patient_ids, missed, missing.voxel_ml), alike(0.9), spilling)


@pytest.mark.parametrize("count", [1, 2, 5, 9, 12])
def test_somebody_always_goes_on(count: int) -> None:
    found = {Prices((0.05 + i / 20,)): alike(0.5) for i in range(count)}
    assert len(given_up(found, MeanIndex(), per_organ=False)) < count

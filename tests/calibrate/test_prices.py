"""The price of a miss as one number, and the losses that charge it."""

from __future__ import annotations

import pytest

from steelyard.calibrate.prices import Prices, loss_with, weights
from steelyard.study.spec import Part

TVERSKY = Part(name="tversky")


@pytest.mark.parametrize(("r", "pair"), [(0.75, (0.5, 1.5)), (0.25, (1.5, 0.5)), (0.5, (1.0, 1.0)), (0.7, (0.6, 1.4))])
def test_r_is_the_share_of_the_false_negatives_price_of_two(r: float, pair: tuple[float, float]) -> None:
    assert weights(r) == pair


@pytest.mark.parametrize(("r", "name"), [(0.75, "iou0515"), (0.25, "iou1505"), (0.5, "iou11")])
def test_prices_with_a_name_are_that_loss_so_that_studies_share_its_runs(r: float, name: str) -> None:
    assert loss_with(Prices((r,)), TVERSKY, organs=4) == Part(name=name)


def test_another_price_is_a_tversky_loss_with_both_weights() -> None:
    loss = loss_with(Prices((0.6,)), TVERSKY, organs=4)
    assert (loss.name, loss.options) == ("tversky", {"fp_weight": 0.8, "fn_weight": 1.2})


def test_a_name_is_not_used_where_the_loss_has_further_options() -> None:
    loss = loss_with(Prices((0.75,)), Part(name="tversky", absent="penalise"), organs=2)
    assert loss.options == {"fp_weight": 0.5, "fn_weight": 1.5, "absent": "penalise"}


def test_prices_per_organ_leave_the_backgrounds_weights_equal() -> None:
    loss = loss_with(Prices((0.75, 0.25, 0.5), per_organ=True), TVERSKY, organs=3)
    assert loss.options == {"fp_weight": [1.0, 0.5, 1.5, 1.0], "fn_weight": [1.0, 1.5, 0.5, 1.0]}


def test_equal_prices_per_organ_are_the_default_loss() -> None:
    assert loss_with(Prices((0.5, 0.5), per_organ=True), TVERSKY, organs=2) == Part(name="iou11")


def test_a_loss_per_organ_gets_a_tversky_with_the_organs_weights() -> None:
    loss = loss_with(Prices((0.75, 0.5), per_organ=True), Part(name="per_organ", against="background"), organs=2)
    assert loss.options == {
        "organs": [
            {"name": "tversky", "fp_weight": 0.5, "fn_weight": 1.5},
            {"name": "tversky", "fp_weight": 1.0, "fn_weight": 1.0},
        ],
        "against": "background",
    }

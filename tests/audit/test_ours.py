"""The audit of Steelyard's own losses: every registered one passes, and what is by design is said."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from steelyard.audit import audit_loss
from steelyard.audit.audit import CHECKS
from steelyard.losses import LOSSES, IoULoss

SHARES = [0.9, 0.05, 0.03, 0.02]
EXACT = [check for check in CHECKS if check not in ("fp16 overflow", "bf16 overflow")]
OPTIONS: list[dict[str, Any]] = [
    {"absent": "skip"},
    {"absent": "penalise", "fp_weight": 0.3},
    {"scope": "slice", "background": False},
    {"fp_weight": [0.2, 0.4, 0.6, 0.9], "fn_weight": 1.4, "class_weights": [0.5, 1.0, 2.0, 3.0]},
]


def options_of(name: str) -> dict[str, Any]:
    asked = inspect.signature(LOSSES[name]).parameters
    return {"class_frequencies": SHARES} if "class_frequencies" in asked else {}


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_every_registered_loss_passes(name: str) -> None:
    audit = audit_loss(name, options=options_of(name), processes=False)
    assert audit.failures == (), str(audit)
    assert audit.taken_for == "a registered loss"


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_options_pass_too(options: dict[str, Any]) -> None:
    audit = audit_loss("tversky", options=options, checks=EXACT, processes=False)
    assert audit.failures == (), str(audit)


def test_a_gradient_dead_by_formula_is_declared_and_a_penalty_passes() -> None:
    check = "absent organ: gradient"
    formula = audit_loss("iou0515", checks=[check])[check]
    assert formula.verdict == "declared"
    assert "absent=formula" in formula.explanation
    assert formula.numbers["push_at_higher_weight"] == pytest.approx(formula.numbers["push"], rel=1e-2)
    penalised = audit_loss("tversky", options={"absent": "penalise", "background": False}, checks=[check])[check]
    assert penalised.verdict == "pass"
    # fp_weight × mean probability, over 3 organs: per unit moved on 7680 − 100 of 7680 pixels
    assert penalised.numbers["push"] == pytest.approx(7580 / 7680 / 3, rel=1e-6)
    assert penalised.numbers["push_at_higher_weight"] == pytest.approx(4 * 7580 / 7680 / 3, rel=1e-6)


def test_nothing_pushes_an_invented_organ_out_where_dice_leaves_the_background_out() -> None:
    audit = audit_loss("diceBK", checks=["all-empty slice"])
    assert audit["all-empty slice"].verdict == "declared"
    assert audit["all-empty slice"].numbers["push"] == pytest.approx(0, abs=1e-12)


def test_a_built_loss_is_audited_as_it_stands() -> None:
    audit = audit_loss(IoULoss(fp_weight=0.5, fn_weight=1.5), checks=["FP weight", "scope"])
    assert audit.failures == ()
    assert audit.roles["FP weight"] == "fp_weight (attribute)"
    numbers = audit["FP weight"].numbers
    assert numbers["class"] == 3  # 80 pixels, 30 spilled
    by_hand = (80 / (80 + 0.5 * 30) - 80 / (80 + 1.0 * 30)) / 4
    assert numbers["spills_move"] == pytest.approx(by_hand, rel=1e-3)


def test_a_small_organ_costs_its_term_in_dice_and_its_pixels_in_cross_entropy() -> None:
    check = "a small organ"
    without_background = audit_loss("diceBK", checks=[check])[check].numbers
    assert without_background["small"] == pytest.approx(1 / 3, abs=1e-3)
    assert without_background["large"] == pytest.approx(1 / 3, abs=1e-3)
    by_pixel = audit_loss("cross_entropy", checks=[check])[check].numbers
    assert by_pixel["large"] / by_pixel["small"] == pytest.approx(100, rel=1e-3)  # 1200 and 12 pixels

"""The audit of losses with one planted fault each: it finds that fault, and no other."""

from __future__ import annotations

from pathlib import Path

import pytest

import steelyard.audit.processes as audit_processes
from steelyard.audit import Audit, audit_loss

PLANTED = Path(__file__).parent / "planted.py"
PRECISION = {"fp16 overflow", "bf16 overflow"}  # slow: half of an audit's time

# What must fail, and nothing else may. A fault shows in every check that it touches: pooled counts have no term of the
# background to drop, and an ignored or detached FP weight cannot push an absent organ.
FAULTS = {
    "Sound": set(),
    "PooledClasses": {"FP weight", "FN weight", "background option", "absent organ: gradient"},
    "SwappedWeights": {"FP weight", "FN weight"},
    "IgnoredWeight": {"FP weight", "absent organ: gradient"},
    "WrongClassDropped": {"background option"},
    "LastDroppedToo": {"background option"},
    "BackgroundAlwaysDropped": {"background option"},
    "DeadAbsent": {"absent organ: gradient"},
    "DeadAbsentByName": {"absent organ: gradient"},
    "StepAbsent": {"absent organ: value", "absent organ: gradient"},
    "NothingOverNothing": {"all-empty slice"},
    "DoubleSoftmax": {"logits or probabilities", "FP weight", "FN weight"},
    "NoSoftmax": {"logits or probabilities"},
    "Detached": {"gradient", "absent organ: gradient"},
    "SumOverBatch": {"scope"},
    "FirstSliceCountsTwice": {"batch permutation", "scope"},
    "LastClassCountsTwice": {"class permutation"},
    "SpillsPraised": {"least at the truth", "absent organ: gradient", "all-empty slice"},
    "BatchPooled": set(),
}


def audited(name: str, **how: object) -> Audit:
    how.setdefault("checks", [check for check in audit_of_all() if check not in PRECISION])
    return audit_loss(f"{PLANTED}:{name}", processes=False, **how)  # type: ignore[arg-type]


def audit_of_all() -> list[str]:
    from steelyard.audit.audit import CHECKS

    return list(CHECKS)


def failed(audit: Audit) -> set[str]:
    return {finding.check for finding in audit.failures}


@pytest.mark.parametrize("name", FAULTS)
def test_each_planted_fault_is_found_and_no_other(name: str) -> None:
    audit = audited(name)
    assert failed(audit) == FAULTS[name], str(audit)


def test_the_explanation_names_the_fault() -> None:
    prices = ["FP weight", "FN weight", "logits or probabilities", "background option", "absent organ: gradient"]
    for name, check, words in (
        ("PooledClasses", "FP weight", "pooled over classes"),
        ("SwappedWeights", "FN weight", "swapped"),
        ("IgnoredWeight", "FP weight", "ignored"),
        ("WrongClassDropped", "background option", "class 3"),
        ("DoubleSoftmax", "logits or probabilities", "applied twice"),
        ("DeadAbsentByName", "absent organ: gradient", "does not undo it"),
    ):
        assert words in audited(name, checks=prices)[check].explanation, name


def test_the_weights_move_the_loss_by_what_the_formula_says() -> None:
    """Class 3 has 80 pixels in each slice; 30 spilled cost 1 − 80 / (80 + α 30), a quarter of it in the mean."""
    audit = audited("Sound", checks=["FP weight", "FN weight"])
    numbers = audit["FP weight"].numbers
    assert numbers["class"] == 3
    by_hand = (80 / (80 + 0.6 * 30) - 80 / (80 + 1.2 * 30)) / 4
    assert numbers["spills_move"] == pytest.approx(by_hand, abs=1e-4)
    # The background has 7680 − 180 pixels; its 30 missed ones are what the FN weight sees of a spill.
    kept = 7500 - 30
    background = (kept / (kept + 1.1 * 30) - kept / (kept + 2.2 * 30)) / 4
    assert audit["FN weight"].numbers["spills_move"] == pytest.approx(background, abs=1e-5)


def test_counts_in_float16_overflow_and_counts_in_float32_do_not() -> None:
    sums, sound = (audited(name, checks=sorted(PRECISION)) for name in ("HalfSums", "Sound"))
    assert failed(sums) == {"fp16 overflow"}
    assert failed(sound) == set()


def test_probabilities_given_to_a_softmax_are_a_softmax_twice() -> None:
    checks = ["logits or probabilities", "FP weight"]
    assert failed(audited("Sound", input="probabilities", checks=checks)) == {"logits or probabilities"}
    assert failed(audited("NoSoftmax", input="probabilities", checks=checks)) == set()


def test_an_option_may_be_named_when_its_name_is_unknown() -> None:
    swapped = audited("Sound", fp_option="fn_weight", fn_option="fp_weight", checks=["FP weight", "FN weight"])
    assert failed(swapped) == {"FP weight", "FN weight"}


def test_a_check_that_raises_fails_and_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    from steelyard.audit import audit as module

    def broken(_: object) -> None:
        raise ZeroDivisionError("no")

    monkeypatch.setattr(module, "CHECKS", {"range": broken, "scope": module.CHECKS["scope"]})
    audit = audit_loss("iou11", processes=False)
    assert [finding.verdict for finding in audit.findings] == ["fail", "pass"]
    assert "ZeroDivisionError: no" in audit["range"].measured


def test_the_same_loss_gives_the_same_findings() -> None:
    checks = ["FP weight", "range", "class permutation", "scope", "gradient"]
    assert audited("Sound", checks=checks) == audited("Sound", checks=checks)


def test_smoothed_labels_are_not_taken_for_a_softmax_twice_nor_for_an_absent_organ() -> None:
    audit = audited("smoothed", checks=["logits or probabilities", "least at the truth", "absent organ: value"])
    assert failed(audit) == {"least at the truth"}


def test_a_focal_loss_with_a_sigmoid_per_class_drops_its_background_as_it_says() -> None:
    """A spilled pixel is still charged, to the organ that took it."""
    audit = audited("SigmoidFocal", checks=["background option", "logits or probabilities", "class permutation"])
    assert failed(audit) == set()
    assert audit["logits or probabilities"].verdict == "note"


def test_another_device_gives_the_same_findings() -> None:
    checks = ["FP weight", "absent organ: gradient", "scope"]
    there, here = audited("Sound", checks=checks, device="cpu:0"), audited("Sound", checks=checks)
    assert there.findings == here.findings
    assert "on cpu:0" in there.called_with


def test_two_processes_find_a_batch_pooled_loss_and_pass_one_by_slice() -> None:
    pooled, sound = (
        audit_loss(f"{PLANTED}:{name}", checks=["two processes"])["two processes"] for name in ("BatchPooled", "Sound")
    )
    assert (pooled.verdict, sound.verdict) == ("fail", "pass")
    assert pooled.numbers["apart"] > 10 * audit_processes.APART
    assert sound.numbers["apart"] < 1e-6


def test_a_loss_that_cannot_go_to_another_process_is_not_judged_there() -> None:
    audit = audit_loss(lambda logits, target: logits.mean(), checks=["two processes"])
    assert audit["two processes"].verdict == "not offered"
    assert "cannot be sent" in audit["two processes"].measured

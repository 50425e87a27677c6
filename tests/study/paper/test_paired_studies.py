"""Two studies, the same patients: differences by hand."""

from __future__ import annotations

import polars as pl
import pytest
from paper_scores import extremes, ours, run

from steelyard.study.paper.paired import paired_differences

TWO = ("liver", "spleen")


def only(pairs: pl.DataFrame, organ: str | None) -> dict[str, object]:
    return pairs.filter(pl.col("organ").eq_missing(pl.lit(organ))).row(0, named=True)


def test_a_difference_is_partner_minus_own_patient_by_patient():
    off = ours(run("dice", {"liver": 0.5}, {"p1_a": {"liver": 0.4}, "p2_a": {"liver": 0.6}}), organs=("liver",))
    on = ours(run("dice", {"liver": 0.8}, {"p1_a": {"liver": 0.7}, "p2_a": {"liver": 0.8}}), organs=("liver",))
    row = only(paired_differences("augmentation", off, on, extremes), "liver")
    assert (row["mean"], row["partner_mean"]) == (pytest.approx(0.5), pytest.approx(0.75))
    assert (row["difference"], row["low"], row["high"]) == (
        pytest.approx(0.25), pytest.approx(0.2), pytest.approx(0.3)
    )  # fmt: skip
    assert row["pooled_difference"] == pytest.approx(0.3)
    assert (row["what"], row["patients"]) == ("augmentation", 2)


def test_only_cases_that_both_have_scored_count():
    by_patient = ours(
        run("dice", {"liver": 0.5}, {"p1_in": {"liver": 0.4}, "p1_out": {"liver": 0.9}, "p3_in": {"liver": 0.1}}),
        organs=("liver",),
    )
    by_sequence = ours(run("dice", {"liver": 0.6}, {"p1_in": {"liver": 0.5}}), organs=("liver",))
    row = only(paired_differences("leak", by_patient, by_sequence, extremes), "liver")
    assert (row["difference"], row["patients"], row["low"]) == (pytest.approx(0.1), 1, None)


def test_seeds_are_averaged_before_cases_and_cases_before_patients():
    own = ours(
        run("dice", {"liver": 0.5}, {"p1_in": {"liver": 0.1}, "p1_out": {"liver": 0.6}}, seed=1),
        run("dice", {"liver": 0.5}, {"p1_in": {"liver": 0.3}}, seed=2),
        organs=("liver",),
    )
    partner = ours(run("dice", {"liver": 0.5}, {"p1_in": {"liver": 1.0}, "p1_out": {"liver": 1.0}}), organs=("liver",))
    row = only(paired_differences("x", own, partner, extremes), "liver")
    assert row["mean"] == pytest.approx(0.4)  # of .2 and .6; the three values together would give .333


def test_the_mean_of_organs_needs_every_organ_of_the_patient():
    values = {"p1_a": {"liver": 0.4, "spleen": 0.2}, "p2_a": {"liver": 0.9}}
    higher = {case: {organ: v + 0.05 for organ, v in of.items()} for case, of in values.items()}
    own = ours(run("dice", {"liver": 0.5, "spleen": 0.5}, values), organs=TWO)
    partner = ours(run("dice", {"liver": 0.5, "spleen": 0.7}, higher), organs=TWO)
    pairs = paired_differences("x", own, partner, extremes)
    assert only(pairs, "liver")["patients"] == 2
    assert (only(pairs, None)["patients"], only(pairs, None)["mean"]) == (1, pytest.approx(0.3))
    assert only(pairs, None)["pooled_difference"] == pytest.approx(0.1)


def test_tasks_of_one_study_are_paired_organ_by_organ():
    study = ours(
        run("dice", {"liver": 0.5, "spleen": 0.6}, {"p1_a": {"liver": 0.5, "spleen": 0.7}}),
        run("dice", {"liver": 0.4}, {"p1_a": {"liver": 0.8}}, task="uniclass"),
        organs=TWO,
    )
    pairs = paired_differences("task", study, study, extremes, partner_task="uniclass")
    assert pairs["organ"].to_list() == ["liver"]  # the spleen's own network is not finished, so there is no mean either
    assert only(pairs, "liver")["difference"] == pytest.approx(0.3)


def test_losses_and_networks_never_mix():
    own = ours(run("dice", {"liver": 0.5}, {"p1_a": {"liver": 0.5}}), organs=("liver",))
    for other in (run("iou11", {"liver": 0.9}, {"p1_a": {"liver": 0.9}}),
                  run("dice", {"liver": 0.9}, {"p1_a": {"liver": 0.9}}, network="other")):  # fmt: skip
        assert paired_differences("x", own, ours(other, organs=("liver",)), extremes).is_empty()

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


def test_pooled_values_over_other_patients_are_not_subtracted():
    # the partner is a copy of own fold 0: nothing differs but which patients are pooled
    easy = run("dice", {"liver": 0.9}, {"p1_a": {"liver": 0.9}}, fold=0)
    hard = run("dice", {"liver": 0.2}, {"p2_a": {"liver": 0.2}}, fold=1)
    row = only(paired_differences("x", ours(easy, hard), ours(easy), extremes), "liver")
    assert (row["difference"], row["same_cases"], row["pooled_difference"]) == (0, False, None)
    row = only(paired_differences("x", ours(easy, hard), ours(easy, hard), extremes), "liver")
    assert (row["same_cases"], row["pooled_difference"]) == (True, 0)


def test_equal_folds_of_two_splits_are_not_equal_cases():
    by_patient = run("dice", {"liver": 0.9}, {"p1_in": {"liver": 0.9}, "p1_out": {"liver": 0.8}}, fold=0)
    by_sequence = run("dice", {"liver": 0.5}, {"p1_in": {"liver": 0.9}, "p2_in": {"liver": 0.1}}, fold=0)
    row = only(paired_differences("leak", ours(by_patient), ours(by_sequence), extremes), "liver")
    assert (row["patients"], row["pooled_difference"]) == (1, None)


def test_a_further_seed_or_organ_of_one_side_leaves_no_pooled_difference():
    both = run("dice", {"liver": 0.5, "spleen": 0.6}, {"p1_a": {"liver": 0.5, "spleen": 0.6}}, seed=1)
    again = run("dice", {"liver": 0.7}, {"p1_a": {"liver": 0.7}}, seed=2)
    pairs = paired_differences("x", ours(both, organs=TWO), ours(both, again, organs=TWO), extremes)
    assert only(pairs, "liver")["pooled_difference"] is None
    assert only(pairs, "spleen")["pooled_difference"] == 0
    assert only(pairs, None)["pooled_difference"] is None


def test_a_case_that_is_undefined_on_one_side_was_scored_all_the_same():
    both = run("dice", {"liver": 0.5}, {"p1_a": {"liver": 0.5}, "p2_a": {"liver": 0.3}})
    gone = both.with_columns(
        pl.when(pl.col("patient_id").eq_missing("p2")).then(None).otherwise("value").alias("value")
    )
    row = only(paired_differences("x", ours(both), ours(gone), extremes), "liver")
    assert (row["patients"], row["same_cases"], row["pooled_difference"]) == (1, True, 0)


def test_losses_and_networks_never_mix():
    own = ours(run("dice", {"liver": 0.5}, {"p1_a": {"liver": 0.5}}), organs=("liver",))
    for other in (run("iou11", {"liver": 0.9}, {"p1_a": {"liver": 0.9}}),
                  run("dice", {"liver": 0.9}, {"p1_a": {"liver": 0.9}}, network="other")):  # fmt: skip
        assert paired_differences("x", own, ours(other, organs=("liver",)), extremes).is_empty()

"""A calibration carried out on tiny patients: nothing leaks, nothing is trained twice, the card says what was done."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from rich.console import Console
from safetensors.numpy import load_file

from phantoms import write_chaos_patient
from steelyard.calibrate.final import train_final
from steelyard.calibrate.read_card import read_card
from steelyard.calibrate.run import calibrate_study
from steelyard.errors import BadData, BadSpec, Interrupted
from steelyard.runstore import RunFolder, read_json
from steelyard.study.plan import Plan
from steelyard.study.run import run_study
from steelyard.study.spec import StudySpec
from studies import tiny_spec

PATIENTS = 6
CALIBRATE = {"values": [0.25, 0.5, 0.75], "inner_folds": 2}


@pytest.fixture(scope="module")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("patients")
    for number in range(1, PATIENTS + 1):
        write_chaos_patient(root / "Train_Sets" / "MR", number)
    return root


def quiet() -> Console:
    return Console(file=io.StringIO(), width=200)


def here(plan: Plan) -> object:
    return run_study(plan, console=quiet(), workers=1)


def spec_of(patients: Path, out: Path, *, train: dict[str, Any] | None = None, **calibrate: Any) -> StudySpec:
    return tiny_spec(
        patients, out, folds={"count": 2, "use": None}, grid={"loss": ["dice"]}, calibrate=CALIBRATE | calibrate,
        train={"epochs": 3, "learning_rate": 0.05} | (train or {}),
    )  # fmt: skip


def calibrated(patients: Path, out: Path, carry_out: Callable[[Plan], object] = here, **calibrate: Any) -> Path:
    path = calibrate_study(spec_of(patients, out, **calibrate), carry_out=carry_out, console=quiet())
    assert path is not None
    return path


@pytest.fixture(scope="module")
def card(patients: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The card of a finished calibration by grid."""
    return calibrated(patients, tmp_path_factory.mktemp("out"))


def runs_in(study: Path) -> list[dict[str, Any]]:
    return [read_json(RunFolder(done.parent).manifest) for done in sorted(study.glob("*/DONE"))]


def test_no_inner_run_ever_saw_an_outer_patient(card: Path) -> None:
    folds = read_card(card)["folds"]
    for run in runs_in(card.parent / "inner"):
        split = run["manifest"]["split"]
        outer = folds[run["fold"] // 2]
        assert set(split["train"]) | set(split["test"]) == set(outer["train"])
        assert not set(outer["test"]) & set(split["train"] + split["test"])


def test_every_patient_is_judged_by_networks_that_never_saw_it(card: Path) -> None:
    content = read_card(card)
    assert sorted(patient for fold in content["folds"] for patient in fold["test"]) == content["patients"]
    assert len(content["patients"]) == PATIENTS
    for run in runs_in(card.parent / "outer"):
        assert not set(run["manifest"]["split"]["train"]) & set(run["manifest"]["split"]["test"])


def test_all_rivals_are_in_the_table_and_the_networks_decisions_moved_both_ways(card: Path) -> None:
    titles = [method["title"] for method in read_card(card)["methods"]]
    assert titles == [
        "calibrated", "iou11", "iou0515", "cross_entropy", "crossE", "dice_ce", "dice",
        "cross_entropy, offsets", "cross_entropy, optimal", "iou11, offsets", "iou11, optimal",
    ]  # fmt: skip


def test_a_methods_value_is_the_mean_of_its_patients_scores_in_the_outer_runs(card: Path) -> None:
    methods = {method["title"]: method for method in read_card(card)["methods"]}
    frames = [
        pl.read_parquet(card.parent / "outer" / run["run"] / "scores.parquet")
        for run in runs_in(card.parent / "outer")
        if run["loss"] == "cross_entropy"
    ]
    scores = pl.concat(frames).filter(pl.col("case_id").is_not_null(), pl.col("metric") == "iou")
    by_patient = scores.group_by("patient_id").agg(pl.col("value").mean()).sort("patient_id")
    assert methods["cross_entropy"]["of_patients"] == pytest.approx(by_patient["value"].to_list())
    assert methods["cross_entropy"]["value"] == pytest.approx(by_patient["value"].mean())


def test_each_fold_chooses_the_best_of_its_own_inner_runs(card: Path) -> None:
    names = {0.25: "iou1505", 0.5: "iou11", 0.75: "iou0515"}
    for fold in read_card(card)["folds"]:
        means = {}
        for ratio, loss in names.items():
            frames = [
                pl.read_parquet(card.parent / "inner" / run["run"] / "scores.parquet")
                for run in runs_in(card.parent / "inner")
                if run["loss"] == loss and run["fold"] // 2 == fold["fold"]
            ]
            own = pl.concat(frames).filter(pl.col("case_id").is_not_null(), pl.col("metric") == "iou")
            means[ratio] = own.group_by("patient_id").agg(pl.col("value").mean())["value"].mean()
        assert fold["chosen"]["r"]["liver"] == max(means, key=lambda ratio: means[ratio])
        assert [trial["value"] for trial in fold["trials"]] == pytest.approx(list(means.values()))


def test_keeping_the_default_recommends_it(card: Path) -> None:
    content = read_card(card)  # six patients cannot prove anything
    assert content["decision"] == "keep the default"
    assert content["loss"] == {"name": "iou11"}
    assert content["gain"]["patients"] == PATIENTS


def test_the_front_holds_every_weight_and_a_whole_sweep_per_organ(card: Path) -> None:
    for entry in read_card(card)["front"]:
        assert [weight["r"] for weight in entry["weights"]] == [0.25, 0.5, 0.75]
        for curve in entry["sweeps"].values():
            missed, spilled = ([point[key] for point in curve] for key in ("missed_ml", "spilled_ml"))
            assert missed == sorted(missed, reverse=True)  # a larger offset never misses more
            assert spilled == sorted(spilled)


def test_the_default_networks_sweep_passes_through_its_own_result(card: Path) -> None:
    for entry in read_card(card)["front"]:
        default = next(weight for weight in entry["weights"] if weight["r"] == 0.5)
        at_zero = next(point for point in entry["sweeps"]["iou11"] if point["offset"] == 0)
        assert at_zero["missed_ml"] == pytest.approx(default["missed_ml"], abs=0.05)  # kept in half precision
        assert at_zero["spilled_ml"] == pytest.approx(default["spilled_ml"], abs=0.05)


def test_a_second_command_trains_nothing_and_writes_the_same_card(card: Path, patients: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in card.parent.glob("*/*/weights.safetensors")}
    content = read_card(card)
    again = calibrated(patients, card.parent.parent)
    assert {path: path.stat().st_mtime_ns for path in card.parent.glob("*/*/weights.safetensors")} == before
    assert {k: v for k, v in read_card(again).items() if k != "made"} == {
        k: v for k, v in content.items() if k != "made"
    }


def test_the_final_network_is_trained_on_every_patient_with_the_recommended_loss(card: Path) -> None:
    folder = train_final(card, seed=None, console=quiet())
    record = read_json(RunFolder(folder).manifest)
    assert record["loss"] == "iou11"
    assert len(record["manifest"]["split"]["train"]) == PATIENTS
    assert record["manifest"]["split"]["test"] == []
    assert load_file(folder / "weights.safetensors")


def test_other_data_than_the_cards_are_refused(card: Path, patients: Path, tmp_path: Path) -> None:
    content = json.loads(card.read_text())
    content["data"]["hash"] = "0" * 64
    other = tmp_path / "moved" / "card.json"
    other.parent.mkdir()
    other.write_text(json.dumps(content))
    with pytest.raises(BadData, match="was made from other data"):
        train_final(other, seed=None, console=quiet())


def test_a_search_gives_candidates_up_and_goes_on_from_their_states(patients: Path, tmp_path: Path) -> None:
    card = calibrated(patients, tmp_path, strategy="search", values=[0.2, 0.4, 0.6, 0.8])
    content = read_card(card)
    for fold in content["folds"]:
        epochs = sorted(trial["epochs"] for trial in fold["trials"])
        assert epochs == [1, 1, 3, 3]  # half of four by the rule of a third, rounded up
        assert all((trial["given_up"] is None) == (trial["epochs"] == 3) for trial in fold["trials"])
    assert content["cost"]["strategy_epochs"] == 2 * 2 * (4 * 1 + 2 * 2)
    assert not list(card.parent.glob("inner/*/state.pt"))  # 3 × the weights each


def test_going_on_gives_the_weights_of_one_long_training(patients: Path, tmp_path: Path) -> None:
    searched = calibrated(patients, tmp_path / "search", strategy="search", values=[0.25, 0.75])
    whole = calibrated(patients, tmp_path / "grid", values=[0.25, 0.75])

    def weights_of(card: Path, loss: str) -> dict[int, dict[str, np.ndarray]]:
        studies = [run for run in runs_in(card.parent / "inner") if run["loss"] == loss]
        kept = [
            run
            for run in studies
            if pl.read_parquet(card.parent / "inner" / run["run"] / "history.parquet")["epoch"].max() == 3
        ]
        return {run["fold"]: load_file(card.parent / "inner" / run["run"] / "weights.safetensors") for run in kept}

    found = 0
    for loss in ("iou1505", "iou0515"):
        long = weights_of(whole, loss)
        for fold, tensors in weights_of(searched, loss).items():
            found += 1
            assert all((tensors[name] == long[fold][name]).all() for name in tensors)
    assert found >= 2


def test_a_search_that_was_stopped_goes_on_with_the_same_trials(patients: Path, tmp_path: Path) -> None:
    options = {"strategy": "search", "values": [0.3, 0.7], "proposals": 2}
    undisturbed = read_card(calibrated(patients, tmp_path / "whole", **options))
    calls = 0

    def stopping(plan: Plan) -> object:
        nonlocal calls
        calls += 1
        if calls in (2, 4, 5):
            raise Interrupted("stopped for the test")
        return here(plan)

    card = None
    for _ in range(6):
        try:
            card = calibrated(patients, tmp_path / "stopped", stopping, **options)
            break
        except Interrupted:
            continue
    assert card is not None
    for own, whole in zip(read_card(card)["folds"], undisturbed["folds"], strict=True):
        assert own["trials"] == whole["trials"]
        assert len(own["trials"]) == 4


def test_a_warm_start_branches_and_checks_its_ranks(patients: Path, tmp_path: Path) -> None:
    content = read_card(calibrated(patients, tmp_path, strategy="warm", train={"epochs": 4}))
    assert {trial["epochs"] for fold in content["folds"] for trial in fold["trials"]} == {3}  # 2 shared, 1 of its own
    assert "rank correlation" in content["folds"][0]["notes"][0]
    assert content["cost"]["strategy_epochs"] == 4 * (2 + 3 * 1) + 3 * 4


def test_weights_per_organ_are_put_together_and_trained(patients: Path, tmp_path: Path) -> None:
    content = read_card(calibrated(patients, tmp_path, per_organ=True, values=[0.2, 0.8]))
    assert set(content["chosen"]["r"].values()) <= {0.2, 0.8}
    weights = content["chosen"]["loss"]
    assert weights["fp_weight"][0] == weights["fn_weight"][0] == 1.0
    assert len(weights["fn_weight"]) == 5


def test_a_bound_sets_patients_aside_and_says_for_whom_it_holds(patients: Path, tmp_path: Path) -> None:
    content = read_card(calibrated(patients, tmp_path, max_miss={"liver": 0.4}, bound_patients=2))
    aside = set(content["data"]["bound_patients"])
    assert len(aside) == 2
    assert not aside & set(content["patients"])
    for part in ("inner", "outer", "final"):
        for run in runs_in(tmp_path / "tiny" / part):
            assert not aside & set(run["manifest"]["split"]["train"])
    bound = content["bound"]
    assert (2 * bound["miss_after"] + 1) / 3 <= 0.4 + 1e-9
    assert "in expectation over patients" in bound["promise"]


@pytest.mark.parametrize(
    ("calibrate", "said"),
    [
        ({"max_miss": {"liver": 0.1}}, r"would set 9 of 6 patients aside|needs 9 patients"),
        ({"max_miss": {"lung": 0.4}}, r"no organ is named 'lung'"),
        ({"max_miss": {"liver": 0.4}, "bound_patients": 1}, r"needs 2 patients set aside"),
        ({"budget_epochs": 10}, r"budget_epochs is 10; 78 are needed"),
        ({"objective": {"name": "recall", "organ": "lung", "at_least": 0.9}}, r"no organ is named 'lung'"),
        ({"objective": "accuracy"}, r"no objective is named 'accuracy'"),
        ({"objective": {"name": "cost", "fn_per_ml": 2.0}}, r"takes fn_per_ml, fp_per_ml; came fn_per_ml"),
        ({"inner_folds": 4}, r"4 inner folds were wanted from 6 patients, 3"),
    ],
)
def test_what_does_not_fit_is_told_before_anything_is_trained(
    patients: Path, tmp_path: Path, calibrate: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadSpec, match=said):
        calibrated(patients, tmp_path, **calibrate)
    assert not (tmp_path / "tiny").exists()

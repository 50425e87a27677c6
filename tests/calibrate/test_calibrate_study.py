"""A calibration carried out on tiny patients: nothing leaks, nothing is trained twice, the card says what was done."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console
from safetensors.numpy import load_file

from phantoms import write_chaos_patient
from steelyard.calibrate.bench import make_bench
from steelyard.calibrate.final import train_final
from steelyard.calibrate.named_objective import objective_of
from steelyard.calibrate.read_card import read_card
from steelyard.calibrate.run import calibrate_study
from steelyard.cli.calibrate import calibrate
from steelyard.errors import BadData, BadSpec
from steelyard.runstore import RunFolder, read_json
from steelyard.study.plan import Plan
from steelyard.study.run import run_study
from steelyard.study.spec import Part, StudySpec
from studies import steelyard, tiny_spec, tiny_study, write_toml

PATIENTS = 6
EPOCHS = 6
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


def spec_of(patients: Path, out: Path, **options: Any) -> StudySpec:
    return tiny_spec(
        patients, out, folds={"count": 2, "use": None}, grid={"loss": ["dice"]}, calibrate=CALIBRATE | options,
        train={"epochs": EPOCHS, "batch_size": 2, "learning_rate": 0.1},
    )  # fmt: skip


def calibrated(patients: Path, out: Path, carry_out: Callable[[Plan], object] = here, **options: Any) -> Path:
    path = calibrate_study(spec_of(patients, out, **options), carry_out=carry_out, console=quiet())
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
        assert means[fold["chosen"]["r"]["liver"]] == pytest.approx(max(means.values()))
        assert [trial["value"] for trial in fold["trials"]] == pytest.approx(list(means.values()))


def test_the_recommendation_follows_the_verdict_on_the_declared_comparison(card: Path) -> None:
    content = read_card(card)
    gain, methods = content["gain"], {method["title"]: method for method in content["methods"]}
    assert (gain["against"], gain["patients"]) == ("iou11", PATIENTS)
    assert gain["difference"] == pytest.approx(methods["calibrated"]["value"] - methods["iou11"]["value"])
    assert (content["decision"] == "change") == (gain["verdict"] == "better")
    change = content["decision"] == "change"
    assert content["loss"] == (content["chosen"]["loss"] if change else {"name": "iou11"})


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
    assert record["loss"] == read_card(card)["loss"]["name"]
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


def test_going_on_from_a_kept_state_gives_the_weights_of_one_training(patients: Path, tmp_path: Path) -> None:
    bench = make_bench(spec_of(patients, tmp_path), objective_of=objective_of, carry_out=here)
    loss, fold = Part(name="iou0515"), bench.nested.folds[0].inner[1]
    whole = bench.run("inner", loss, fold, 1)
    first = bench.run("inner", loss, fold, 1, epochs=2, keeps_state=True)
    second = bench.run("inner", loss, fold, 1, epochs=EPOCHS, start=first.name)
    bench.train("inner", [whole, first, second])
    assert len({whole.name, first.name, second.name}) == 3
    own, long = (load_file(bench.run_folder("inner", run).weights) for run in (second, whole))
    assert all((own[name] == long[name]).all() for name in long)
    assert read_json(bench.run_folder("inner", second).manifest)["loss"] == "iou0515"


def test_a_run_whose_start_is_gone_says_what_to_do(patients: Path, tmp_path: Path) -> None:
    bench = make_bench(spec_of(patients, tmp_path), objective_of=objective_of, carry_out=here)
    fold = bench.nested.folds[0].inner[0]
    with pytest.raises(BadData, match=r"state.pt, which is not there. Delete that run's folder"):
        bench.train("inner", [bench.run("inner", bench.default, fold, 1, epochs=2, start="gone")])


def test_losses_per_organ_a_mixture_of_weights_and_a_bound_in_one_calibration(patients: Path, tmp_path: Path) -> None:
    content = read_card(
        calibrated(
            patients, tmp_path, values=[0.2, 0.8], per_organ=True, loss={"name": "per_organ"},
            max_miss={"liver": 0.4}, bound_patients=2,
        )
    )  # fmt: skip
    assert set(content["chosen"]["r"].values()) <= {0.2, 0.8}
    for entry, ratio in zip(content["chosen"]["loss"]["organs"], content["chosen"]["r"].values(), strict=True):
        assert entry == {"name": "tversky", "fp_weight": round(2 - 2 * ratio, 9), "fn_weight": round(2 * ratio, 9)}
    assert content["default"].startswith("per_organ")
    assert content["decision"] == "keep the default"  # four patients cannot prove anything
    assert {entry["fn_weight"] for entry in content["loss"]["organs"]} == {1.0}
    assert "iou11" in [method["title"] for method in content["methods"]]
    aside = set(content["data"]["bound_patients"])
    assert len(aside) == 2
    assert not aside & set(content["patients"])
    for part in ("inner", "outer", "final"):
        for run in runs_in(tmp_path / "tiny" / part):
            assert not aside & set(run["manifest"]["split"]["train"])
    bound = content["bound"]
    assert bound["offset"] >= 0
    assert (2 * bound["miss_after"] + 1) / 3 <= 0.4 + 1e-9
    assert "in expectation over patients" in bound["promise"]


def toml_of(patients: Path, out: Path, file: Path) -> Path:
    """The study of the `card` as a file."""
    study = tiny_study(
        patients, out, folds={"count": 2}, grid={"loss": ["dice"]}, calibrate=CALIBRATE,
        train={"epochs": EPOCHS, "batch_size": 2, "learning_rate": 0.1},
    )  # fmt: skip
    del study["folds"]["use"]
    return write_toml(file, study)


def test_the_command_ends_with_the_page_and_status_and_train_know_the_calibration(
    card: Path, patients: Path, tmp_path: Path
) -> None:
    study = toml_of(patients, card.parent.parent, tmp_path / "tiny.toml")
    said = steelyard("calibrate", study)
    assert said.returncode == 0, said.stderr
    assert f"card: {card.parent / 'card.html'}" in said.stdout
    assert f"{read_card(card)['decision']}: " in said.stdout
    assert (card.parent / "outer" / "report" / "index.html").is_file()
    told = steelyard("status", study).stdout
    assert "inner:" in told
    assert "outer:" in told
    assert "to do" not in told
    trained = steelyard("train", card, "--seed", "7")
    assert trained.returncode == 0, trained.stderr
    folder = Path(trained.stdout.strip().splitlines()[-1].removeprefix("network: "))
    assert read_json(folder / "run.json")["seed"] == 7


def test_a_dry_run_says_what_it_would_cost_and_writes_nothing(patients: Path, tmp_path: Path) -> None:
    study = toml_of(patients, tmp_path / "out", tmp_path / "tiny.toml")
    said = steelyard("calibrate", study, "--dry-run")
    assert said.returncode == 0, said.stderr
    assert "3 candidates by grid, 2 outer × 2 inner folds, one seed, 6 rivals: 180 epochs" in " ".join(
        said.stdout.split()
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        ({"name": "tversky", "fp_weight": 1.0}, "must leave fp_weight to the calibration"),
        ({"name": "per_organ", "organs": ["dice"]}, "must leave organs to the calibration"),
        ({"name": "dice"}, "loss must be"),
    ],
)
def test_weights_in_the_calibrated_loss_are_refused(
    patients: Path, tmp_path: Path, loss: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadSpec, match=said):
        spec_of(patients, tmp_path, loss=loss)


@pytest.mark.parametrize("bound", ["liver", "liver=all", "liver=1.5", "=0.1"])
def test_a_bound_that_cannot_be_read_is_refused(patients: Path, tmp_path: Path, bound: str) -> None:
    study = toml_of(patients, tmp_path / "out", tmp_path / "tiny.toml")
    with pytest.raises(BadSpec, match=r"as liver=0\.10; came"):
        calibrate(study, max_miss=bound)


def test_a_study_without_the_table_is_refused(patients: Path, tmp_path: Path) -> None:
    study = write_toml(tmp_path / "tiny.toml", tiny_study(patients, tmp_path / "out"))
    with pytest.raises(BadSpec, match=r"has no \[calibrate\] table"):
        calibrate(study, max_miss="liver=0.1")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_miss": {"liver": 0.1}}, r"would set 9 of 6 patients aside|needs 9 patients"),
        ({"max_miss": {"lung": 0.4}}, r"no organ is named 'lung'"),
        ({"max_miss": {"liver": 0.4}, "bound_patients": 1}, r"needs 2 patients set aside"),
        ({"budget_epochs": 10}, r"budget_epochs is 10; 180 are needed"),
        ({"objective": {"name": "recall", "organ": "lung", "at_least": 0.9}}, r"no organ is named 'lung'"),
        ({"objective": "accuracy"}, r"no objective is named 'accuracy'"),
        ({"objective": {"name": "cost", "fn_per_ml": 2.0}}, r"takes fn_per_ml, fp_per_ml; came fn_per_ml"),
        ({"inner_folds": 4}, r"4 inner folds were wanted from 6 patients, 3"),
    ],
)
def test_what_does_not_fit_is_told_before_anything_is_trained(
    patients: Path, tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadSpec, match=said):
        calibrated(patients, tmp_path, **options)
    assert not (tmp_path / "tiny").exists()

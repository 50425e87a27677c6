from __future__ import annotations

import json

from steelyard.report.read import read_study
from steelyard.report.wording import flattened, in_short, manifest, warnings, what_was_run
from written_study import WrittenRun, write_study


def run(loss: str, liver: float, *, fold: int = 0, seed: int = 1, state: str = "done", patients: int = 2) -> WrittenRun:
    cases = {f"p{fold}{i}_a": {"liver": liver + 0.01 * i, "left_kidney": 0.9} for i in range(patients)}
    return WrittenRun(loss, cases, {"liver": liver, "left_kidney": 0.5}, fold=fold, seed=seed, state=state)


def test_the_page_opens_with_the_averages_highest_first_and_the_lowest_patient(tmp_path):
    study = read_study(write_study(tmp_path, [run("worse", 0.3), run("better", 0.7)]))
    assert in_short(study) == [
        "Average IoU of the organs, pooled: better 0.600, worse 0.400.",
        "Lowest single result of better on net: p00, liver, IoU 0.700 (p00_a).",
    ]


def test_who_was_trained_on_and_who_was_held_out_is_said_per_fold(tmp_path):
    study = read_study(write_study(tmp_path, [run("a", 0.3), run("a", 0.3, fold=1)]))
    said = dict(what_was_run(study))
    assert said["Data"] == "chaos, t1_in; 4 held-out cases of 4 patients are scored."
    assert said["Fold 0"] == "trained on 1 (p9); held out 2 (p00, p01)."
    assert said["Fold 1"] == "trained on 1 (p9); held out 2 (p10, p11)."
    assert said["Runs"] == "2 planned (2 folds, 1 seed), 2 finished; 2 minutes of training."


def test_enough_patients_and_several_folds_and_seeds_need_no_warning(tmp_path):
    runs = [run("a", 0.3, fold=fold, seed=seed, patients=3) for fold in (0, 1) for seed in (1, 2)]
    assert warnings(read_study(write_study(tmp_path, runs))) == []


def test_settings_are_listed_flat_and_without_paths():
    spec = {"data": {"root": "/home/x", "options": {}}, "train": {"l2": 0.1, "use": [0, 2], "spacing_mm": None}}
    assert flattened(spec) == [("train l2", "0.1"), ("train use", "0, 2"), ("train spacing mm", "not set")]


def test_one_held_out_patient_is_told_in_the_singular(tmp_path):
    few, no_claim = warnings(read_study(write_study(tmp_path, [run("a", 0.3, patients=1)])))
    assert few == "1 held-out patient is too few for any paired test to reach p < .05."
    assert no_claim.endswith("can be made from 1 held-out patient, 1 fold and 1 seed.")


def test_a_run_taken_from_another_study_says_so(tmp_path):
    (taken,) = read_study(write_study(tmp_path, [run("a", 0.3)])).runs
    assert "taken from the study" not in dict(manifest(taken))
    record = json.loads(taken.files.manifest.read_text()) | {"taken_from": "first"}
    taken.files.manifest.write_text(json.dumps(record))
    (taken,) = read_study(tmp_path).runs
    assert dict(manifest(taken))["taken from the study"] == "first"

"""`steelyard predict` as it is typed, and the models that it takes: runs, ensembles, and a card with its promise."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from hand_made_runs import SECRETS, bright, thresholds, write_run, write_scan
from phantoms import organ_labels
from steelyard.errors import BadData
from steelyard.inference.models import load_models
from steelyard.inference.predict_case import decision_of
from studies import steelyard

FINAL = "step-f0-s1"


def write_card(folder: Path, *, bound: dict[str, Any] | None) -> Path:
    """A card whose final network lies where `steelyard train` puts it."""
    card = {
        "schema": 1, "kind": "calibration card", "study": "by-hand", "decision": "change", "loss": {"name": "dice"},
        "classes": ["background"], "spec": {}, "data": {"hash": "x", "cases": 3}, "precision": "fp32", "bound": bound,
    }  # fmt: skip
    folder.mkdir(exist_ok=True)
    (folder / "card.json").write_text(json.dumps(card))
    return folder / "card.json"


BOUND = {
    "organ": "liver",
    "offsets": [0.0, 0.7, 0.0, 0.0, 0.0],
    "promise": "On average at most 10 % is missed.",
    "run": FINAL,
}


def test_a_folder_of_scans_is_predicted_from_the_command_line(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    second = write_run(tmp_path / "second", steps=thresholds(bright(), shift=0.6))
    for number in "12":
        write_scan(tmp_path / "scans" / number, study=number)
    out = tmp_path / "out"
    words = ["predict", run, tmp_path / "scans", out, "--with", second, "--to", "nifti", "png", "--largest-component",
             "--offsets", "liver=0.01", "spleen=-0.01", "--crf", "--device", "cpu"]  # fmt: skip
    done = steelyard(*words)
    assert done.returncode == 0, done.stderr
    assert "2 of 2 predicted" in done.stdout
    assert f"prediction: {out}" in done.stdout
    record = json.loads((out / "run.json").read_text())
    assert [model["name"] for model in record["models"]] == ["run", "second"]
    assert record["offsets"] == [0.0, 0.01, 0.0, 0.0, -0.01]
    assert record["largest_component"] == ["liver", "right_kidney", "left_kidney", "spleen"]
    assert record["crf"] is not None
    assert (out / "png" / "1" / "IMG-001.png").exists()

    for file in (tmp_path / "scans" / "2").iterdir():
        file.write_bytes(file.read_bytes()[:300])
    broken = steelyard("predict", run, tmp_path / "scans", tmp_path / "again")
    assert broken.returncode == 3
    assert broken.stderr.strip() == (
        "1 of 2 scans could not be predicted, for the reasons above. Mend them and run the same command."
    )
    assert "failed: 2: IMG-001.dcm is truncated or damaged" in broken.stdout
    assert np.array_equal(np.asarray(nibabel.load(tmp_path / "again" / "nifti" / "1.nii.gz").dataobj).T, organ_labels())
    everything = broken.stdout + broken.stderr + done.stdout + done.stderr
    assert not any(part in everything for secret in SECRETS for part in secret.split("^"))


def test_what_cannot_be_is_one_line_and_writes_nothing(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    scan = write_scan(tmp_path / "scan")
    for words, code, said in (
        ([tmp_path / "none", scan, tmp_path / "out"], 3, "there is no"),
        ([run, tmp_path / "none", tmp_path / "out"], 3, "there is no"),
        ([run, scan, tmp_path / "out", "--largest-component", "lung"], 2, "no organ is named 'lung'"),
        ([run, scan, tmp_path / "out", "--device", "tpu:9"], 2, "device 'tpu:9' was wanted"),
        ([run, scan, run / "run.json" / "out"], 3, "cannot be used"),
    ):
        done = steelyard("predict", *words)
        assert (done.returncode, len(done.stderr.splitlines())) == (code, 1), done.stderr
        assert said in done.stderr
        assert not (tmp_path / "out").exists()


def test_a_card_stands_for_its_network_and_its_offset_is_applied(tmp_path: Path) -> None:
    card = write_card(tmp_path / "study", bound=BOUND)
    with pytest.raises(BadData, match=r"there is no .*step-f0-s1"):
        load_models([card])
    write_run(tmp_path / "study" / "final" / FINAL)
    ensemble = load_models([card])
    decide, notes = decision_of(ensemble, offsets=[], largest=None, crf=False)
    assert decide.offsets is not None
    assert decide.offsets.values == (0.0, 0.7, 0.0, 0.0, 0.0)
    assert notes == ["the card's offset is applied (liver +0.7). On average at most 10 % is missed."]
    decide, notes = decision_of(ensemble, offsets=["liver=0.2"], largest=None, crf=False)
    assert decide.offsets is not None
    assert decide.offsets.values[1] == 0.2
    assert notes == ["the card's promise holds without --offsets, --crf and --largest-component alone."]
    assert len(decision_of(ensemble, offsets=[], largest=[], crf=False)[1]) == 2
    assert load_models([card, tmp_path / "study" / "final" / FINAL]).bound is None


def test_an_ensemble_says_that_a_cards_offset_is_not_used(tmp_path: Path) -> None:
    card = write_card(tmp_path / "card", bound=BOUND)
    write_run(tmp_path / "card" / "final" / FINAL)
    other = write_run(tmp_path / "other")
    for paths in ([card, other], [other, card]):
        decide, notes = decision_of(load_models(paths), offsets=[], largest=None, crf=False)
        assert decide.offsets is None
        assert notes == ["a card's offset and promise hold for its network alone: an ensemble uses neither."]


def test_a_card_without_bound_stands_for_the_one_network_of_its_loss(tmp_path: Path) -> None:
    card = write_card(tmp_path / "study", bound=None)
    with pytest.raises(BadData, match="steelyard train"):
        load_models([card])
    first = write_run(tmp_path / "study" / "final" / "first")
    other = write_run(tmp_path / "study" / "final" / "other-loss")
    record = json.loads((other / "run.json").read_text())
    (other / "run.json").write_text(json.dumps(record | {"loss": "iou11"}))
    assert load_models([card]).first.name == "first"
    shutil.copytree(first, tmp_path / "study" / "final" / "second")
    with pytest.raises(BadData, match=r"2 networks were trained .*first, second"):
        load_models([card])


def test_a_damaged_bound_is_told(tmp_path: Path) -> None:
    write_run(tmp_path / "study" / "final" / FINAL)
    for wrong in ({"offsets": [0.0, 1.0]}, {"offsets": None}, {"offsets": [1.0] * 5}):
        with pytest.raises(BadData, match="its bound"):
            load_models([write_card(tmp_path / "study", bound=BOUND | wrong)])

"""A finished run's folder gives back its network, with all that its images need; whatever is amiss is one line."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from steelyard.datasets.chaos import ChaosDataset
from steelyard.errors import BadData, BadSpec, SteelyardError
from steelyard.io.nifti import read_label_map
from steelyard.predict import to_label_map
from steelyard.runstore import RunFolder
from steelyard.study.model import check_agree, load_model
from steelyard.study.plan import make_plan
from steelyard.study.run import run_study
from studies import tiny_spec, write_patients


def trained(root: Path, out: Path, **tables: dict[str, Any]) -> Path:
    plan = make_plan(tiny_spec(root, out, **tables))
    return run_study(plan, console=Console(file=io.StringIO()))


def runs_of(study: Path) -> list[RunFolder]:
    return [RunFolder(study / run["run"]) for run in json.loads((study / "study.json").read_text())["runs"]]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_patients(tmp_path_factory.mktemp("patients"))


@pytest.fixture(scope="module")
def study(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(
        root,
        tmp_path_factory.mktemp("phases"),
        data={"sequences": ["t1_in+t1_out"]},
        preprocess={"context": 1, "spacing_mm": 1.5},
        grid={"loss": ["cross_entropy"], "task": ["multiclass", "uniclass"]},
    )


@pytest.fixture
def copy(study: Path, tmp_path: Path) -> RunFolder:
    """The first run, alone in another place."""
    return RunFolder(Path(shutil.copytree(runs_of(study)[0].path, tmp_path / "moved")))


def test_a_copied_folder_predicts_what_its_run_predicted(root: Path, study: Path, copy: RunFolder) -> None:
    model = load_model(copy.path)
    assert (model.phases, model.channels, model.sequences) == (2, 6, ("t1_in+t1_out",))
    assert not model.network.training
    dataset = ChaosDataset(root)
    test = json.loads(copy.manifest.read_text())["manifest"]["split"]["test"]
    for key in dataset.keys(("t1_in+t1_out",)):
        if key.patient_id in test:
            image = dataset.read(key).image
            ours = to_label_map(model.probabilities(image), image.geometry, model.label_set)
            theirs = read_label_map(runs_of(study)[0].prediction(key.case_id), model.label_set)
            assert np.array_equal(ours.labels, theirs.labels)


def test_a_uniclass_run_finds_its_one_organ(study: Path) -> None:
    names = [load_model(run.path).label_set.class_names for run in runs_of(study)]
    organs = ("liver", "right_kidney", "left_kidney", "spleen")
    assert names == [("background", *organs), *(("background", organ) for organ in organs)]


def test_a_run_of_a_version_without_label_set_is_told_by_its_study_alone(study: Path, copy: RunFolder) -> None:
    known = load_model(copy.path).label_set
    record = json.loads(copy.manifest.read_text())
    del record["label_set"], record["phases"]
    copy.manifest.write_text(json.dumps(record))
    with pytest.raises(BadData, match=r"does not say which organs .* study.json"):
        load_model(copy.path)
    shutil.copy(study / "study.json", copy.path.parent / "study.json")
    found = load_model(copy.path)
    assert (found.label_set, found.phases, found.name) == (known, 2, runs_of(study)[0].name)


def edited(copy: RunFolder, **changes: Any) -> None:
    copy.manifest.write_text(json.dumps(json.loads(copy.manifest.read_text()) | changes))


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda run: shutil.rmtree(run.path), "there is no "),
        (lambda run: (run.path / "DONE").unlink(), "is not finished"),
        (lambda run: run.manifest.unlink(), "holds no run.json"),
        (lambda run: run.manifest.write_text(run.manifest.read_text()[:300]), "cannot be read as the record"),
        (lambda run: run.manifest.write_text("[]"), "holds a list"),
        (lambda run: edited(run, schema=2), "schema 1 is known, came 2"),
        (lambda run: edited(run, spec={}), "a field is missing"),
        (lambda run: edited(run, network="unet_vgg16"), "'unet_vgg16' is not in its spec's grid"),
        (lambda run: edited(run, manifest={"precision": "fp8"}), "precision is 'fp8'"),
        (lambda run: edited(run, label_set={"organs": [{"name": "liver"}]}), "a field is missing"),
        (lambda run: edited(run, phases=1), "weights of another network"),
        (lambda run: run.weights.unlink(), "holds no weights.safetensors"),
        (lambda run: run.weights.write_bytes(run.weights.read_bytes()[:-9]), "cannot be read"),
    ],
)
def test_a_damaged_run_is_refused_in_one_line(copy: RunFolder, harm: Any, said: str) -> None:
    harm(copy)
    with pytest.raises(BadData, match=said) as refused:
        load_model(copy.path)
    assert "\n" not in str(refused.value)


def test_a_network_of_ones_own_that_is_gone_is_named(copy: RunFolder) -> None:
    text = copy.manifest.read_text().replace("tiny_network:TinyNetwork", "gone_network:Gone")
    copy.manifest.write_text(text)
    with pytest.raises(BadSpec, match="gone_network cannot be imported"):
        load_model(copy.path)


def test_a_study_is_no_model_and_its_runs_are_listed(study: Path) -> None:
    with pytest.raises(SteelyardError, match="is a study, not a run; name one of its finished runs: tiny"):
        load_model(study)


def test_models_of_other_organs_or_sequences_make_no_ensemble(root: Path, study: Path, tmp_path: Path) -> None:
    whole, liver, *_ = (load_model(run.path) for run in runs_of(study))
    check_agree((whole, whole))
    with pytest.raises(BadSpec, match="must find the same organs"):
        check_agree((whole, liver))
    (other,) = (load_model(run.path) for run in runs_of(trained(root, tmp_path, grid={"loss": ["cross_entropy"]})))
    with pytest.raises(BadSpec, match="trained on the same sequence"):
        check_agree((whole, other))

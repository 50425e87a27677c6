"""One network per organ: it is trained on that organ against everything else, and judged on that organ alone."""

from __future__ import annotations

import io
import json
from pathlib import Path

import nibabel
import numpy as np
import polars as pl
import pytest
import torch
from rich.console import Console

from steelyard.batches.slices import SliceSet
from steelyard.errors import BadSpec
from steelyard.labels import CHAOS_MR
from steelyard.runstore import RunFolder
from steelyard.study.folds import LEAK_WARNING
from steelyard.study.plan import make_plan
from steelyard.study.run import run_study
from steelyard.study.task import task_label_set, task_reference, task_slices
from steelyard.volume import Geometry, LabelMap
from studies import tiny_spec

ORGANS = ("liver", "right_kidney", "left_kidney", "spleen")
LABELS = np.array([[[0, 1, 2], [3, 4, 2]]], np.uint8)


def test_one_organ_becomes_class_one_and_all_others_background() -> None:
    reference = task_reference(LabelMap(LABELS, Geometry((1, 2, 3), np.eye(4)), CHAOS_MR), "right_kidney")
    np.testing.assert_array_equal(reference.labels, [[[0, 0, 1], [0, 0, 1]]])
    assert reference.label_set.class_names == ("background", "right_kidney")
    assert reference.label_set.organ("right_kidney").colour == CHAOS_MR.organ("right_kidney").colour

    slices = SliceSet(torch.zeros(1, 1, 2, 3), torch.from_numpy(LABELS))
    assert task_slices(slices, CHAOS_MR, "right_kidney").labels.tolist() == [[[0, 0, 1], [0, 0, 1]]]
    assert task_slices(slices, CHAOS_MR, "right_kidney").class_frequencies(2) == pytest.approx([4 / 6, 2 / 6])


def test_the_multiclass_task_changes_nothing() -> None:
    reference = LabelMap(LABELS, Geometry((1, 2, 3), np.eye(4)), CHAOS_MR)
    slices = SliceSet(torch.zeros(1, 1, 2, 3), torch.from_numpy(LABELS))
    assert task_reference(reference, None) is reference
    assert task_slices(slices, CHAOS_MR, None) is slices
    assert task_label_set(CHAOS_MR, None) is CHAOS_MR


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both tasks on phantoms, both phases of four patients dealt one by one."""
    root = tmp_path_factory.mktemp("phantoms")
    options = {"patients": 3, "seed": 2, "size": 64, "slices": 12}
    spec = tiny_spec(
        root / "data",
        root / "out",
        data={"dataset": "phantom", "sequences": ["t1_in", "t1_out"], "options": options},
        preprocess={"size": 64},
        folds={"count": 2, "use": [0], "by": "sequence"},
        train={"epochs": 2},
        grid={"loss": ["crossE"], "task": ["multiclass", "uniclass"]},
    )
    plan = make_plan(spec)
    assert LEAK_WARNING in plan.warnings
    return run_study(plan, console=Console(file=io.StringIO()))


def runs(study: Path) -> list[dict]:
    return json.loads((study / "study.json").read_text())["runs"]


def test_uniclass_is_one_run_per_organ_beside_the_multiclass_one(study: Path) -> None:
    assert [(run["task"], run["organ"]) for run in runs(study)] == [
        ("multiclass", None),
        *(("uniclass", organ) for organ in ORGANS),
    ]
    assert len({run["run"] for run in runs(study)}) == 5


def test_a_uniclass_run_has_scores_of_its_organ_only_per_patient_and_pooled(study: Path) -> None:
    for run in runs(study)[1:]:
        scores = pl.read_parquet(RunFolder(study / run["run"]).scores)
        assert set(scores["organ"]) == {run["organ"]}
        assert set(scores["task"]) == {"uniclass"}
        assert set(scores["case_id"].is_null()) == {True, False}


def test_a_uniclass_prediction_is_scored_against_that_organ_of_the_reference(study: Path) -> None:
    for run in runs(study)[1:]:
        files = RunFolder(study / run["run"])
        counts = pl.read_parquet(files.counts).filter(pl.col("class_index") == 1)
        assert set(counts["class_name"]) == {run["organ"]}
        for row in counts.iter_rows(named=True):
            prediction = np.asarray(nibabel.load(files.prediction(row["case_id"])).dataobj)
            reference = np.asarray(nibabel.load(study / "cases" / row["case_id"] / "reference.nii.gz").dataobj)
            organ = reference == CHAOS_MR.organ(run["organ"]).index
            assert set(np.unique(prediction)) <= {0, 1}
            assert row["tp"] == ((prediction == 1) & organ).sum()
            assert row["fn"] == ((prediction == 0) & organ).sum()
            assert row["tp"] + row["fn"] > 0


def test_split_by_sequence_one_patient_is_on_both_sides(study: Path) -> None:
    record = json.loads(RunFolder(study / runs(study)[0]["run"]).manifest.read_text())
    split = record["manifest"]["split"]
    assert set(split["train"]) & set(split["test"])


def test_numbers_per_class_must_fit_the_two_classes_of_a_uniclass_network(tmp_path: Path, study: Path) -> None:
    five = {"name": "tversky", "fn_weight": [1.0, 1.0, 1.5, 1.5, 1.5]}
    tables = {
        "data": {"dataset": "phantom", "options": {"patients": 3, "seed": 2, "size": 64, "slices": 12}},
        "preprocess": {"size": 64},
    }
    data = study.parent.parent / "data"
    make_plan(tiny_spec(data, tmp_path, grid={"loss": [five]}, **tables))
    with pytest.raises(BadSpec, match="fn_weight has 5 values for 2 classes"):
        make_plan(tiny_spec(data, tmp_path, grid={"loss": [five], "task": ["uniclass"]}, **tables))

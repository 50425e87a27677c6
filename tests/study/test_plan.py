"""A run's name changes with everything that can change its result, and with nothing else."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from steelyard.errors import BadData, BadSpec
from steelyard.study.plan import make_plan, write_plan
from studies import tiny_spec, write_patients


@pytest.fixture(scope="module")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_patients(tmp_path_factory.mktemp("patients"))


def names(root: Path, out: Path = Path("o"), **tables: dict) -> list[str]:
    return [run.name for run in make_plan(tiny_spec(root, out, **tables)).runs]


def test_the_grid_is_every_combination(patients: Path) -> None:
    plan = make_plan(
        tiny_spec(
            patients,
            Path("o"),
            grid={"loss": ["iou11", "dice", "diceBK"], "seed": [1, 2]},
            folds={"count": 4, "use": [0, 3]},
        )
    )
    assert len(plan.runs) == 1 * 3 * 2 * 2
    assert len({run.name for run in plan.runs}) == 12
    assert {run.fold.index for run in plan.runs} == {0, 3}


def test_uniclass_asks_for_one_network_per_organ_and_leaves_the_multiclass_names_alone(patients: Path) -> None:
    both = make_plan(tiny_spec(patients, Path("o"), grid={"task": ["multiclass", "uniclass"]})).runs
    assert [(run.loss.name, run.organ) for run in both] == [
        (loss, organ)
        for organ in (None, "liver", "right_kidney", "left_kidney", "spleen")
        for loss in ("cross_entropy", "iou0515")
    ]
    assert [run.name for run in both[:2]] == names(patients)
    assert len({run.name for run in both}) == 10
    assert "-left-kidney-f0-" in both[6].name


def test_what_is_compared_must_be_in_the_study_and_changes_no_run(patients: Path) -> None:
    declared = {"baseline": "iou0515", "metric": "dice", "losses": ["cross_entropy"], "organs": ["spleen"]}
    assert names(patients, compare=declared) == names(patients)
    wrong = {"baseline": "dice", "metric": "ioux", "organs": ["splen"]}
    with pytest.raises(BadSpec) as caught:
        make_plan(tiny_spec(patients, Path("o"), compare=wrong))
    assert [line.split(".")[0] for line in caught.value.errors] == [
        "no loss of this grid is named 'dice'",
        "no organ is named 'splen'",
        "no metric per organ is named 'ioux'",
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"train": {"epochs": 4}},
        {"train": {"devices": 2}},
        {"train": {"batch_size": 5}},
        {"train": {"learning_rate": 0.01}},
        {"train": {"augment": "strong"}},
        {"train": {"precision": "bf16"}},
        {"train": {"l2": 0.0}},
        {"preprocess": {"size": 40}},
        {"preprocess": {"spacing_mm": 1.5}},
        {"preprocess": {"context": 1}},
        {"folds": {"seed": 2}},
        {"grid": {"seed": [2]}},
        {"grid": {"network": [{"name": "tiny_network:TinyNetwork", "width": 5}]}},
        {"data": {"sequences": ["t1_out"]}},
    ],
    ids=str,
)
def test_what_can_change_a_result_changes_the_name(patients: Path, change: dict) -> None:
    assert not set(names(patients)) & set(names(patients, **change))


def test_what_cannot_change_a_result_keeps_the_name(patients: Path, tmp_path: Path) -> None:
    before = names(patients)
    assert names(patients, out=tmp_path) == before
    assert names(patients, study={"name": "other"}) == before
    assert names(patients, train={"validate_every": 1}) == before
    shutil.copytree(patients, tmp_path / "moved")
    assert names(tmp_path / "moved") == before


def test_another_pixel_changes_the_name(tmp_path: Path) -> None:
    before = names(write_patients(tmp_path))
    mask = next(tmp_path.glob("Train_Sets/MR/1/T1DUAL/Ground/*.png"))
    mask.write_bytes(mask.read_bytes() + b" ")
    assert not set(before) & set(names(tmp_path))


def test_other_starting_weights_in_the_same_file_change_the_name(patients: Path, tmp_path: Path) -> None:
    from torch import save

    from steelyard.networks.resnet18 import ResNet18

    grid = {"network": [{"name": "unet_resnet18", "weights": str(tmp_path / "w.pth")}]}
    found = []
    for bias in (0.0, 1.0):
        state = ResNet18(3).state_dict()
        state["bn1.bias"] = state["bn1.bias"] * 0 + bias
        save(state, tmp_path / "w.pth")
        found.append(names(patients, grid=grid))
    assert not set(found[0]) & set(found[1])


def test_a_study_file_on_disk_names_every_run_and_organ(patients: Path, tmp_path: Path) -> None:
    plan = make_plan(tiny_spec(patients, tmp_path))
    write_plan(plan)
    written = json.loads((tmp_path / "tiny" / "study.json").read_text())
    assert [run["run"] for run in written["runs"]] == [run.name for run in plan.runs]
    assert [organ["name"] for organ in written["label_set"]["organs"]] == [
        "liver",
        "right_kidney",
        "left_kidney",
        "spleen",
    ]
    assert written["spec"]["train"]["momentum"] == 0.9


def test_few_patients_one_fold_one_seed_and_leaks_are_pointed_out(patients: Path) -> None:
    text = " ".join(make_plan(tiny_spec(patients, Path("o"))).warnings)
    assert "only 2 patients are tested" in text
    assert "one fold" in text
    assert "one seed" in text
    leaking = make_plan(
        tiny_spec(patients, Path("o"), folds={"by": "sequence"}, data={"sequences": ["t1_in", "t1_out"]})
    )
    assert leaking.warnings[0].startswith("folds are split by sequence: the same patient's anatomy")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"grid": {"loss": ["iou11", "iou11"]}}, "asks for the same run twice"),
        ({"grid": {"loss": [{"name": "tversky", "alpha": 0.3}]}}, "loss 'tversky': got an unexpected keyword argument"),
        ({"grid": {"loss": [{"name": "tversky", "fn_weight": -1}]}}, "fn_weight must be a finite number"),
        ({"grid": {"loss": [{"name": "tversky", "fp_weight": [1, 2]}]}}, "fp_weight has 2 values for 5 classes"),
        ({"grid": {"network": ["nowhere:Nothing"]}}, "nowhere"),
        ({"data": {"sequences": ["t1_in", "t1_in+t1_out"]}}, "equally many channels; came t1_in 1, t1_in+t1_out 2"),
        ({"grid": {"network": [{"name": "fcn8s_vgg16", "fc_channels": "512"}]}}, "network fcn8s_vgg16 cannot be built"),
        ({"grid": {"network": [{"name": "fcn8s_vgg16", "fc_channels": -5}]}}, "network fcn8s_vgg16 cannot be built"),
        ({"folds": {"count": 9}}, "9 folds were wanted from 4 patients"),
        ({"data": {"sequences": ["t3"]}}, "t3"),
        ({"train": {"device": "cuda:7"}}, "torch sees no GPU here"),
    ],
    ids=str,
)
def test_what_cannot_be_built_is_refused_before_anything_runs(patients: Path, change: dict, said: str) -> None:
    with pytest.raises(BadSpec) as caught:
        make_plan(tiny_spec(patients, Path("o"), **change))
    assert said in str(caught.value)
    assert all("\n" not in line for line in caught.value.errors)


def test_all_parts_that_cannot_be_built_are_named_at_once(patients: Path) -> None:
    grid = {
        "network": [{"name": "unet_resnet18", "depth": 3}, {"name": "fcn8s_vgg16", "pool": 1}],
        "loss": [{"name": "iou11", "fp_weight": 2}],
    }
    with pytest.raises(BadSpec) as caught:
        make_plan(tiny_spec(patients, Path("o"), grid=grid))
    assert len(caught.value.errors) == 3


def test_weights_that_are_not_there_are_named_once_for_each_file(patients: Path) -> None:
    weights = ("absent-resnet.pth", "absent-vgg.pth", "absent-vgg.pth")
    networks = ("unet_resnet18", "unet_vgg16", "fcn8s_vgg16")
    grid = {"network": [{"name": n, "weights": w} for n, w in zip(networks, weights, strict=True)]}
    with pytest.raises(BadSpec) as caught:
        make_plan(tiny_spec(patients, Path("o"), grid=grid))
    assert [[w in line for w in weights[:2]] for line in caught.value.errors] == [[True, False], [False, True]]


def test_data_that_are_not_there_are_bad_data(tmp_path: Path) -> None:
    with pytest.raises((BadData, BadSpec), match="absent"):
        make_plan(tiny_spec(tmp_path / "absent", tmp_path))


def test_renamed_organs_change_the_name(tmp_path: Path) -> None:
    import nibabel
    import numpy as np

    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / folder).mkdir()
    for case in "abcd":
        voxels = np.arange(60).reshape(5, 4, 3) % 2
        nibabel.save(nibabel.Nifti1Image(voxels.astype(np.int16), np.eye(4)), tmp_path / f"imagesTr/{case}_0000.nii.gz")
        nibabel.save(nibabel.Nifti1Image(voxels.astype(np.uint8), np.eye(4)), tmp_path / f"labelsTr/{case}.nii.gz")
    found = []
    for organ in ("livr", "liver"):
        about = {"channel_names": {"0": "CT"}, "labels": {"background": 0, organ: 1}, "numTraining": 4}
        (tmp_path / "dataset.json").write_text(json.dumps(about | {"file_ending": ".nii.gz"}))
        found.append(names(tmp_path, data={"dataset": "nnunet", "sequences": ["CT"]}))
    assert not set(found[0]) & set(found[1])


def test_a_study_begun_in_one_precision_is_not_begun_again_in_another(patients: Path, tmp_path: Path) -> None:
    begun = make_plan(tiny_spec(patients, tmp_path, train={"precision": "auto"}))
    write_plan(replace(begun, precision="bf16"))
    before = (begun.folder / "study.json").read_bytes()
    with pytest.raises(BadSpec, match=r'was begun in bf16, and \[train\] precision "auto" is fp32 on this machine'):
        write_plan(replace(begun, precision="fp32"))
    assert (begun.folder / "study.json").read_bytes() == before
    write_plan(make_plan(tiny_spec(patients, tmp_path, train={"precision": "fp32"})))  # said, not guessed


def test_an_edited_network_of_ones_own_is_another_run(
    patients: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "own_network.py"
    code = "from tiny_network import TinyNetwork\n\ndef build(channels, classes):\n"
    code += "    return TinyNetwork(channels, classes, width={})\n"
    found = []
    for width in (4, 9):
        file.write_text(code.format(width))
        sys.modules.pop("own_network", None)
        importlib.invalidate_caches()
        found.append(names(patients, grid={"network": ["own_network:build"]}))
    assert not set(found[0]) & set(found[1])


def test_two_parts_that_tables_could_not_tell_apart_are_refused(patients: Path, tmp_path: Path) -> None:
    from torch import save

    from steelyard.networks.resnet18 import ResNet18

    networks = [{"name": "unet_resnet18", "weights": str(tmp_path / place / "w.pth")} for place in "ab"]
    for network in networks:
        Path(network["weights"]).parent.mkdir()
        save(ResNet18(3).state_dict(), network["weights"])
    with pytest.raises(BadSpec, match=r"tables would call two different ones unet_resnet18\(weights=w.pth\)"):
        make_plan(tiny_spec(patients, Path("o"), grid={"network": networks}))

"""nnU-Net v2 finds the exported trainer by its own variable, trains a step on a phantom, and charges what we charge."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from exported import LOSSES_TO_EXPORT, export_to, ours
from steelyard.export import export
from worked_losses import value_and_gradient

TESTS = Path(__file__).parents[1]
IGNORE = 3
KEYS = ("prices per class", "dice_ce", "slice", "per organ, each its own")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("nnunetv2") is None, reason="nnunetv2 is not installed"),
]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What nnU-Net did with each loss: planned, preprocessed and trained in a process of its own."""
    folder = tmp_path_factory.mktemp("nnunet")
    trainers = {key: export_to(key, folder / "trainers", to="nnunet")[".py"].stem for key in KEYS}
    card = {
        "schema": 1,
        "kind": "calibration card",
        "loss": {"name": "tversky", "fp_weight": [1, 0.3, 0.6], "fn_weight": [1, 1.7, 1.4]},
        "classes": ["background", "liver", "spleen"],
    }
    (folder / "card.json").write_text(json.dumps(card))
    trainers["card"] = next(iter(export(str(folder / "card.json"), to="nnunet", out=folder / "trainers").files)).stem
    own = {f"nnUNet_{name}": str(folder / name) for name in ("raw", "preprocessed", "results")} | {
        "nnUNet_extTrainer": str(folder / "trainers"),
        "nnUNet_n_proc_DA": "1",
        "nnUNet_def_n_proc": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(TESTS),
    }
    done = subprocess.run(
        [sys.executable, TESTS / "export" / "nnunet_phantom.py", folder / "found.pt", *trainers.values()],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | own,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    by_trainer = torch.load(folder / "found.pt")
    return {key: by_trainer[trainer] for key, trainer in trainers.items()}


def our_loss(key: str, logits: Tensor, target: Tensor) -> Tensor:
    """On the voxels that are not ignored."""
    kept = [(x[:, t != IGNORE][None], t[t != IGNORE][None].long()) for x, t in zip(logits, target[:, 0], strict=True)]
    if LOSSES_TO_EXPORT[key][1].get("scope") == "slice":
        return torch.stack([ours(key)(*one) for one in kept]).mean()
    return ours(key)(torch.cat([x for x, _ in kept], 2), torch.cat([t for _, t in kept], 1))


@pytest.mark.parametrize("key", KEYS)
def test_the_step_costs_the_weighted_sum_of_our_loss_over_the_resolutions(found: dict[str, Any], key: str) -> None:
    step = found[key]
    assert step["targets"][0].shape == (2, 1, 40, 40)
    assert [target.shape[-1] for target in step["targets"]] == [40, 20, 10]
    assert all((target == IGNORE).any() for target in step["targets"][:2])
    expected = 0.0
    for factor, logits, target, gradient in zip(
        (2 / 3, 1 / 3, 0.0), step["outputs"], step["targets"], step["gradients"], strict=True
    ):
        if factor == 0:
            assert gradient is None  # nnU-Net leaves the lowest resolution out
            continue
        value, our_gradient = value_and_gradient(lambda x, t: our_loss(key, x, t), logits, target)
        expected += factor * value
        torch.testing.assert_close(gradient, factor * our_gradient, rtol=1e-4, atol=1e-7)
        assert gradient.abs().max() > 1e-5
    assert step["value"] == pytest.approx(expected, rel=1e-6)
    assert step["step"] == pytest.approx(expected, rel=1e-5)
    assert step["moved"] > 1e-5
    assert 0 < step["validation"] < 10


@pytest.mark.parametrize("key", KEYS)
def test_without_deep_supervision_the_loss_is_plain(found: dict[str, Any], key: str) -> None:
    kind, value = found[key]["plain"]
    assert kind == "ExportedLoss"
    assert value == pytest.approx(float(our_loss(key, found[key]["outputs"][0], found[key]["targets"][0])), rel=1e-6)


def test_the_class_tells_its_loss(found: dict[str, Any]) -> None:
    assert found["dice_ce"]["class"] == "nnUNetTrainerSteelyard_dice_ce"
    assert found["card"]["class"].startswith("nnUNetTrainerSteelyard_tversky_")
    assert "fp_weight=(1.0, 0.3, 0.6), fn_weight=(1.0, 1.7, 1.4)" in found["card"]["loss"]


def test_regions_are_refused(found: dict[str, Any]) -> None:
    for step in found.values():
        assert "dataset.json defines regions. Give each organ a label of its own" in step["refusals"]["regions"]


def test_a_card_of_prices_per_class_is_for_its_classes_in_their_order(found: dict[str, Any]) -> None:
    said = found["card"]["refusals"]
    assert (
        "for the classes background, liver, spleen, but dataset.json has background, spleen, liver" in said["swapped"]
    )
    assert "same" not in said
    assert "swapped" not in found["prices per class"]["refusals"]  # where no names are known, the order is trusted

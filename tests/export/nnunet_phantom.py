"""nnU-Net v2 on a phantom, as its user would run it with an exported trainer: plan, preprocess, train a step.

A script, in a process of its own with nnU-Net's variables set; its worker processes import it again.
Usage: python nnunet_phantom.py OUT TRAINER...
"""

from __future__ import annotations

import copy
import json
import os
import sys
from pathlib import Path
from typing import Any

import torchvision_stub

torchvision_stub.install()
import nibabel as nib  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402

DATASET = "Dataset001_Phantom"
LABELS = {"background": 0, "liver": 1, "spleen": 2, "ignore": 3}


def write_raw(folder: Path) -> None:
    """Six cases of two bright bodies in nnU-Net's format. A band of each slice is not labelled."""
    random = np.random.default_rng(5)
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    for case in range(6):
        row, column = np.mgrid[:40, :36]
        labels = np.zeros((40, 36, 4), np.uint8)
        labels[(row - 14 - case) ** 2 + (column - 12) ** 2 < 60] = 1
        labels[(row - 26) ** 2 + (column - 25 + case) ** 2 < 30] = 2
        image = random.normal(100 * labels, 15).astype(np.float32)
        labels[:, 28:33] = LABELS["ignore"]
        for path, array in ((f"imagesTr/p{case}_0000", image), (f"labelsTr/p{case}", labels)):
            nib.save(nib.Nifti1Image(array, np.diag([1.5, 1.5, 6.0, 1.0])), folder / f"{path}.nii.gz")
    description = {"channel_names": {"0": "T1"}, "labels": LABELS, "numTraining": 6, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(description))


def plan_and_preprocess() -> None:
    from nnunetv2.experiment_planning.plan_and_preprocess_api import (
        extract_fingerprints,
        plan_experiments,
        preprocess_dataset,
    )

    extract_fingerprints([1], num_processes=1)
    plan_experiments([1])
    preprocess_dataset(1, configurations=("2d",), num_processes=(1,))


def one_step(trainer: Any) -> dict[str, Any]:
    """The loss on a real batch with its gradient at the network's outputs; then one training step on the same batch."""
    batch = next(trainer.dataloader_train)
    trainer.network.train()
    outputs = [output.detach().requires_grad_() for output in trainer.network(batch["data"])]
    value = trainer.loss(outputs, batch["target"])
    gradients = torch.autograd.grad(value, outputs, allow_unused=True)
    before = [weights.detach().clone() for weights in trainer.network.parameters()]
    stepped = trainer.train_step(batch)
    return {
        "outputs": [output.detach() for output in outputs],
        "targets": [target.clone() for target in batch["target"]],
        "value": float(value.detach()),
        "gradients": gradients,
        "factors": [float(factor) for factor in trainer.loss.weight_factors],
        "step": float(stepped["loss"]),
        "moved": max(
            float((new - old).abs().max().detach())
            for new, old in zip(trainer.network.parameters(), before, strict=True)
        ),
        "validation": float(trainer.validation_step(next(trainer.dataloader_val))["loss"]),
    }


def refusals(trainer: Any) -> dict[str, str]:
    """What the trainer says to other descriptions of the data."""
    said = {}
    for name, labels, order in (
        ("regions", {"background": 0, "organs": [1, 2], "spleen": 2, "ignore": 3}, [1, 2]),
        ("swapped", {"background": 0, "spleen": 1, "liver": 2, "ignore": 3}, None),
        ("same", {"ignore": 3, "Spleen": 2, "background": 0, "Liver": 1}, None),
    ):
        plans = copy.deepcopy(trainer.plans_manager.plans) | {"continue_training": False}
        description = {**trainer.dataset_json, "labels": labels, "regions_class_order": order}
        other = type(trainer)(plans, "2d", 0, description, torch.device("cpu"))
        try:
            other._build_loss()
        except RuntimeError as error:
            said[name] = str(error)
    return said


def tried(name: str) -> dict[str, Any]:
    """All that this script does with one trainer, which it finds as nnUNetv2_train does."""
    from nnunetv2.run.run_training import get_trainer_from_args

    torch.manual_seed(4)
    trainer = get_trainer_from_args(DATASET, "2d", 0, name, device=torch.device("cpu"))
    trainer.initialize()
    trainer.on_train_start()
    found = one_step(trainer) | {"class": type(trainer).__name__, "loss": str(trainer.loss)}
    trainer.enable_deep_supervision = False
    plain = trainer._build_loss()
    full = found["outputs"][0], found["targets"][0]
    return found | {"plain": (type(plain).__name__, float(plain(*full))), "refusals": refusals(trainer)}


def main(out: Path, names: list[str]) -> None:
    torch.set_num_threads(1)
    write_raw(Path(os.environ["nnUNet_raw"]) / DATASET)  # noqa: SIM112
    plan_and_preprocess()
    os.environ["nnUNet_n_proc_DA"] = "0"  # noqa: SIM112  batches are made in this process
    torch.save({name: tried(name) for name in names}, out)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])

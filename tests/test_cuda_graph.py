"""A training replayed as a CUDA graph is the one that Python launches step by step."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

from steelyard import train
from steelyard.batches.affine import RandomAffine
from steelyard.batches.order import Batches
from steelyard.batches.slices import SliceSet
from steelyard.batches.strong import StrongAugmentation
from steelyard.cuda_graph import is_replayable
from steelyard.losses.cross_entropy import CrossEntropyLoss
from steelyard.losses.per_organ import per_organ
from steelyard.losses.tversky import IoULoss
from steelyard.networks.build import build_network
from steelyard.train import Schedule, fit
from tiny_network import TinyNetwork

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is here")


class Silent:
    def step(self, epoch: int, step: int, steps: int) -> None: ...

    def epoch(self, rows: list[dict]) -> None: ...


def some_slices(count: int = 40, size: int = 64) -> SliceSet:
    generator = torch.Generator().manual_seed(3)
    labels = torch.zeros(count, size, size, dtype=torch.uint8)
    for label in range(1, 5):
        labels[:, label * 8 : label * 8 + 14, label * 9 : label * 9 + 9] = label
    images = labels[:, None] + 0.3 * torch.randn(count, 1, size, size, generator=generator)
    return SliceSet(images.cuda(), labels.cuda())


def losses_of(network: str, loss: nn.Module, *, optimiser: str = "sgdm", augmentation=None) -> list[float]:
    """Training losses of five epochs whose learning rate falls twice."""
    rate = 2e-3 if optimiser == "sgdm" else 1e-4
    built = build_network(network, 1, 5, seed=1).to(memory_format=torch.channels_last).cuda()
    history = fit(
        built,
        loss,
        Batches(some_slices(), batch_size=4, seed=1, augmentation=augmentation or RandomAffine()),
        Schedule(epochs=5, optimiser=optimiser, learning_rate=rate, drop_every=2, drop_factor=0.5),
        resume=None,
        save=lambda state: None,
        validate=lambda network: {},
        progress=Silent(),
    )
    return [row["value"] for row in history if row["quantity"] == "training_loss"]


def test_only_parts_that_decide_nothing_in_python_are_replayed():
    assert is_replayable(build_network("unet_resnet18", 1, 5, seed=1), per_organ(organs="dice_ce"))
    assert not is_replayable(TinyNetwork(1, 3), IoULoss())
    assert not is_replayable(nn.Sequential(nn.Sequential(TinyNetwork(1, 3))))  # however deep
    assert not is_replayable(nn.Linear(1, 1), OtherLoss())


class OtherLoss(IoULoss):
    """One that might grow stricter from step to step."""


@needs_gpu
@pytest.mark.parametrize(("network", "optimiser"), [("unet_resnet18", "sgdm"), ("unet_matlab", "adamw")])
@pytest.mark.parametrize(
    "loss",
    [
        IoULoss(fp_weight=0.5, fn_weight=1.5),
        IoULoss(fp_weight=[1, 0.5, 0.6, 0.7, 0.8], absent="skip", scope="slice"),
        CrossEntropyLoss(class_weights=[1, 2, 3, 4, 5.0]),
    ],
    ids=str,
)
def test_replayed_and_launched_step_by_step_it_is_the_same_training(
    monkeypatch: pytest.MonkeyPatch, network: str, optimiser: str, loss: nn.Module
):
    """Dropout (unet_matlab) and falling rates included; convolutions on a GPU differ in the last bits by themselves."""
    replayed = losses_of(network, loss, optimiser=optimiser)
    monkeypatch.setattr(train, "is_replayable", lambda *parts: False)
    launched = losses_of(network, loss, optimiser=optimiser)
    assert replayed == pytest.approx(launched, rel=2e-3)
    assert replayed[-1] < replayed[0]


@needs_gpu
@pytest.mark.parametrize("augmentation", [RandomAffine(), StrongAugmentation()], ids=["study", "strong"])
def test_an_epoch_waits_for_the_gpu_once_at_its_end(augmentation):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            losses_of("unet_resnet18", IoULoss(), augmentation=augmentation)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    waits = [warning for warning in caught if "synchronizing CUDA operation" in str(warning.message)]
    ours = {(Path(warning.filename).name, warning.lineno) for warning in waits if "/steelyard/" in warning.filename}
    assert [name for name, _ in ours] == ["train.py"], ours

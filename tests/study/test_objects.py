"""Names become objects with the options that the study gave, and the study's numbers reach them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from steelyard.batches.affine import RandomAffine
from steelyard.batches.strong import StrongAugmentation
from steelyard.errors import BadSpec
from steelyard.losses.cross_entropy import CrossEntropyLoss
from steelyard.study.objects import augmentation_of, call, loss_of, network_of, preprocessing_of, schedule_of
from steelyard.study.spec import Part, TrainTable
from studies import tiny_spec


def test_cross_e_gets_the_inverse_frequencies_of_the_training_slices() -> None:
    loss = loss_of(Part(name="crossE"), [0.5, 0.25, 0.125, 0.0625, 0.0625])
    assert isinstance(loss, CrossEntropyLoss)
    assert loss.class_weights is not None
    assert list(loss.class_weights) == [2, 4, 8, 16, 16]


def test_the_losses_options_arrive() -> None:
    loss = loss_of(Part(name="tversky", fp_weight=0.2, fn_weight=1.8, absent="skip"), [1.0])
    assert (float(loss.fp_weight), float(loss.fn_weight), loss.absent) == (
        pytest.approx(0.2),
        pytest.approx(1.8),
        "skip",
    )


def test_the_schedule_carries_every_number_of_the_table() -> None:
    table = TrainTable(
        epochs=7,
        optimiser="adamw",
        learning_rate=0.3,
        drop_factor=0.7,
        drop_every=3,
        momentum=0.8,
        l2=0.2,
        validate_every=2,
    )
    schedule = schedule_of(table, "bf16")
    assert (schedule.epochs, schedule.optimiser, schedule.learning_rate) == (7, "adamw", 0.3)
    assert (schedule.drop_factor, schedule.drop_every, schedule.momentum) == (0.7, 3, 0.8)
    assert (schedule.l2, schedule.validate_every, schedule.precision) == (0.2, 2, "bf16")


def test_augmentation_is_the_studys_the_strong_one_or_none() -> None:
    assert augmentation_of(TrainTable()) == RandomAffine(translate_px=10, rotate_deg=10, shear_deg=10, scale=0.1)
    assert isinstance(augmentation_of(TrainTable(augment="strong")), StrongAugmentation)
    assert augmentation_of(TrainTable(augment="none")) is None


def test_preprocessing_carries_every_number_of_the_table() -> None:
    spec = tiny_spec(Path("d"), Path("o"), preprocess={"size": 48, "spacing_mm": 1.7, "context": 2})
    preprocessing = preprocessing_of(spec)
    assert (preprocessing.size, preprocessing.spacing_mm, preprocessing.context) == (48, 1.7, 2)


def test_a_network_depends_on_its_seed_alone() -> None:
    torch.manual_seed(1)
    one = network_of(Part(name="tiny_network:TinyNetwork"), channels=2, classes=3, size=32, seed=4)
    torch.manual_seed(2)
    two = network_of(Part(name="tiny_network:TinyNetwork"), channels=2, classes=3, size=32, seed=4)
    other = network_of(Part(name="tiny_network:TinyNetwork"), channels=2, classes=3, size=32, seed=5)
    assert torch.equal(one[0].weight, two[0].weight)
    assert not torch.equal(one[0].weight, other[0].weight)


def test_a_wrong_option_names_the_right_ones() -> None:
    def part(*, width: int = 1) -> int:
        return width

    assert call(part, "loss", "part", width=3) == 3
    with pytest.raises(BadSpec, match=r"loss 'part': got an unexpected keyword argument 'wdth'. Its options: width\."):
        call(part, "loss", "part", wdth=3)

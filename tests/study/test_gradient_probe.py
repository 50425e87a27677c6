"""A look at the gradient while a network trains: on fair slices, and without a trace in what is trained."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from steelyard.batches.affine import RandomAffine
from steelyard.batches.order import Batches
from steelyard.batches.slices import SliceSet
from steelyard.checkpoint import TrainingState
from steelyard.losses.tversky import IoULoss
from steelyard.study.gradient_kinds import KINDS
from steelyard.study.gradient_map import gradient_map, shares
from steelyard.study.gradient_probe import GradientProbe, gradient_probe
from steelyard.train import Schedule, fit
from tiny_network import TinyNetwork

NAMES = ("background", "liver", "spleen")


def training_slices(count: int = 20) -> SliceSet:
    """Every fourth slice holds no organ, the others more and more."""
    generator = torch.Generator().manual_seed(5)
    labels = torch.zeros(count, 16, 12, dtype=torch.uint8)
    for index in range(count):
        if index % 4:
            labels[index, 2 : 4 + index // 2, 3:8] = 1 + index % 2
    return SliceSet(labels[:, None] + 0.3 * torch.randn(count, 1, 16, 12, generator=generator), labels)


def probe(training: SliceSet, *, batch_size: int = 4, loss: nn.Module | None = None) -> GradientProbe:
    loss = IoULoss(fp_weight=0.5, fn_weight=1.5) if loss is None else loss
    return gradient_probe(training, loss, batch_size=batch_size, class_names=NAMES, precision="fp32")


def tiny() -> TinyNetwork:
    torch.manual_seed(0)
    return TinyNetwork(1, 3)


class Silent:
    def step(self, epoch: int, step: int, steps: int) -> None: ...

    def epoch(self, rows: list[dict]) -> None:
        assert rows[0]["quantity"] == "training_loss"


def trained(
    epochs: int = 5, *, resume: TrainingState | None = None, **more
) -> tuple[nn.Module, list[dict], TrainingState]:
    network, states = tiny(), []
    training = training_slices()
    history = fit(
        network,
        IoULoss(fp_weight=0.5, fn_weight=1.5),
        Batches(training, batch_size=4, seed=1, augmentation=RandomAffine(translate_px=2)),
        Schedule(epochs=epochs, learning_rate=0.05, validate_every=2),
        resume=resume,
        save=lambda state: states.append(copy.deepcopy(state)),
        validate=lambda network: {"liver": 0.5},
        progress=Silent(),
        **more,
    )
    return network, history, states[-1]


def test_the_trained_network_is_the_same_to_the_bit() -> None:
    one, _, _ = trained()
    two, _, _ = trained(observe=probe(training_slices()))
    for name, values in one.state_dict().items():
        assert torch.equal(values, two.state_dict()[name]), name


def test_looks_are_recorded_after_the_first_epoch_and_with_each_validation_and_survive_a_resume() -> None:
    _, history, _ = trained(observe=probe(training_slices()))
    quantities = {kind.quantity for kind in KINDS}
    rows = [row for row in history if row["quantity"] in quantities]
    assert sorted({row["epoch"] for row in rows}) == [1, 2, 4, 5]
    for epoch in (1, 2, 4, 5):
        assert sum(row["value"] for row in rows if row["epoch"] == epoch) == pytest.approx(1)
    assert {row["organ"] for row in rows if row["quantity"] == "gradient_missed"} == {"liver", "spleen"}
    assert {row["organ"] for row in rows if row["quantity"] == "gradient_boundary"} == set(NAMES)
    _, _, state = trained(3, observe=probe(training_slices()))
    _, resumed, _ = trained(resume=state, observe=probe(training_slices()))
    again = [
        row for row in resumed if row["quantity"] in quantities and row["epoch"] != 3
    ]  # the last of the first part
    assert again == rows


def test_a_look_is_the_gradient_of_the_network_in_eval_mode_batch_by_batch() -> None:
    network = tiny()
    look = probe(training_slices())
    found = look(network.train())
    assert look(network.train()) == found  # dropout would differ
    spent = 0
    for start in range(0, 16, 4):
        images, labels = (part[start : start + 4] for part in (look.slices.images, look.slices.labels))
        spent = spent + gradient_map(network.eval()(images), labels.long(), look.loss)
    expected = list(shares(spent).values())
    assert [share for _, _, share in found] == pytest.approx(expected, rel=1e-6)


def test_the_slices_hold_as_much_organ_as_the_training_and_every_batch_little_and_much() -> None:
    training = training_slices(80)  # 20 of them organ-free
    chosen = probe(training, batch_size=4).slices
    sizes = (chosen.labels > 0).flatten(1).sum(1)
    assert len(chosen) == 16
    assert int((sizes == 0).sum()) == 4
    assert [int((part == 0).sum()) for part in sizes.split(4)] == [1, 1, 1, 1]
    whole = (training.labels > 0).flatten(1).sum(1).float()
    assert float(sizes.float().mean()) == pytest.approx(float(whole.mean()), rel=0.03)
    for image, labels in zip(chosen.images, chosen.labels, strict=True):
        places = [k for k in range(80) if torch.equal(training.images[k], image)]
        assert len(places) == 1
        assert torch.equal(training.labels[places[0]], labels)


@pytest.mark.parametrize(
    ("slices", "batch_size", "looked_at"), [(80, 5, 20), (80, 32, 32), (20, 8, 16), (10, 4, 8), (3, 8, 3)]
)
def test_whole_batches_are_looked_at(slices: int, batch_size: int, looked_at: int) -> None:
    look = probe(training_slices(slices), batch_size=batch_size)
    assert len(look.slices) == looked_at
    assert looked_at % look.batch_size == 0
    assert look.batch_size == min(batch_size, slices)


def test_a_loss_that_remembers_what_it_saw_is_not_told() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, logits: Tensor, target: Tensor) -> Tensor:
            self.seen += 1
            return logits.square().mean()

    loss = Counting()
    assert len(probe(training_slices(), loss=loss)(tiny())) > 0
    assert float(loss.seen) == 0

"""The training loop: schedule, optimiser, history, and resuming to the same bit."""

from __future__ import annotations

import copy

import pytest
import torch

from steelyard.batches.affine import RandomAffine
from steelyard.batches.order import Batches
from steelyard.batches.slices import SliceSet
from steelyard.checkpoint import TrainingState
from steelyard.errors import Interrupted
from steelyard.losses.tversky import IoULoss
from steelyard.train import Schedule, fit, make_optimiser, seeded_dropout
from tiny_network import ExplodingNetwork, TinyNetwork


class Silent:
    def step(self, epoch: int, step: int, steps: int) -> None: ...

    def epoch(self, rows: list[dict]) -> None: ...


def some_slices(count: int = 10) -> SliceSet:
    generator = torch.Generator().manual_seed(3)
    labels = torch.zeros(count, 16, 12, dtype=torch.uint8)
    labels[:, 3:9, 2:7] = 1
    labels[:, 10:14, 6:11] = 2
    images = labels[:, None] + 0.3 * torch.randn(count, 1, 16, 12, generator=generator)
    return SliceSet(images, labels)


def batches(seed: int = 1) -> Batches:
    return Batches(some_slices(), batch_size=3, seed=seed, augmentation=RandomAffine(translate_px=2))


def trained(
    network: torch.nn.Module, schedule: Schedule, *, resume=None, save=lambda state: None, **more
) -> list[dict]:
    return fit(
        network,
        IoULoss(fp_weight=0.5, fn_weight=1.5),
        batches(),
        schedule,
        resume=resume,
        save=save,
        validate=lambda network: {"liver": 0.5},
        progress=Silent(),
        **more,
    )


def tiny(seed: int = 0) -> TinyNetwork:
    torch.manual_seed(seed)
    return TinyNetwork(1, 3)


def weights_equal(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_the_rate_drops_by_a_tenth_every_twenty_epochs() -> None:
    schedule = Schedule()
    assert schedule.rate(0) == schedule.rate(19) == 0.005
    assert schedule.rate(20) == pytest.approx(0.0045)
    assert schedule.rate(499) == pytest.approx(0.005 * 0.9**24)


def test_one_step_of_sgdm_is_the_one_done_by_hand() -> None:
    network = torch.nn.Linear(2, 1)
    with torch.no_grad():
        network.weight[:] = torch.tensor([[1.0, -2.0]])
        network.bias[:] = 0.5
    optimiser = make_optimiser(network, Schedule(learning_rate=0.1, momentum=0.9, l2=0.01))
    for _ in range(2):  # the gradient of the output's sum for input (3, 4) is (3, 4) and 1
        optimiser.zero_grad()
        network(torch.tensor([[3.0, 4.0]])).sum().backward()
        optimiser.step()
    # first weight: v = 3 + .01·1 = 3.01, w = 1 − .301 = .699
    # then v = .9·3.01 + 3 + .00699 = 5.71599, w = .699 − .571599
    assert network.weight[0, 0].item() == pytest.approx(0.127401, abs=1e-6)
    # the bias has no decay: v = 1, b = .4; v = 1.9, b = .21
    assert network.bias.item() == pytest.approx(0.21, abs=1e-6)


@pytest.mark.parametrize("optimiser", ["sgdm", "adamw"])
@pytest.mark.parametrize("stopped_after", [1, 3])
def test_a_resumed_training_ends_in_the_same_bits(optimiser: str, stopped_after: int) -> None:
    schedule = Schedule(epochs=5, optimiser=optimiser, learning_rate=0.01, drop_every=2, validate_every=2)
    whole = tiny()
    history = trained(whole, schedule)

    states: list[TrainingState] = []
    first = tiny()
    short = Schedule(epochs=stopped_after, optimiser=optimiser, learning_rate=0.01, drop_every=2, validate_every=2)
    trained(first, short, save=lambda state: states.append(copy.deepcopy(state)))
    torch.rand(7)  # whatever else happens between the two processes
    second = tiny(seed=9)
    resumed = trained(second, schedule, resume=states[-1])

    assert weights_equal(whole, second)
    without_clock = [row for row in history if row["quantity"] in ("training_loss", "learning_rate")]
    assert [row for row in resumed if row["quantity"] in ("training_loss", "learning_rate")] == without_clock


@pytest.mark.parametrize("optimiser", ["sgdm", "adamw"])
def test_a_state_saved_on_another_kind_of_device_is_gone_on_from(optimiser: str) -> None:
    """A GPU's steps keep AdamW's count on the GPU, and are not fused; no such setting is carried to this device."""
    schedule = Schedule(epochs=4, optimiser=optimiser, learning_rate=0.01)
    whole = tiny()
    trained(whole, schedule)
    states: list[TrainingState] = []
    short = Schedule(epochs=2, optimiser=optimiser, learning_rate=0.01)
    trained(tiny(), short, save=lambda state: states.append(copy.deepcopy(state)))
    for group in states[-1].optimiser["param_groups"]:
        group |= {"fused": None, "foreach": True} | ({"capturable": True} if optimiser == "adamw" else {})
    resumed = tiny(seed=9)
    trained(resumed, schedule, resume=states[-1])
    assert weights_equal(whole, resumed)


def test_training_lowers_the_loss_and_records_it_per_epoch() -> None:
    history = trained(tiny(), Schedule(epochs=12, learning_rate=0.05, validate_every=5))
    losses = [row["value"] for row in history if row["quantity"] == "training_loss"]
    assert len(losses) == 12
    assert losses[-1] < 0.8 * losses[0]
    looked = [row["epoch"] for row in history if row["quantity"] == "validation_iou"]
    assert looked == [5, 10, 12]


def test_the_seed_decides_batches_and_not_the_callers_random_state() -> None:
    torch.manual_seed(1)
    one = tiny()
    trained(one, Schedule(epochs=2))
    before = torch.get_rng_state()
    two = tiny()
    torch.set_rng_state(before)
    torch.rand(3)
    state = torch.get_rng_state()
    trained(two, Schedule(epochs=2))
    assert weights_equal(one, two)
    assert torch.equal(state, torch.get_rng_state())


def test_a_stop_is_obeyed_at_the_next_step() -> None:
    asked = iter([False, False, True])
    with pytest.raises(Interrupted, match="stopped in epoch 1 of 4"):
        trained(tiny(), Schedule(epochs=4), stop=lambda: next(asked))


def test_a_loss_that_is_no_number_ends_the_run() -> None:
    with pytest.raises(ArithmeticError, match="the loss became nan in epoch 1"):
        trained(ExplodingNetwork(1, 3), Schedule(epochs=4))


def test_a_state_is_saved_at_the_end() -> None:
    states: list[TrainingState] = []
    trained(tiny(), Schedule(epochs=3), save=states.append)
    assert states[-1].epoch == 3


def test_each_process_drops_out_at_random_on_its_own_and_the_first_as_one_alone_would() -> None:
    def drawn(which: Batches, epoch: int) -> float:
        with seeded_dropout(which, epoch):
            return float(torch.rand(()))

    whole = batches()
    first, second = (whole.of_process(process, 2) for process in (0, 1))
    assert drawn(whole, 4) == drawn(first, 4)
    assert len({drawn(first, 4), drawn(second, 4), drawn(first, 5), drawn(second, 5)}) == 4

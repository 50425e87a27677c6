"""A training's state and weights: back to the bit, or refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from steelyard.checkpoint import TrainingState, load_state, load_weights, save_state, save_weights
from steelyard.errors import BadData
from tiny_network import TinyNetwork

HISTORY = [{"epoch": 1, "quantity": "training_loss", "organ": None, "value": 0.1 + 0.2}]
SGDM = (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-2})
ADAMW = (torch.optim.AdamW, {"lr": 0.02})


def network(seed: int = 0, **options: int) -> TinyNetwork:
    torch.manual_seed(seed)
    return TinyNetwork(1, 3, **options).train()


def step(model: nn.Module, optimiser: torch.optim.Optimizer, seed: int) -> None:
    torch.manual_seed(seed)  # dropout too
    optimiser.zero_grad()
    model(torch.randn(4, 1, 6, 5)).square().mean().backward()
    optimiser.step()


def same(one: nn.Module, other: nn.Module) -> bool:
    mine, yours = one.state_dict(), other.state_dict()
    return mine.keys() == yours.keys() and all(torch.equal(mine[name], yours[name]) for name in mine)


@pytest.mark.parametrize(("kind", "options"), [SGDM, ADAMW], ids=["sgdm", "adamw"])
def test_training_goes_on_from_the_file_to_the_same_bit(tmp_path: Path, kind: Any, options: dict[str, Any]):
    model = network()
    optimiser = kind(model.parameters(), **options)
    for seed in range(3):
        step(model, optimiser, seed)
    save_state(tmp_path / "c.pt", TrainingState(3, model.state_dict(), optimiser.state_dict(), HISTORY))
    for seed in (3, 4):
        step(model, optimiser, seed)

    state = load_state(tmp_path / "c.pt")
    assert state is not None
    assert (state.epoch, state.history) == (3, HISTORY)
    again = network(seed=8)
    of_again = kind(again.parameters(), **options | {"lr": 7.0})
    again.load_state_dict(state.network)
    of_again.load_state_dict(dict(state.optimiser))
    assert not same(again, model)
    for seed in (3, 4):
        step(again, of_again, seed)
    assert same(again, model)


def test_a_momentum_that_is_lost_would_show():
    """The test above could not fail if the optimiser's state did not matter."""
    model, other = network(), network()
    for one in (model, other):
        optimiser = torch.optim.SGD(one.parameters(), lr=0.1, momentum=0.9)
        step(one, optimiser, 0)
        if one is other:
            optimiser = torch.optim.SGD(one.parameters(), lr=0.1, momentum=0.9)
        step(one, optimiser, 1)
    assert not same(model, other)


def test_no_file_is_no_state_yet(tmp_path: Path):
    assert load_state(tmp_path / "c.pt") is None


def damage(whole: bytes) -> list[bytes]:
    """Emptied, cut at several lengths, and something else altogether."""
    cut = [whole[:length] for length in (0, 1, 100, len(whole) // 2, len(whole) - 1)]
    return [*cut, b"not a file of ours", b"PK\x03\x04" + bytes(500)]


def test_a_damaged_state_is_refused_in_one_line_that_names_the_file(tmp_path: Path):
    path = tmp_path / "c.pt"
    model = network()
    save_state(path, TrainingState(1, model.state_dict(), {}, HISTORY))
    whole = path.read_bytes()
    bits = model.get_parameter("0.weight").detach().numpy().tobytes()
    changed = bytearray(whole)
    changed[whole.index(bits) + 2] ^= 1  # one bit of one weight
    for content in [*damage(whole), bytes(changed)]:
        path.write_bytes(content)
        with pytest.raises(BadData, match=r"c\.pt") as caught:
            load_state(path)
        assert "\n" not in str(caught.value)


class Mischief:
    """Would make a file on being read."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.file,)


def test_another_content_is_refused_and_no_code_in_it_runs(tmp_path: Path):
    for content in ([1, 2], {"epoch": 1}, {"epoch": Mischief(tmp_path / "made")}):
        torch.save(content, tmp_path / "c.pt")
        with pytest.raises(BadData, match="training state"):
            load_state(tmp_path / "c.pt")
    assert not (tmp_path / "made").exists()


def test_weights_come_back_to_the_bit_with_the_buffers_of_normalisation(tmp_path: Path):
    model, other = network(), network(seed=1)
    model(torch.randn(3, 1, 6, 5))  # moves the running mean
    save_weights(tmp_path / "w.safetensors", model.to(memory_format=torch.channels_last))
    load_weights(tmp_path / "w.safetensors", other)
    assert same(other, model)
    assert other.get_buffer("1.running_mean").any()


def test_damaged_weights_are_refused_in_one_line_that_names_the_file(tmp_path: Path):
    path = tmp_path / "w.safetensors"
    save_weights(path, network())
    for content in damage(path.read_bytes()):
        path.write_bytes(content)
        with pytest.raises(BadData, match=r"w\.safetensors") as caught:
            load_weights(path, network())
        assert "\n" not in str(caught.value)
    with pytest.raises(BadData, match=r"none\.safetensors"):
        load_weights(tmp_path / "none.safetensors", network())


@pytest.mark.parametrize(
    "other", [nn.Linear(2, 2), TinyNetwork(1, 3, width=5), nn.Sequential(*network(), nn.Conv2d(3, 3, 1))]
)
def test_weights_of_another_network_are_refused_in_one_line_and_change_nothing(tmp_path: Path, other: nn.Module):
    save_weights(tmp_path / "w.safetensors", network(seed=3))
    before = {name: value.clone() for name, value in other.state_dict().items()}
    with pytest.raises(BadData, match="another network") as caught:
        load_weights(tmp_path / "w.safetensors", other)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())

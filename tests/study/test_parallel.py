"""One network trained by two real processes over gloo: the same network as one process makes, and one end for both."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from rich.console import Console
from safetensors.numpy import load_file
from torch import nn

from steelyard.batches.affine import RandomAffine
from steelyard.batches.order import Batches
from steelyard.batches.slices import SliceSet
from steelyard.checkpoint import TrainingState, load_state, save_state
from steelyard.errors import BadSpec, Interrupted
from steelyard.losses.dice_ce import DiceCrossEntropyLoss
from steelyard.study import parallel
from steelyard.study.gradient_kinds import KINDS
from steelyard.study.gradient_probe import GradientProbe, gradient_probe
from steelyard.study.parallel import ProcessKilled, device_errors, fit_in_parallel
from steelyard.study.plan import make_plan
from steelyard.study.run import run_study
from steelyard.study.spec import TrainTable, parse_spec
from steelyard.train import Schedule, fit
from studies import tiny_study, write_patients, write_toml
from tiny_network import DeadlyNetwork, ExplodingNetwork, LonelyNetwork, TinyNetwork


@dataclass
class Training:
    """A training and all that the loop told about it."""

    network: nn.Module
    states: list[TrainingState] = field(default_factory=list)
    validated: list[type] = field(default_factory=list)
    epochs: list[int] = field(default_factory=list)
    history: list[dict] = field(default_factory=list)

    def go(self, train: Callable, epochs: int, *, resume: TrainingState | None = None, **more) -> Training:
        self.history = train(
            self.network,
            DiceCrossEntropyLoss(),
            batches(),
            Schedule(epochs=epochs, learning_rate=0.05, drop_every=1, validate_every=2),
            resume=resume,
            save=lambda state: self.states.append(copy.deepcopy(state)),
            validate=self.validate,
            progress=self,
            **{"observe": look()} | more,
        )
        return self

    def validate(self, network: nn.Module) -> dict[str, float]:
        with torch.no_grad():  # by this process alone: a network that waited for the other would hang here
            mean = network.eval()(batches().slices.images).mean()
        self.validated.append(type(network))
        return {"liver": float(mean)}

    def step(self, epoch: int, step: int, steps: int) -> None: ...

    def epoch(self, rows: list[dict]) -> None:
        self.epochs.append(rows[0]["epoch"])

    def values(self, quantity: str) -> list[float]:
        return [row["value"] for row in self.history if row["quantity"] == quantity]


def batches() -> Batches:
    """Two batches of five slices; the second organ is on few of them."""
    generator = torch.Generator().manual_seed(3)
    labels = torch.zeros(11, 16, 12, dtype=torch.uint8)
    labels[:, 3:9, 2:7] = 1
    labels[:3, 10:14, 6:11] = 2
    images = labels[:, None] + 0.3 * torch.randn(11, 1, 16, 12, generator=generator)
    return Batches(SliceSet(images, labels), batch_size=5, seed=1, augmentation=RandomAffine(translate_px=2))


def look() -> GradientProbe:
    names = ("background", "liver", "spleen")
    return gradient_probe(batches().slices, DiceCrossEntropyLoss(), batch_size=5, class_names=names, precision="fp32")


def tiny(kind: type[TinyNetwork] = TinyNetwork, seed: int = 0) -> TinyNetwork:
    """Without dropout, whose numbers are each process's own."""
    torch.manual_seed(seed)
    network = kind(1, 3).to(memory_format=torch.channels_last)
    network[3].p = 0.0
    return network


@pytest.fixture(scope="module")
def alone() -> Training:
    return Training(tiny()).go(fit, 4)


@pytest.fixture(scope="module")
def together() -> Training:
    """Two epochs of the four."""
    return Training(tiny()).go(fit_in_parallel, 2, devices=2)


def assert_same_weights(one: nn.Module, two: nn.Module) -> None:
    for (name, expected), (same_name, found) in zip(one.state_dict().items(), two.state_dict().items(), strict=True):
        assert name == same_name
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_two_processes_make_the_network_of_one(together: Training) -> None:
    short = Training(tiny()).go(fit, 2)
    assert together.values("training_loss") == pytest.approx(short.values("training_loss"), rel=1e-6)
    assert together.values("validation_iou") == pytest.approx(short.values("validation_iou"), rel=1e-4)
    assert_same_weights(short.network, together.network)
    moved = (together.network[0].weight - tiny()[0].weight).abs().max()
    assert moved > 0.01  # else the agreement would mean little


def test_two_processes_see_the_gradient_fall_where_one_does(alone: Training, together: Training) -> None:
    for kind in KINDS:
        found = together.values(kind.quantity)
        assert found == pytest.approx(alone.values(kind.quantity)[: len(found)], rel=1e-4, abs=1e-9)
    assert sum(sum(together.values(kind.quantity)) for kind in KINDS) == pytest.approx(2)  # after epochs 1 and 2


def test_a_look_at_the_gradient_changes_no_bit_of_two_processes_network(together: Training) -> None:
    blind = Training(tiny()).go(fit_in_parallel, 2, devices=2, observe=None)
    for name, values in blind.network.state_dict().items():
        assert torch.equal(values, together.network.state_dict()[name]), name


def test_a_saved_state_is_that_of_one_process_and_goes_on_in_either_way(
    alone: Training, together: Training, tmp_path: Path
) -> None:
    save_state(tmp_path / "state", together.states[-1])
    for train, more in ((fit, {}), (fit_in_parallel, {"devices": 2})):
        state = load_state(tmp_path / "state")
        assert state is not None
        assert state.epoch == 2
        resumed = Training(tiny(seed=9)).go(train, 4, resume=state, **more)
        assert resumed.values("training_loss") == pytest.approx(alone.values("training_loss"), rel=1e-6)
        assert_same_weights(alone.network, resumed.network)


def test_the_first_process_alone_validates_saves_and_reports(together: Training) -> None:
    assert together.validated == [TinyNetwork]  # with epochs 1 and 2, looked at every second
    assert together.epochs == [1, 2]
    saved = [state.epoch for state in together.states]  # also in between, where an epoch takes long
    assert saved in ([2], [1, 2])
    assert type(together.network[1]) is nn.BatchNorm2d


def test_a_stop_in_one_process_ends_both_before_the_same_step() -> None:
    asked = []

    def stop() -> bool:
        asked.append(torch.distributed.is_initialized())  # before that, the processes are still on their way
        return sum(asked) == 4

    with pytest.raises(Interrupted, match="stopped in epoch 2 of 50"):  # two steps make an epoch
        Training(tiny()).go(fit_in_parallel, 50, devices=2, stop=stop)
    assert not torch.distributed.is_initialized()


def test_a_loss_that_is_no_number_ends_the_training_in_one_way() -> None:
    with pytest.raises(ArithmeticError, match="the loss became nan in epoch 1"):
        Training(tiny(ExplodingNetwork)).go(fit_in_parallel, 4, devices=2)


@pytest.mark.parametrize(
    ("kind", "error", "said"),
    [
        (LonelyNetwork, RuntimeError, "process 2: NotImplementedError: only the first process can do this"),
        (DeadlyNetwork, ProcessKilled, "process 2: ended with code -9"),
    ],
)
def test_what_another_process_died_of_is_told(kind: type[TinyNetwork], error: type[Exception], said: str) -> None:
    begun = time.monotonic()
    with pytest.raises(RuntimeError) as caught:
        Training(tiny(kind)).go(fit_in_parallel, 4, devices=2)
    assert str(caught.value) == said
    assert type(caught.value) is error
    assert time.monotonic() - begun < 200


def test_a_batch_smaller_than_the_number_of_processes_is_refused_before_any_is_started() -> None:
    with pytest.raises(BadSpec, match=r"^\[train\] devices = 6: a batch of 5 slices cannot be shared by 6 processes"):
        Training(tiny()).go(fit_in_parallel, 1, devices=6)


def test_a_network_that_cannot_be_sent_is_refused_in_one_line() -> None:
    network = tiny()
    network.extra = lambda: 1
    with pytest.raises(BadSpec, match=r"^\[train\] devices = 2: network and loss go to other processes, and cannot"):
        Training(network).go(fit_in_parallel, 1, devices=2)


def test_devices_that_cannot_be_had_are_told_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert device_errors(TrainTable(devices=1, batch_size=1, device="cuda:0")) == []
    assert device_errors(TrainTable(devices=2, device="cpu")) == []
    monkeypatch.setattr(parallel, "find_spec", lambda name: None)
    lines = device_errors(TrainTable(devices=3, batch_size=2, device="cuda:1"))
    assert lines[0] == "[train] devices = 3 needs lightning-fabric. Install steelyard[ddp]."
    assert "a batch of 2 slices cannot be shared" in lines[1]
    assert "device 'cuda:1' is one alone" in lines[2]
    assert len(lines) == 3


def test_no_more_gpus_are_asked_for_than_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device_errors(TrainTable(devices=2)) == []
    for device in ("auto", "cuda"):
        (line,) = device_errors(TrainTable(devices=3, device=device))
        assert "torch sees 2 GPUs here" in line
    assert device_errors(TrainTable(devices=3, device="cpu")) == []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert device_errors(TrainTable(devices=3)) == []  # the CPU has as many as are wanted


# A study


def test_a_study_that_cannot_have_its_devices_ends_before_anything_is_written(patients: Path, tmp_path: Path) -> None:
    study = study_of_two(patients, tmp_path / "out")
    study["train"] |= {"batch_size": 1}
    study["grid"] |= {"loss": [{"name": "tversky", "fp_weight": -1}]}
    with pytest.raises(BadSpec) as caught:
        make_plan(parse_spec(study, source="tiny.toml"))
    first, second = caught.value.errors  # all at once
    assert first.startswith("[train] devices = 2, but a batch of 1 slices cannot be shared by so many.")
    assert "fp_weight" in second
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_patients(tmp_path_factory.mktemp("patients"))


def study_of_two(patients: Path, out: Path) -> dict[str, Any]:
    train = {"devices": 2, "epochs": 60, "batch_size": 5, "validate_every": 20}
    return tiny_study(patients, out, train=train, grid={"loss": ["iou0515"]})


@contextmanager
def under_way(patients: Path, out: Path) -> Iterator[subprocess.Popen[str]]:
    """`steelyard run` in a session of its own, after its first saved state."""
    file = write_toml(out.with_suffix(".toml"), study_of_two(patients, out))
    slowly = "import steelyard.train as t; t.SECONDS_BETWEEN_SAVES = 0.0; "
    slowly += "import time; step = t.autocast; t.autocast = lambda *a: (time.sleep(0.05), step(*a))[1]; "
    running = subprocess.Popen(
        [sys.executable, "-c", slowly + "from steelyard.cli import main; main()", "run", str(file)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )
    saved_before = states(out)
    while states(out) == saved_before:
        assert running.poll() is None, running.communicate()[1]
        time.sleep(0.02)
    with running:
        yield running
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)


def states(out: Path) -> list[int]:
    return [file.stat().st_mtime_ns for file in out.rglob("checkpoint.pt")]


def children(process: int) -> list[Path]:
    return [Path("/proc", child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def test_a_study_of_two_processes_survives_a_kill_and_a_signal_and_gets_done(patients: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with under_way(patients, out) as running:
        others = children(running.pid)
        assert len(others) == 1
        running.kill()
        running.wait()
        until = time.monotonic() + 30
        while any(other.exists() for other in others) and time.monotonic() < until:
            time.sleep(0.05)
        assert not any(other.exists() for other in others)
    with under_way(patients, out) as running:
        others = children(running.pid)
        os.kill(int(others[0].name), signal.SIGTERM)  # whichever of them is told
        _, said = running.communicate(timeout=60)
        assert running.returncode == 4
        assert re.fullmatch(r"stopped in epoch \d+ of 60; the same command goes on from the last saved state\n", said)
        assert not any(other.exists() for other in others)

    plan = make_plan(parse_spec(study_of_two(patients, out), source="tiny.toml"))
    run_study(plan, console=Console(file=io.StringIO(), width=200))
    folder = plan.run_folder(plan.runs[0])
    assert folder.is_done
    about = json.loads(folder.manifest.read_text())["manifest"]
    assert about["devices"] == 2
    assert about["versions"]["lightning-fabric"] == version("lightning-fabric")
    assert about["warnings"] == []
    weights = load_file(folder.weights)
    assert set(weights) == set(TinyNetwork(1, 5).state_dict())
    history = pl.read_parquet(folder.history)
    epochs = history.filter(pl.col("quantity") == "training_loss")["epoch"].to_list()
    assert epochs == list(range(1, 61))
    assert int(weights["1.num_batches_tracked"]) == 60 * 2  # 12 slices, 5 in a batch

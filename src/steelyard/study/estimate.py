"""What a study will cost on this machine: measured on a few real steps of each network, before anything is written."""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass, replace

import torch
from rich.console import Group
from rich.table import Table
from torch import nn

from steelyard.batches.order import Batches
from steelyard.batches.slices import SliceSet
from steelyard.checkpoint import TrainingState
from steelyard.errors import BadSpec
from steelyard.study.engines.local import usual_workers
from steelyard.study.objects import (
    augmentation_of,
    channel_count,
    device_of,
    loss_of,
    network_of,
    preprocessing_of,
    schedule_of,
)
from steelyard.study.plan import Plan, Run
from steelyard.study.progress import duration
from steelyard.study.task import task_label_set
from steelyard.train import fit

TIMED_EPOCHS = 3  # of two batches each; the first warms up and is not counted
PREDICTION_BYTES = 150_000  # of one case: a label map, gzipped, and its share of the tables
FLOAT_BYTES = 4


@dataclass(frozen=True)
class Estimate:
    """What a study costs.

    Attributes:
        seconds: of training, per run, with all of the machine to itself.
        workers: how many runs train at once when nothing else is asked for; they share a CPU's cores.
        memory_bytes: while all of them train.
        disk_bytes: at the end.
    """

    seconds: dict[str, float]
    workers: int
    memory_bytes: int
    disk_bytes: int


def estimate(plan: Plan) -> Estimate:
    """Trains each network of the plan for a few steps on noise of the right shape. Reads every case once."""
    cases = sorted({key for run in plan.runs for key in run.fold.train + run.fold.test})
    slices = {}
    channels = 1
    for key in cases:
        case = plan.dataset.read(key)
        slices[key] = case.image.geometry.shape[0]
        channels = channel_count(plan.spec, case)
    preprocessing = preprocessing_of(plan.spec)
    pixel_bytes = preprocessing.size**2 * (channels * FLOAT_BYTES + 1)

    per_slice: dict[str, float] = {}
    parameters: dict[str, int] = {}
    memory = 0
    for run in plan.runs:
        if run.network.title not in per_slice:
            timed = _time_network(plan, run, channels)
            per_slice[run.network.title], parameters[run.network.title], peak = timed
            memory = max(memory, peak)
    training = {run.name: sum(slices[key] for key in run.fold.train) for run in plan.runs}
    # Processes of one network share out the cores of a CPU, but each GPU adds its own speed; all hold all slices.
    devices = plan.spec.train.devices
    faster = devices if device_of(plan.spec.train).type == "cuda" else 1
    workers = usual_workers(plan)
    return Estimate(
        seconds={
            run.name: per_slice[run.network.title] * training[run.name] * plan.epochs_of(run) / faster
            for run in plan.runs
        },
        workers=workers,
        memory_bytes=workers
        * devices
        * (memory + sum(slices.values()) * pixel_bytes * 2),  # the cache's copy, the device's
        disk_bytes=sum(slices.values()) * pixel_bytes
        + sum(parameters[run.network.title] * FLOAT_BYTES + len(run.fold.test) * PREDICTION_BYTES for run in plan.runs)
        + 3 * FLOAT_BYTES * max(parameters.values()),  # the checkpoint of the run under way
    )


def render(plan: Plan, cost: Estimate) -> Group:
    """The list of runs with their times, and the totals."""
    table = Table("network", "loss", "organ", "fold", "seed", "patients: train, test", "time", box=None, pad_edge=False)
    for run in plan.runs:
        patients = [len({key.patient_id for key in part}) for part in (run.fold.train, run.fold.test)]
        done = plan.run_folder(run).is_done
        table.add_row(
            run.network.title,
            run.loss.title,
            run.organ or "all",
            str(run.fold.index),
            str(run.seed),
            f"{patients[0]}, {patients[1]}",
            "done" if done else duration(cost.seconds[run.name]),
        )
    left = sum(cost.seconds[run.name] for run in plan.runs if not plan.run_folder(run).is_done)
    workers = f"{cost.workers} workers at once, " if cost.workers > 1 else ""
    totals = (
        f"{len(plan.runs)} runs, about {duration(left)} to go, {workers}{cost.memory_bytes / 2**30:.1f} GiB of memory, "
        f"{cost.disk_bytes / 2**30:.2f} GiB on disk in {plan.folder}; {plan.precision} on "
        f"{device_of(plan.spec.train)}, {torch.get_num_threads()} threads"
    )
    return Group(table, "", totals, *(f"note: {warning}" for warning in plan.warnings))


def _time_network(plan: Plan, run: Run, channels: int) -> tuple[float, int, int]:
    """Seconds per training slice, parameters, and the peak of memory in bytes."""
    device = device_of(plan.spec.train)
    size = plan.spec.preprocess.size
    classes = task_label_set(plan.dataset.label_set, run.organ).class_count
    count = 2 * plan.spec.train.batch_size
    labels = torch.randint(0, classes, (count, size, size), dtype=torch.uint8, device=device)
    noise = SliceSet(torch.randn(count, channels, size, size, device=device), labels)
    network = network_of(run.network, channels=channels, classes=classes, size=size, seed=run.seed).to(device)
    clock = _Clock(device)
    try:
        _train_briefly(plan, run, network, noise, clock)
    except (ArithmeticError, RuntimeError, ValueError) as error:
        raise BadSpec(f"{run.name} cannot train on this machine: {str(error).splitlines()[0]}.") from error
    peak = (
        torch.cuda.max_memory_allocated(device)
        if device.type == "cuda"
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    )
    seconds = (clock.at[-1] - clock.at[0]) / (len(clock.at) - 1) / count
    return seconds, sum(parameter.numel() for parameter in network.parameters()), peak


def _train_briefly(plan: Plan, run: Run, network: nn.Module, noise: SliceSet, clock: _Clock) -> None:
    classes = task_label_set(plan.dataset.label_set, run.organ).class_count
    fit(
        network,
        loss_of(run.loss, [1 / classes] * classes).to(noise.images.device),
        Batches(noise, batch_size=plan.spec.train.batch_size, seed=0, augmentation=augmentation_of(plan.spec.train)),
        replace(schedule_of(plan.spec.train, plan.precision), epochs=TIMED_EPOCHS),
        resume=None,
        save=_keep_nothing,
        validate=lambda _: {},
        progress=clock,
    )


class _Clock:
    """Notes when each epoch ends."""

    def __init__(self, device: torch.device) -> None:
        self.at: list[float] = []
        self._device = device

    def step(self, epoch: int, step: int, steps: int) -> None:
        """Steps are not timed one by one: a GPU answers before it is done."""

    def epoch(self, rows: object) -> None:
        """An epoch has ended, and its work with it."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self.at.append(time.monotonic())


def _keep_nothing(_: TrainingState) -> None:
    """The timed steps leave no checkpoint."""

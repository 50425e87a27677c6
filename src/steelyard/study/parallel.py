"""One network trained by several processes at once: each takes its rows of every batch, and all take the same step."""

from __future__ import annotations

import contextlib
import copy
import os
import pickle
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.util import find_spec
from typing import Any

import torch
from torch import distributed, nn

from steelyard.batches.order import Batches
from steelyard.batches.slices import SliceSet
from steelyard.checkpoint import TrainingState
from steelyard.errors import BadSpec, Interrupted
from steelyard.study.gradient_probe import GradientProbe
from steelyard.study.interrupt import stop_on_signals
from steelyard.study.pooled_norm import with_pooled_norms
from steelyard.study.process_group import fault_behind, meet, one_line, started, threads_shared
from steelyard.study.spec import TrainTable
from steelyard.train import Observed, Progress, Schedule, fit

FOLLOW = "from steelyard.study.parallel import follow; follow()"
CANNOT_BE_SENT = (pickle.PicklingError, AttributeError, TypeError, RuntimeError)  # pickle and torch, each in its way


class ProcessKilled(RuntimeError):
    """A signal ended another process of the training: for want of memory, often, and not by the network's fault."""


def device_errors(train: TrainTable) -> list[str]:
    """A line for each reason why [train] devices cannot be had here; none for 1."""
    errors: list[str] = []
    if train.devices == 1:
        return errors
    wanted = f"[train] devices = {train.devices}"
    if find_spec("lightning_fabric") is None:
        errors.append(f"{wanted} needs lightning-fabric. Install steelyard[ddp].")
    if train.batch_size < train.devices:
        errors.append(
            f"{wanted}, but a batch of {train.batch_size} slices cannot be shared by so many. Raise batch_size."
        )
    if ":" in train.device:
        errors.append(f'{wanted}, but device {train.device!r} is one alone. Use "cuda", or devices = 1.')
    elif train.device != "cpu" and 0 < torch.cuda.device_count() < train.devices:
        errors.append(f"{wanted}, but torch sees {torch.cuda.device_count()} GPUs here. Ask for no more than these.")
    return errors


def fit_in_parallel(
    network: nn.Module,
    loss: nn.Module,
    batches: Batches,
    schedule: Schedule,
    *,
    devices: int,
    resume: TrainingState | None,
    save: Callable[[TrainingState], None],
    validate: Callable[[nn.Module], Mapping[str, float | None]],
    progress: Progress,
    stop: Callable[[], bool] = lambda: False,
    observe: GradientProbe | None = None,
) -> list[dict[str, Any]]:
    """`fit` with `devices` processes on this machine: the same steps, states and history, and the network trained.

    This process is the first; it alone saves, validates and reports, while all observe, each its rows. The others are
    started for this training and end with it. On a GPU process i takes the visible GPU i; on the CPU the processes
    share out the threads. Loss, gradient and batch normalisation are those of the whole batch, so that the weights are
    those of one process up to rounding; dropout alone draws other numbers.

    Raises:
        BadSpec: a batch of fewer slices than processes, or a network that cannot be sent to another process.
        Interrupted: `stop` answered True, or a signal came to another process; all stop before the same step.
        ArithmeticError: the loss is not a finite number any more.
        ProcessKilled: another process was killed; the last saved state stands.
        RuntimeError: another process failed; with what it said.
    """
    kind = batches.slices.images.device.type
    try:
        own = batches.of_process(0, devices)
    except ValueError as error:
        raise BadSpec(f"[train] devices = {devices}: {error}") from error
    work = _packed(network, loss, batches, schedule, resume, observe, devices=devices)
    with threads_shared(devices), started(FOLLOW, work, processes=devices, stop=stop) as (others, store):
        try:
            with _fabric(0, devices, store, kind) as fabric:
                return _fit_together(
                    fabric,
                    network,
                    loss,
                    own,
                    schedule,
                    resume=resume,
                    save=save,
                    validate=validate,
                    progress=progress,
                    stop=stop,
                    observe=_of_process(observe, 0, devices),
                )
        except RuntimeError as error:
            if (fault := fault_behind(error, others)) is not None:
                was_killed = any((other.running.returncode or 0) < 0 for other in others)
                raise (ProcessKilled if was_killed else RuntimeError)(fault) from error
            raise


def follow() -> None:
    """What every process but the first does; `fit_in_parallel` starts it."""
    try:
        kind, network, loss, batches, schedule, resume, observe = pickle.load(sys.stdin.buffer)
        process, processes, store = meet()
        with (
            stop_on_signals() as stop,
            _fabric(process, processes, store, kind) as fabric,
            contextlib.suppress(Interrupted, ArithmeticError),  # raised in the first process as well, which says so
        ):
            batches.slices = _on(batches.slices, fabric.device)
            _fit_together(
                fabric,
                network.to(fabric.device),
                loss.to(fabric.device),
                batches.of_process(process, processes),
                schedule,
                resume=resume,
                save=_leave_to_the_first,
                validate=lambda _: {},
                progress=_Silent(),
                stop=stop,
                observe=_of_process(observe and observe.on(fabric.device), process, processes),
            )
    except Exception as error:
        print(one_line(error), file=sys.stderr, flush=True)
        os._exit(1)


def _fit_together(
    fabric: Any,
    network: nn.Module,
    loss: nn.Module,
    batches: Batches,
    schedule: Schedule,
    *,
    validate: Callable[[nn.Module], Mapping[str, float | None]],
    stop: Callable[[], bool],
    observe: Callable[[nn.Module], Iterable[Observed]],
    **same: Any,
) -> list[dict[str, Any]]:
    """The one training loop, in every process, on a copy of the network wrapped so that gradients are averaged."""
    shared = with_pooled_norms(network, fabric.device)
    history = fit(
        fabric.setup_module(shared, move_to_device=False),
        loss,
        batches,
        schedule,
        validate=lambda _: validate(shared),  # in the first process alone: the wrapper would wait for the others
        stop=lambda: _any_process(stop()),
        observe=lambda _: observe(shared),
        **same,
    )
    network.load_state_dict(shared.state_dict())
    return history


def _any_process(asked: bool) -> bool:
    """True in all processes, before the same step, when it is True in one: a scheduler may signal any of them.

    On the CPU, so that no GPU is made to wait, and so that a process that died is noticed at once: NCCL waits for it.
    """
    flag = torch.tensor(int(asked))
    distributed.all_reduce(flag, op=distributed.ReduceOp.MAX)
    return bool(flag)


@contextlib.contextmanager
def _fabric(process: int, processes: int, store: distributed.Store, kind: str) -> Iterator[Any]:  # type: ignore[name-defined]
    """A Fabric that wraps networks for this group of processes, which this one leaves at the end."""
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment
    from lightning_fabric.strategies.ddp import DDPStrategy

    class Started(LightningEnvironment):  # type: ignore[misc]
        """One machine, whose processes are there already, whatever a scheduler's variables say."""

        @property
        def creates_processes_externally(self) -> bool:
            return True

        def local_rank(self) -> int:
            return process

        def node_rank(self) -> int:
            return 0

    backend = "cpu:gloo,cuda:nccl" if kind == "cuda" else "gloo"
    distributed.init_process_group(backend, store=store, rank=process, world_size=processes)
    try:
        strategy = DDPStrategy(cluster_environment=Started(), process_group_backend=backend)
        fabric = Fabric(
            accelerator=kind, devices=list(range(processes)) if kind == "cuda" else processes, strategy=strategy
        )
        fabric.launch()
        yield fabric
    finally:
        distributed.destroy_process_group()


def _packed(
    network: nn.Module,
    loss: nn.Module,
    batches: Batches,
    schedule: Schedule,
    resume: TrainingState | None,
    observe: GradientProbe | None,
    *,
    devices: int,
) -> bytes:
    """All that another process needs, from the CPU: one that unpacks it opens no other's GPU."""
    kind, cpu = batches.slices.images.device.type, torch.device("cpu")
    sent = copy.copy(batches)
    sent.slices = _on(batches.slices, cpu)
    work = (schedule, resume, observe and observe.on(cpu))
    try:
        return pickle.dumps((kind, copy.deepcopy(network).to(cpu), copy.deepcopy(loss).to(cpu), sent, *work))
    except CANNOT_BE_SENT as error:
        raise BadSpec(
            f"[train] devices = {devices}: network and loss go to other processes, and cannot ({one_line(error)}). "
            "Define them in a module, without lambdas, or use devices = 1."
        ) from error


def _of_process(
    observe: GradientProbe | None, process: int, processes: int
) -> Callable[[nn.Module], Iterable[Observed]]:
    return (lambda _: ()) if observe is None else observe.of_process(process, processes)


def _on(slices: SliceSet, device: torch.device) -> SliceSet:
    return SliceSet(slices.images.to(device), slices.labels.to(device))


class _Silent:
    def step(self, epoch: int, step: int, steps: int) -> None:
        """The first process reports."""

    def epoch(self, rows: list[dict[str, Any]]) -> None:
        """The first process reports."""


def _leave_to_the_first(_: TrainingState) -> None:
    """The first process saves."""

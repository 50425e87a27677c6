"""Training: one visible loop, the same for every network and every loss."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from steelyard.batches.order import Batches, seeded
from steelyard.checkpoint import TrainingState
from steelyard.cuda_graph import ReplayedStep, is_replayable
from steelyard.errors import Interrupted
from steelyard.freed_memory import freed_memory_kept
from steelyard.precision import Precision, autocast

Observed = tuple[str, str | None, float | None]  # quantity, organ, value: a row of the history but for its epoch
HOW = ("fused", "foreach", "capturable")  # a group's settings that change how a step is taken, and not which
SECONDS_BETWEEN_SAVES = 20.0  # what a kill -9 may cost, beside the epoch under way


@dataclass(frozen=True)
class Schedule:
    """How long and how fast. The defaults are the study's; L2 is its toolbox's default.

    Args:
        epochs: passes over the training slices.
        optimiser: `sgdm` (stochastic gradient descent with momentum) or `adamw`.
        learning_rate: of the first epoch.
        drop_factor, drop_every: the rate is multiplied by `drop_factor` every `drop_every` epochs.
        momentum: of `sgdm`.
        l2: weight decay, on weights but not on biases and normalisation.
        precision: `bf16` runs the network under autocast; losses, weights and updates stay in float32.
        validate_every: epochs between two looks at the held-out patients; the last epoch is always looked at.
    """

    epochs: int = 500
    optimiser: Literal["sgdm", "adamw"] = "sgdm"
    learning_rate: float = 0.005
    drop_factor: float = 0.9
    drop_every: int = 20
    momentum: float = 0.9
    l2: float = 1e-4
    precision: Precision = "fp32"
    validate_every: int = 5

    def rate(self, epoch: int) -> float:
        """The learning rate of an epoch, counted from 0."""
        return self.learning_rate * self.drop_factor ** (epoch // self.drop_every)


class Progress(Protocol):
    """Told after every step and every epoch; draws a bar or prints a line."""

    def step(self, epoch: int, step: int, steps: int) -> None: ...

    def epoch(self, rows: list[dict[str, Any]]) -> None: ...


@freed_memory_kept()
def fit(
    network: nn.Module,
    loss: nn.Module,
    batches: Batches,
    schedule: Schedule,
    *,
    resume: TrainingState | None,
    save: Callable[[TrainingState], None],
    validate: Callable[[nn.Module], Mapping[str, float | None]],
    progress: Progress,
    stop: Callable[[], bool] = lambda: False,
    observe: Callable[[nn.Module], Iterable[Observed]] = lambda _: (),
) -> list[dict[str, Any]]:
    """Train in place; the history comes back as tidy rows {epoch, quantity, organ, value}.

    `validate` answers with the held-out IoU per organ, which is recorded and never chooses anything. `observe` is
    asked after the first epoch and whenever `validate` is; its rows are recorded likewise, and it leaves the network's
    weights as they are. `save` is called with a state from which training goes on bit-identically (on a CPU, at the
    same thread count): every `SECONDS_BETWEEN_SAVES`, and at the end. Random numbers depend on seed and epoch alone.

    Raises:
        Interrupted: `stop` answered True; the last saved state stands.
        ArithmeticError: the loss is not a finite number any more.
    """
    optimiser = make_optimiser(network, schedule)
    history: list[dict[str, Any]] = []
    if resume is not None:
        network.load_state_dict(resume.network)
        optimiser.load_state_dict(_carried_out_here(resume.optimiser, optimiser))
        history = list(resume.history)
    saved_at = time.monotonic()

    def take_step(images: Tensor, target: Tensor) -> Tensor:
        optimiser.zero_grad(set_to_none=True)
        with autocast(images.device, schedule.precision):
            logits = network(images.contiguous(memory_format=torch.channels_last))
        value = loss(logits, target)
        value.backward()
        optimiser.step()
        return value.detach()

    device = batches.slices.images.device
    replayed = ReplayedStep(take_step, device) if device.type == "cuda" and is_replayable(network, loss) else None

    for epoch in range(0 if resume is None else resume.epoch, schedule.epochs):
        started = time.monotonic()
        for group in optimiser.param_groups:
            group["lr"] = schedule.rate(epoch)
        network.train()
        total = torch.zeros((), device=device)
        with seeded_dropout(batches, epoch):
            for step, (images, target) in enumerate(batches.epoch(epoch)):
                if stop():
                    raise Interrupted(f"stopped in epoch {epoch + 1} of {schedule.epochs}")
                if replayed is None:
                    total += take_step(images, target)
                else:
                    total += replayed(images, target, constants=schedule.rate(epoch))
                progress.step(epoch, step, len(batches))

        mean = float(total) / len(batches)
        if not math.isfinite(mean):
            raise ArithmeticError(f"the loss became {mean} in epoch {epoch + 1}; lower the learning rate")
        rows = [_row(epoch, "training_loss", None, mean), _row(epoch, "learning_rate", None, schedule.rate(epoch))]
        last = epoch + 1 == schedule.epochs
        looks = last or (epoch + 1) % schedule.validate_every == 0
        if looks or epoch == 0:  # all processes of a training together, before the first of them validates
            rows += [_row(epoch, *observed) for observed in observe(network)]
        if looks:
            rows += [_row(epoch, "validation_iou", organ, iou) for organ, iou in validate(network).items()]
        rows.append(_row(epoch, "seconds", None, time.monotonic() - started))
        history += rows
        progress.epoch(rows)
        if last or time.monotonic() - saved_at > SECONDS_BETWEEN_SAVES:
            save(TrainingState(epoch + 1, network.state_dict(), optimiser.state_dict(), history))
            saved_at = time.monotonic()
    return history


def make_optimiser(network: nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    """SGDM or AdamW with weight decay on matrices and kernels only; on a CPU in one pass over each parameter."""
    weights = [p for p in network.parameters() if p.requires_grad and p.ndim > 1]
    others = [p for p in network.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [{"params": weights, "weight_decay": schedule.l2}, {"params": others, "weight_decay": 0.0}]
    on_gpu = all(parameter.is_cuda for parameter in [*weights, *others])
    if schedule.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=schedule.learning_rate, capturable=on_gpu, fused=not on_gpu)
    return torch.optim.SGD(groups, lr=schedule.learning_rate, momentum=schedule.momentum, fused=not on_gpu)


def _carried_out_here(state: Mapping[str, Any], optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """A saved state whose steps are carried out as this optimiser's are: it may come from another kind of device."""
    groups = [
        saved | {name: own[name] for name in HOW if name in own}
        for saved, own in zip(state["param_groups"], optimiser.param_groups, strict=True)
    ]
    return dict(state) | {"param_groups": groups}


@contextlib.contextmanager
def seeded_dropout(batches: Batches, epoch: int) -> Iterator[None]:
    """Dropout's random numbers from seed, epoch and process; the caller's generator is put back afterwards."""
    purpose = f"dropout {batches.process}" if batches.process else "dropout"  # else all processes would drop alike
    device = batches.slices.images.device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seeded(batches.seed, epoch, purpose).initial_seed())
        yield


def _row(epoch: int, quantity: str, organ: str | None, value: float | None) -> dict[str, Any]:
    return {"epoch": epoch + 1, "quantity": quantity, "organ": organ, "value": value}

"""A look at where the loss spends its gradient while a network trains, on the same few slices each time."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from steelyard.batches.slices import SliceSet
from steelyard.losses.processes import sum_over_processes
from steelyard.precision import Precision
from steelyard.predict import predict_logits
from steelyard.study.gradient_kinds import KINDS
from steelyard.study.gradient_map import gradient_map, shares

FEWEST_SLICES = 16  # at least so many are looked at: a percent of an epoch's work, and all kinds of pixels are met


@dataclass(frozen=True, eq=False)
class GradientProbe:
    """Told of a network, answers with rows of the history: quantity, organ, share. Network and loss stay as they were.

    The slices are training slices as they are, not augmented, and make whole batches of the training's size, over
    which a loss pools as it does in training. The network is in eval mode: without dropout, with the normalisation that
    it has learned. Quantities are those of `KINDS`, for each class that such pixels can belong to.

    Several processes share the batches as they do in training: each looks at its rows, and all must look at once.
    """

    slices: SliceSet
    batch_size: int
    loss: nn.Module
    class_names: tuple[str, ...]
    precision: Precision
    process: int = 0
    processes: int = 1

    def of_process(self, process: int, processes: int) -> GradientProbe:
        """The same look, of which only one process's rows are taken here."""
        return replace(self, process=process, processes=processes)

    def on(self, device: torch.device) -> GradientProbe:
        """The same look on another device."""
        slices = SliceSet(self.slices.images.to(device), self.slices.labels.to(device))
        return replace(self, slices=slices, loss=copy.deepcopy(self.loss).to(device))

    def __call__(self, network: nn.Module) -> list[tuple[str, str, float | None]]:
        loss = copy.deepcopy(self.loss)  # one that remembers what it saw shall not remember this
        maps = []
        for images, labels in zip(
            self.slices.images.split(self.batch_size), self.slices.labels.split(self.batch_size), strict=True
        ):
            own = slice(self.process, None, self.processes)
            logits = predict_logits(network, images[own], precision=self.precision)
            maps.append(gradient_map(logits, labels[own].long(), loss))
        spent = sum_over_processes(torch.stack(maps).sum(0))
        of_kind = {kind.name: kind.quantity for kind in KINDS}
        return [(of_kind[kind], self.class_names[index], share) for (kind, index), share in shares(spent).items()]


def gradient_probe(
    training: SliceSet, loss: nn.Module, *, batch_size: int, class_names: Sequence[str], precision: Precision
) -> GradientProbe:
    """A look at `FEWEST_SLICES` training slices, or at as many more as fill the last batch.

    They lie at even steps in the order of how much organ they hold, so that organ-free slices and large organs have the
    share that they have in training; and each batch holds little and much. The same for every loss and seed.
    """
    batch_size = min(batch_size, len(training))
    batches = min(-(-FEWEST_SLICES // batch_size), len(training) // batch_size)
    count = batches * batch_size
    by_size = (training.labels > 0).flatten(1).sum(1).argsort(stable=True)
    even = by_size[(2 * torch.arange(count, device=by_size.device) + 1) * len(training) // (2 * count)]
    dealt = even.reshape(batch_size, batches).T.flatten()  # the first batch has the first, the batches-th after it, …
    slices = SliceSet(training.images[dealt], training.labels[dealt])
    return GradientProbe(slices, batch_size, loss, tuple(class_names), precision)

"""Batches of slices: shuffled anew every epoch and changed at random, the same for every loss that is compared."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from steelyard.batches.slices import SliceSet


@runtime_checkable
class Augmentation(Protocol):
    """Changes a batch of images and labels at random, with nothing but the generator's numbers."""

    def __call__(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]: ...


class Batches:
    """Batches of one fold's training slices, a function of seed and epoch alone.

    Order and augmentation of epoch e depend on (seed, e) only: every loss sees the same batches, and a resumed
    training sees what an uninterrupted one would. The slices left over after the last full batch are left out of the
    epoch (others the next time), as the study's toolbox does; a set smaller than a batch is one batch.
    """

    def __init__(self, slices: SliceSet, *, batch_size: int, seed: int, augmentation: Augmentation | None) -> None:
        if len(slices) == 0:
            raise ValueError("there is no slice to train on; give the fold at least one case.")
        self.slices = slices
        self.batch_size = min(batch_size, len(slices))
        self.seed = seed
        self.augmentation = augmentation
        self.process, self.processes = 0, 1

    def of_process(self, process: int, processes: int) -> Batches:
        """The same batches, of which only one process's rows are yielded: every `processes`-th, from row `process` on.

        All processes' rows together are the whole batch, changed at random as it would be in one process.
        """
        if processes > self.batch_size:
            raise ValueError(
                f"a batch of {self.batch_size} slices cannot be shared by {processes} processes; take larger batches."
            )
        shared = copy.copy(self)
        shared.process, shared.processes = process, processes
        return shared

    def __len__(self) -> int:
        return len(self.slices) // self.batch_size

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields images (batch, channel, row, column) float32 and target (batch, row, column) int64, this process's."""
        order = torch.randperm(len(self.slices), generator=seeded(self.seed, epoch, "order"))
        order = order.to(self.slices.images.device, non_blocking=True)
        random = seeded(self.seed, epoch, "augmentation")
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            chosen = order[start : start + self.batch_size]
            images, labels = self.slices.images[chosen], self.slices.labels[chosen]
            if self.augmentation is not None:  # of all rows: as many draws in every process
                images, labels = self.augmentation(images, labels, random)
            yield images[self.process :: self.processes], labels[self.process :: self.processes].long()


def seeded(seed: int, epoch: int, purpose: str) -> torch.Generator:
    """A CPU generator for one purpose in one epoch, unrelated to all others."""
    digest = hashlib.sha256(f"{seed}/{epoch}/{purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))

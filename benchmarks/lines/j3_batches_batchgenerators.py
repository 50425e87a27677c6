"""Augmented batches of slices in memory, beside batchgeneratorsv2's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from benchmarks.line import Limit, Line, Work
from benchmarks.loader_sides import (
    EPOCH,
    batchgenerators_loader,
    check_same_batches,
    epoch_of,
    our_epoch,
    passed_once,
    slices,
)

if TYPE_CHECKING:
    from torch import Tensor

    from steelyard.batches.slices import SliceSet

LINE = Line(
    "the same batches",
    "nnU-Net's batchgeneratorsv2 SpatialTransform (without shear) in a DataLoader (2 workers)",
    wanted=1.0,
    of=(EPOCH, "slices"),
    repeats=9,
    measures_memory=False,  # the peer's loader works in processes of its own
    needs=("batchgeneratorsv2",),
)

ours = our_epoch


def peer() -> Work:
    return epoch_of(batchgenerators_loader(slices(EPOCH)))


def same() -> None:
    check_same_batches(_batches, slices(EPOCH))


def limit() -> Limit:
    return passed_once()


def _batches(held: SliceSet) -> Iterator[tuple[Tensor, Tensor]]:
    return ((batch["image"], batch["segmentation"][:, 0]) for batch in batchgenerators_loader(held))

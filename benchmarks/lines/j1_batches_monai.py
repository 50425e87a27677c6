"""Augmented batches of slices in memory, beside MONAI's."""

from __future__ import annotations

from benchmarks.line import Limit, Line, Work
from benchmarks.loader_sides import (
    EPOCH,
    SIZE,
    check_same_batches,
    epoch_of,
    monai_batches,
    monai_loader,
    our_epoch,
    passed_once,
    slices,
)

LINE = Line(
    f"batches of an epoch of {EPOCH} slices of {SIZE} × {SIZE}, moved, turned, sheared and scaled at random",
    "MONAI Dataset, RandAffined and DataLoader (2 workers)",
    wanted=1.0,
    of=(EPOCH, "slices"),
    repeats=9,
    measures_memory=False,  # the peer's loader works in processes of its own
    needs=("monai",),
)

ours = our_epoch


def peer() -> Work:
    return epoch_of(monai_loader(slices(EPOCH)))


def same() -> None:
    check_same_batches(monai_batches, slices(EPOCH))


def limit() -> Limit:
    return passed_once()

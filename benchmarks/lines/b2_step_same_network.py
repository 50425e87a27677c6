"""Training steps with the same network on both sides: what the loop around it, its layout and precision are worth."""

from __future__ import annotations

from benchmarks.line import Limit, Line, Work
from benchmarks.loader_sides import BATCH, SIZE, check_same_batches, monai_batches, slices
from benchmarks.training_sides import STEPS, arithmetic, monai_epoch, our_epochs, our_network

LINE = Line(
    f"the same with our network on both sides, {STEPS} steps of {BATCH} × {SIZE} × {SIZE}",
    "our network in float32, channels first, in MONAI's loop",
    wanted=3.0,
    of=(STEPS * BATCH, "slices"),
    repeats=7,
    measures_memory=False,
    needs=("bf16", "monai"),
)

ours = our_epochs


def peer() -> Work:
    import torch

    return monai_epoch(our_network().to(memory_format=torch.contiguous_format))


def same() -> None:
    check_same_batches(monai_batches, slices(STEPS * BATCH))


def limit() -> Limit:
    return arithmetic(our_network())

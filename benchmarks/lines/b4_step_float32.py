"""Training steps in float32 with the same network on both sides: what is gained on a processor without bf16."""

from __future__ import annotations

from benchmarks.line import Limit, Line, Work
from benchmarks.lines.b2_step_same_network import peer, same
from benchmarks.loader_sides import BATCH, SIZE
from benchmarks.training_sides import STEPS, arithmetic, our_epochs, our_network

LINE = Line(
    f"the same in float32 on both sides, {STEPS} steps of {BATCH} × {SIZE} × {SIZE}",
    "our network in float32, channels first, in MONAI's loop",
    wanted=1.0,
    of=(STEPS * BATCH, "slices"),
    repeats=7,
    measures_memory=False,
    needs=("monai",),
)

__all__ = ["LINE", "limit", "ours", "peer", "same"]


def ours() -> Work:
    return our_epochs(precision="fp32")


def limit() -> Limit:
    return arithmetic(our_network(), precision="fp32")

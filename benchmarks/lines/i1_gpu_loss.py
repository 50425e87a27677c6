"""IoU_xy loss on a GPU, beside copying as many bytes as it must move."""

from __future__ import annotations

from benchmarks.gpu_sides import (
    CALLS,
    bytes_of_loss,
    check_as_on_the_processor,
    copy_limit,
    copy_of,
    gpu_notes,
    loss_step,
    replayed,
)
from benchmarks.gpu_sides import wait as wait  # ends a turn
from benchmarks.line import Limit, Line, Work
from benchmarks.loss_sides import Loss

SHAPE = (64, 5, 256, 256)  # more than the cache of any GPU holds

LINE = Line(
    f"IoU_xy loss, forward + backward, {SHAPE} float32, on a GPU: at most 1.5 × the time of the bytes",
    "copying as many bytes as logits read twice, gradient written once and labels read twice",
    wanted=1 / 1.5,
    repeats=31,
    calls=CALLS,
    measures_memory=False,
    needs=("cuda",),
    shortfall=(
        "The H100 was measured one replay a turn, which meets a GPU that has just changed over from the other process; "
        "the H200 in turns of fifty, before the kernels were made anew. With them a replay took 120 µs there, .65 of "
        "what the copy takes, and some 7 µs of small operations went after that (docs/results/2026-11-28-gpu.md). It "
        "takes a GPU to measure this state. Sums, index and derivative in one kernel might save up to 20 µs more."
    ),
)


def ours() -> Work:
    return replayed(loss_step(_loss(), SHAPE))


def peer() -> Work:
    return copy_of(bytes_of_loss(SHAPE))


def same() -> None:
    check_as_on_the_processor(_loss(), (2, 5, 64, 64))


def limit() -> Limit:
    return copy_limit(SHAPE)


def notes() -> list[str]:
    return gpu_notes(_loss(), SHAPE)


def _loss() -> Loss:
    from steelyard.losses import IoULoss

    return IoULoss(fp_weight=0.5, fn_weight=1.5)

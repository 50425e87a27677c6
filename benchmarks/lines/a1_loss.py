"""IoU_xy forward and backward on two-dimensional slices."""

from __future__ import annotations

from benchmarks.line import Limit, Line, Work
from benchmarks.machine import copy_bytes_per_second, exponentials_per_second

SHAPE = (16, 5, 256, 256)

LINE = Line(
    "IoU_xy loss, forward + backward, (16, 5, 256, 256) float32",
    "MONAI TverskyLoss(softmax, to_onehot_y, batch)",
    wanted=8.0,
    wanted_memory=1 / 3,
    repeats=31,
)


def inputs():
    import torch

    torch.manual_seed(0)
    batch, classes, *space = SHAPE
    return torch.randn(SHAPE).requires_grad_(), torch.randint(0, classes, (batch, *space))


def ours() -> Work:
    from steelyard.losses import IoULoss

    logits, target = inputs()
    loss = IoULoss(fp_weight=0.5, fn_weight=1.5)

    def work() -> None:
        logits.grad = None
        loss(logits, target).backward()

    return work


def peer() -> Work:
    from monai.losses import TverskyLoss

    logits, target = inputs()
    loss = TverskyLoss(softmax=True, to_onehot_y=True, batch=True, alpha=0.5, beta=1.5)

    def work() -> None:
        logits.grad = None
        loss(logits, target[:, None]).backward()

    return work


def limit() -> Limit:
    import math

    numbers = math.prod(SHAPE)
    labels = numbers // SHAPE[1]
    moved = 3 * 4 * numbers + 2 * 8 * labels  # logits read twice, gradient written once, labels read twice
    by_memory, by_exp = moved / copy_bytes_per_second(), 2 * numbers / exponentials_per_second()
    return Limit(
        max(by_memory, by_exp),
        f"{moved / 1e6:.0f} MB moved take {1e3 * by_memory:.1f} ms, {2 * numbers / 1e6:.0f} million exponentials "
        f"{1e3 * by_exp:.1f} ms",
    )


def notes() -> list[str]:
    """Without a compiler."""
    import statistics
    import time

    from steelyard.losses import native_counts

    found = {}
    plain = native_counts._library
    for name, work in (("compiled", ours()), ("torch alone", ours())):
        native_counts._library = plain if name == "compiled" else lambda: None  # type: ignore[assignment]
        work()
        times = []
        for _ in range(15):
            started = time.perf_counter()
            work()
            times.append(time.perf_counter() - started)
        found[name] = statistics.median(times)
    native_counts._library = plain
    alone, compiled = 1e3 * found["torch alone"], 1e3 * found["compiled"]
    return [f"without a compiler at run time {alone:.1f} ms, with it {compiled:.1f} ms"]

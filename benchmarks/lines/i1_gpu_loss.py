"""IoU_xy on a GPU, beside copying as many bytes as it must move."""

from __future__ import annotations

import math

from benchmarks.line import Limit, Line, Work
from benchmarks.loss_sides import inputs

SHAPE = (64, 5, 256, 256)  # more than the cache of any GPU holds

LINE = Line(
    f"IoU_xy loss, forward + backward, {SHAPE} float32, on a GPU: at most 1.5 × the time of the bytes",
    "copying as many bytes as logits read twice, gradient written once and labels read twice",
    wanted=1 / 1.5,
    repeats=31,
    measures_memory=False,
    needs=("cuda",),
    shortfall=(
        "No GPU was at hand. The road there is torch's own operators in one piece, which reads and writes more "
        "often than the limit allows; it would take a Triton kernel like the C file, and a GPU to prove it."
    ),
)


def ours() -> Work:
    import torch

    from steelyard.losses import IoULoss

    logits, target = (tensor.detach().cuda() for tensor in inputs(SHAPE))
    logits.requires_grad_()
    loss = IoULoss(fp_weight=0.5, fn_weight=1.5)

    def work() -> None:
        loss(logits, target).backward()
        logits.grad = None
        torch.cuda.synchronize()

    return work


def peer() -> Work:
    import torch

    source = torch.zeros(_bytes() // 2, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)

    def work() -> None:
        target.copy_(source)
        torch.cuda.synchronize()

    return work


def same() -> None:
    """The GPU's gradient is the processor's."""
    import torch

    from steelyard.losses import IoULoss

    loss, found = IoULoss(fp_weight=0.5, fn_weight=1.5), []
    for device in ("cpu", "cuda"):
        logits, target = (tensor.detach().to(device) for tensor in inputs((2, 5, 64, 64)))
        loss(logits.requires_grad_(), target).backward()
        found.append(logits.grad.cpu())
    if not torch.allclose(*found, rtol=1e-4, atol=1e-8):
        raise AssertionError("the GPU's gradient differs from the processor's")


def limit() -> Limit:
    import statistics
    import time

    work, times = peer(), []
    for _ in range(31):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return Limit(statistics.median(times[1:]), f"{_bytes() / 1e6:.0f} MB moved")


def _bytes() -> int:
    numbers = math.prod(SHAPE)
    return 3 * 4 * numbers + 2 * 8 * (numbers // SHAPE[1])

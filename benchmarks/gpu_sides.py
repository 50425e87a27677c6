"""What the lines about GPUs share: work replayed as a CUDA graph, and the time of copying as many bytes."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence

from benchmarks.line import Limit, Work
from benchmarks.loss_sides import Loss, inputs

CALLS = 50  # launched one after the other and waited for once: the GPU's own time, as within a recorded step


def replayed(work: Callable[[], object]) -> Work:
    """Launched, and not waited for."""
    return recorded(work).replay


def recorded(work: Callable[[], object]):
    """As torch's guide records a graph: the work done a few times on a side stream, then recorded."""
    import torch

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph


def wait() -> None:
    import torch

    torch.cuda.synchronize()


def waited_for(work: Callable[[], object]) -> Work:
    def and_wait() -> None:
        work()
        wait()

    return and_wait


def loss_step(loss: Loss, shape: Sequence[int]) -> Callable[[], object]:
    """Forward and backward on the GPU, launched and not waited for."""
    logits, target = (tensor.detach().cuda() for tensor in inputs(shape))
    logits.requires_grad_()

    def step() -> None:
        logits.grad = None
        loss(logits, target).backward()

    return step


def copy_of(count: int) -> Work:
    """Half as many bytes read and written again; launched, and not waited for."""
    import torch

    source = torch.randint(0, 256, (count // 2,), dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return lambda: target.copy_(source)


def bytes_of_loss(shape: Sequence[int]) -> int:
    """Logits read twice, their gradient written once, labels of eight bytes read twice."""
    numbers = math.prod(shape)
    return 3 * 4 * numbers + 2 * 8 * (numbers // shape[1])


def copy_limit(shape: Sequence[int]) -> Limit:
    count = bytes_of_loss(shape)
    copy = copy_of(count)

    def copies() -> None:
        for _ in range(CALLS):
            copy()

    seconds = median_seconds(waited_for(copies)) / CALLS
    return Limit(seconds, f"{count / 1e6:.0f} MB moved at {count / seconds / 1e12:.2f} TB/s")


def gpu_notes(loss: Loss, shape: Sequence[int]) -> list[str]:
    """What a replay does not show: the time when Python launches every operation, and the memory."""
    import torch

    step = loss_step(loss, shape)
    launched = median_seconds(waited_for(step))
    step = loss_step(loss, shape)  # without a gradient from before
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step()
    extra = (torch.cuda.max_memory_allocated() - before) / 2**20
    return [
        f"Ours is replayed as a graph, as training does it; launched from Python it takes {1e6 * launched:.0f} µs. "
        f"Peak memory beyond logits and labels {extra:.0f} MiB, of which the gradient is "
        f"{4 * math.prod(shape) / 2**20:.0f}"
    ]


def check_as_on_the_processor(loss: Loss, shape: Sequence[int]) -> None:
    """Raises unless the GPU's gradient is the processor's."""
    import torch

    found = []
    for device in ("cpu", "cuda"):
        logits, target = (tensor.detach().to(device) for tensor in inputs(shape))
        loss(logits.requires_grad_(), target).backward()
        found.append(logits.grad.cpu())
    if not torch.allclose(*found, rtol=1e-4, atol=1e-4 * float(found[0].abs().max())):
        raise AssertionError("the GPU's gradient differs from the processor's")


def median_seconds(work: Work, *, repeats: int = 31) -> float:
    times = []
    for _ in range(repeats + 3):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times[3:])

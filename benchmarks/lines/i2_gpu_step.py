"""Training on a GPU, beside the bare step of the same network as a CUDA graph."""

from __future__ import annotations

from benchmarks.line import Limit, Line, Work
from benchmarks.training_sides import BATCH, SIZE, STEPS, our_epoch, our_network, slices

LINE = Line(
    f"{STEPS} training steps, deeplabv3plus_resnet18, batches of {BATCH} × {SIZE} × {SIZE}, on a GPU: share of the "
    "bare step's rate",
    "forward, backward and update of the same network as one CUDA graph, without loader and augmentation",
    wanted=0.9,
    of=(STEPS * BATCH, "slices"),
    repeats=15,
    measures_memory=False,
    needs=("cuda",),
    shortfall=(
        "No GPU was at hand. The loop has no host synchronisation and keeps its slices on the device; CUDA graphs "
        "are not used. It would take a GPU to measure what they bring."
    ),
)


def ours() -> Work:
    import torch

    epoch = our_epoch("cuda")

    def work() -> None:
        epoch()
        torch.cuda.synchronize()

    return work


def peer() -> Work:
    """As torch's guide to CUDA graphs captures a whole network: three steps on a side stream, then the capture."""
    import torch

    from steelyard.losses import IoULoss
    from steelyard.precision import autocast, fastest_precision
    from steelyard.train import Schedule, make_optimiser

    device = torch.device("cuda")
    network = our_network().to(device).train()
    held = slices()
    images = held.images[:BATCH].to(device).contiguous(memory_format=torch.channels_last)
    target = held.labels[:BATCH].to(device).long()
    loss, optimiser = IoULoss(fp_weight=0.5, fn_weight=1.5), make_optimiser(network, Schedule())

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        with autocast(device, fastest_precision(device)):
            logits = network(images)
        loss(logits, target).backward()
        optimiser.step()

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()

    def work() -> None:
        for _ in range(STEPS):
            graph.replay()
        torch.cuda.synchronize()

    return work


def same() -> None:
    """One is a part of the other: `fit` takes the same steps."""


def limit() -> Limit:
    import statistics
    import time

    work, times = peer(), []
    for _ in range(9):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return Limit(statistics.median(times), "the bare step")

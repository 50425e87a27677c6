"""Training on a GPU, beside the bare step of the same network as a CUDA graph."""

from __future__ import annotations

from benchmarks.gpu_sides import median_seconds, recorded, waited_for
from benchmarks.line import Limit, Line, Work
from benchmarks.loader_sides import BATCH, SIZE, slices
from benchmarks.training_sides import our_epochs, our_network

EPOCHS, TIMES = 3, 25  # the prepared slices are used over and over: an epoch of 100 steps

LINE = Line(
    f"training, {EPOCHS} epochs of 100 steps, deeplabv3plus_resnet18, batches of {BATCH} × {SIZE} × {SIZE}, on a GPU: "
    "share of the bare step's rate",
    "forward, backward and update of the same network as one CUDA graph, without loader and augmentation",
    wanted=0.9,
    of=(EPOCHS * 100 * BATCH, "slices"),
    repeats=7,
    measures_memory=False,
    needs=("cuda",),
    shortfall=(
        "Of 300 steps on the H200 the first three, which Python launches, and the recording took some .13 s, once. "
        "900 steps took 5.46 s where the bare ones take 5.22: .96 (docs/results/2026-11-28-gpu.md)."
    ),
)


def ours() -> Work:
    return waited_for(our_epochs("cuda", epochs=EPOCHS, times=TIMES))


def peer() -> Work:
    import torch

    from steelyard.losses import IoULoss
    from steelyard.precision import autocast, fastest_precision
    from steelyard.train import Schedule, make_optimiser

    device = torch.device("cuda")
    network = our_network().to(device).train()
    held = slices(BATCH)
    images = held.images.to(device).contiguous(memory_format=torch.channels_last)
    target = held.labels.to(device).long()
    loss, optimiser = IoULoss(fp_weight=0.5, fn_weight=1.5), make_optimiser(network, Schedule())

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        with autocast(device, fastest_precision(device)):
            logits = network(images)
        loss(logits, target).backward()
        optimiser.step()

    graph = recorded(step)

    def steps() -> None:
        for _ in range(EPOCHS * 100):
            graph.replay()

    return waited_for(steps)


def same() -> None:
    """One is a part of the other: `fit` takes the same steps."""


def limit() -> Limit:
    return Limit(median_seconds(peer(), repeats=3), "the bare step")

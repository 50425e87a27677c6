"""How much of our training step is the network itself."""

from __future__ import annotations

from benchmarks.line import Limit, Line, Work
from benchmarks.loader_sides import BATCH, SIZE, slices
from benchmarks.training_sides import CLASSES, STEPS, arithmetic, our_epochs, our_network

LINE = Line(
    "share of our training step that is the network's own forward + backward",
    "the same network alone, in the same precision, on batches at hand",
    wanted=0.9,
    of=(STEPS * BATCH, "slices"),
    repeats=15,
    shortfall=(
        "Loss, augmentation and the update of the weights took 6 % of a step in a quiet hour. Where the quartiles "
        "lie far apart, the machine's rate changed between the turns, and it would take one of one's own to tell."
    ),
)

ours = our_epochs


def peer() -> Work:
    import torch

    from steelyard.freed_memory import freed_memory_kept
    from steelyard.precision import autocast, fastest_precision

    device = torch.device("cpu")
    precision = fastest_precision(device)
    network = our_network().train()
    images = slices(BATCH).images.contiguous(memory_format=torch.channels_last)
    by_logits = torch.randn(BATCH, CLASSES, SIZE, SIZE) / (BATCH * SIZE * SIZE)
    by_logits = by_logits.contiguous(memory_format=torch.channels_last)  # as the loss's gradient comes

    @freed_memory_kept()
    def work() -> None:
        for _ in range(STEPS):
            network.zero_grad(set_to_none=True)
            with autocast(device, precision):
                logits = network(images)
            logits.backward(by_logits.to(logits.dtype))

    return work


def same() -> None:
    """One is a part of the other: `fit` calls the same network in the same way."""


def limit() -> Limit:
    return arithmetic(our_network())


def notes() -> list[str]:
    """Where the rest goes, by the profiler."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    work = our_epochs()
    work()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        work()
    events = profiler.key_averages()
    whole = sum(event.self_cpu_time_total for event in events)
    outside = {
        "augmentation's resampling": ("aten::grid_sampler_2d",),
        "loss": ("_SoftCounts", "_SoftCountsBackward"),
        "optimiser": ("Optimizer.step#SGD.step",),
    }
    said = []
    for what, names in outside.items():
        found = sum(event.cpu_time_total for event in events if event.key in names)
        said.append(f"{what} {found / whole:.1%}")
    return [f"of the step, by torch's profiler ({torch.get_num_threads()} threads): {', '.join(said)}"]

"""What the lines about training share: our loop as a study runs it, and MONAI's as its tutorials write it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.line import Limit, Work
from benchmarks.loader_sides import BATCH, SIZE, monai_loader, slices
from benchmarks.machine import operations_per_second
from benchmarks.scenes import NETWORK

if TYPE_CHECKING:
    from torch import nn

    from steelyard.precision import Precision

CLASSES, STEPS = 5, 4
PRICES = (0.5, 1.5)


def our_network() -> nn.Module:
    import torch

    from steelyard.networks.build import build_network

    network = build_network(NETWORK, 1, CLASSES, seed=1, size_px=(SIZE, SIZE))
    return network.to(memory_format=torch.channels_last)


def our_epochs(device: str = "cpu", *, epochs: int = 1, times: int = 1, precision: Precision | None = None) -> Work:
    """`fit` with the study's augmentation.

    Args:
        times: how often each slice is there in an epoch.
        precision: what a study takes on this machine when None.
    """
    import torch

    from steelyard.batches.affine import RandomAffine
    from steelyard.batches.order import Batches
    from steelyard.batches.slices import SliceSet
    from steelyard.losses import IoULoss
    from steelyard.precision import fastest_precision
    from steelyard.train import Schedule, fit

    class Silent:
        def step(self, epoch: int, step: int, steps: int) -> None:
            pass

        def epoch(self, rows: list) -> None:
            pass

    used, held = torch.device(device), slices(STEPS * BATCH)
    network = our_network().to(used)
    held = SliceSet(held.images.to(used).repeat(times, 1, 1, 1), held.labels.to(used).repeat(times, 1, 1))
    batches = Batches(held, batch_size=BATCH, seed=1, augmentation=RandomAffine())
    loss = IoULoss(fp_weight=PRICES[0], fn_weight=PRICES[1])
    schedule = Schedule(epochs=epochs, precision=precision or fastest_precision(used))
    return lambda: fit(
        network,
        loss,
        batches,
        schedule,
        resume=None,
        save=lambda _: None,
        validate=lambda _: {},
        progress=Silent(),
    )


def monai_epoch(network: nn.Module) -> Work:
    """The tutorials' loop: float32, channels first, TverskyLoss at our prices, the study's optimiser."""
    import torch
    from monai.losses import TverskyLoss

    loader = monai_loader(slices(STEPS * BATCH))
    loss = TverskyLoss(softmax=True, to_onehot_y=True, batch=True, alpha=PRICES[0], beta=PRICES[1])
    optimiser = torch.optim.SGD(network.parameters(), lr=0.005, momentum=0.9, weight_decay=1e-4)

    def epoch() -> None:
        network.train()
        total = 0.0
        for batch in loader:
            optimiser.zero_grad()
            value = loss(network(batch["image"]), batch["label"])
            value.backward()
            optimiser.step()
            total += value.item()

    return epoch


def arithmetic(network: nn.Module, *, precision: Precision | None = None) -> Limit:
    """The network's multiplications and additions, forward and twice as many backward, at the machine's best rate."""
    import torch

    from steelyard.precision import fastest_precision

    kind = {"bf16": "bfloat16", "fp32": "float32"}[precision or fastest_precision(torch.device("cpu"))]
    operations, rate = 3 * STEPS * BATCH * operations_of_slice(network), operations_per_second(kind)
    return Limit(
        operations / rate,
        f"{operations / 1e12:.1f} · 10¹² operations of our network as its sums are defined, "
        f"at {rate / 1e12:.2f} · 10¹² a second in {kind}",
    )


def operations_of_slice(network: nn.Module, *, size: int = SIZE) -> int:
    """Multiplications and additions of one slice forward, as the definition sums them.

    Counted without numbers: where there are some, a convolution may multiply less, unseen by the counter.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.to("meta").eval()(torch.zeros(1, 1, size, size, device="meta"))
    return int(counter.get_total_flops())

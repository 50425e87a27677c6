"""What the lines about training share: slices, our loop as a study runs it, and MONAI's as its tutorials write it."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.line import Limit, Work
from benchmarks.machine import operations_per_second
from benchmarks.scenes import NETWORK, phantoms

if TYPE_CHECKING:
    from torch import nn

    from steelyard.batches.slices import SliceSet
    from steelyard.precision import Precision

CLASSES, SIZE, BATCH, STEPS = 5, 256, 16, 4
PRICES = (0.5, 1.5)


def slices() -> SliceSet:
    """As many prepared phantom slices as the steps take."""
    import torch

    from steelyard.batches.slices import SliceSet, stack_slices
    from steelyard.datasets.chaos import ChaosDataset
    from steelyard.preprocess.cache import Preprocessing, prepare

    dataset = ChaosDataset(phantoms(patients=2, size=SIZE, slices=36))
    prepared = [prepare(dataset.read(key), Preprocessing(size=SIZE)) for key in dataset.keys(("t1_in",))]
    found = stack_slices(prepared, context=0, device=torch.device("cpu"), overflow=Path(tempfile.gettempdir()))
    return SliceSet(found.images[: STEPS * BATCH].clone(), found.labels[: STEPS * BATCH].clone())


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

    used, held = torch.device(device), slices()
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


def monai_loader():
    """Dictionaries, RandAffined with the study's ranges and a DataLoader, as in MONAI's 2-D segmentation tutorials.

    The images are in memory, as after its CacheDataset. Its workers are kept between epochs: the tutorials start them
    anew, which would cost more than four steps.
    """
    from monai.data import DataLoader, Dataset
    from monai.transforms import RandAffined

    turn, shear = math.radians(10), math.tan(math.radians(10))
    held = slices()
    items = [
        {"image": image, "label": label[None]} for image, label in zip(held.images, held.labels, strict=True)
    ]  # fmt: skip
    move = RandAffined(
        keys=("image", "label"),
        prob=1.0,
        rotate_range=turn,
        shear_range=(shear, shear),
        translate_range=(10, 10),
        scale_range=(0.1, 0.1),
        mode=("bilinear", "nearest"),
        padding_mode="border",
    )
    return DataLoader(
        Dataset(items, move), batch_size=BATCH, shuffle=True, drop_last=True, num_workers=2, persistent_workers=True
    )


def monai_epoch(network: nn.Module) -> Work:
    """The tutorials' loop: float32, channels first, TverskyLoss at our prices, the study's optimiser."""
    import torch
    from monai.losses import TverskyLoss

    loader = monai_loader()
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


def check_same_batches() -> None:
    """Raises unless both loaders give as many batches of one shape, with images and labels moved together alike.

    An image that is its own label map tells: after the move both must still agree nearly everywhere. How far slices
    are moved is compared by the share of pixels that change.
    """
    import torch

    from steelyard.batches.affine import RandomAffine
    from steelyard.batches.order import Batches

    held = slices()
    ours = list(Batches(held, batch_size=BATCH, seed=1, augmentation=RandomAffine()).epoch(0))
    theirs = [(batch["image"], batch["label"][:, 0]) for batch in monai_loader()]
    shapes = [[(tuple(i.shape), tuple(t.shape), i.dtype) for i, t in batches] for batches in (ours, theirs)]
    if shapes[0] != shapes[1]:
        raise AssertionError(f"batches differ: {shapes[0][0]} and {shapes[1][0]}")
    organs = [torch.cat([t.flatten() for _, t in batches]).bool().float().mean() for batches in (ours, theirs)]
    light = [torch.cat([i.as_tensor() if hasattr(i, "as_tensor") else i for i, _ in b]).std() for b in (ours, theirs)]
    for one, other in (organs, light):
        if abs(float(one / other) - 1) > 0.1:
            raise AssertionError(f"augmented slices differ: {float(one):.4f} and {float(other):.4f}")


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


def operations_of_slice(network: nn.Module) -> int:
    """Multiplications and additions of one slice forward, as the definition sums them.

    Counted without numbers: where there are some, a convolution may multiply less, unseen by the counter.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.to("meta").eval()(torch.zeros(1, 1, SIZE, SIZE, device="meta"))
    return int(counter.get_total_flops())

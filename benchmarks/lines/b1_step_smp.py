"""Training steps beside segmentation-models-pytorch's network and MONAI's loader."""

from __future__ import annotations

from benchmarks.line import Limit, Line, Work
from benchmarks.loader_sides import BATCH, SIZE, check_same_batches, monai_batches, slices
from benchmarks.training_sides import STEPS, arithmetic, monai_epoch, our_epochs, our_network

LINE = Line(
    f"{STEPS} training steps, deeplabv3plus_resnet18, batches of {BATCH} slices of {SIZE} × {SIZE}",
    "smp DeepLabV3Plus on resnet18, float32, MONAI RandAffined, DataLoader (2 workers) and TverskyLoss",
    wanted=3.0,
    of=(STEPS * BATCH, "slices"),
    repeats=7,
    measures_memory=False,  # the peer's loader works in processes of its own
    needs=("bf16", "monai", "segmentation_models_pytorch"),
    shortfall=(
        "The networks differ, as the note says: smp's has separable convolutions; with one network on both sides see "
        "b2. The ratio also follows the machine: on the Intel Xeon 2.80 to 3.71 were seen within two days, since bf16 "
        "loses more than float32 to a neighbour. Three quarters of our step are convolutions, a seventh of it the "
        "gradients of three dilated ones of 512 channels; their weights' as matrix products would save perhaps 2 %. "
        "More would take a separable variant under a name of its own."
    ),
)

ours = our_epochs


def peer() -> Work:
    return monai_epoch(_smp())


def same() -> None:
    """The batches. The networks differ: see the notes, and the next line for the same one on both sides."""
    check_same_batches(monai_batches, slices(STEPS * BATCH))


def limit() -> Limit:
    return arithmetic(our_network())


def notes() -> list[str]:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    said = []
    for name, network in (("ours", our_network()), ("smp's", _smp())):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network.eval()(torch.zeros(1, 1, SIZE, SIZE))
        parameters = sum(parameter.numel() for parameter in network.parameters())
        said.append(f"{name} {counter.get_total_flops() / 1e9:.1f} · 10⁹, {parameters / 1e6:.1f} million parameters")
    return [
        "the two networks bear one name and are not one: smp's has separable convolutions where ours, as MATLAB's, has "
        f"full ones. Operations of a slice forward: {'; '.join(said)}"
    ]


def _smp():
    import torchvision_stub

    torchvision_stub.install()
    import segmentation_models_pytorch as smp

    return smp.DeepLabV3Plus("resnet18", encoder_weights=None, in_channels=1, classes=5)

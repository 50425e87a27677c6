"""The small study as a user of MONAI writes it, after its tutorials; `python -m benchmarks.monai_study`.

Two losses, one network each (FlexibleUNet on resnet18, as large as ours), patients held out, every held-out volume
predicted, scored per organ and written to CSV. Tutorial manner: dictionary transforms, CacheDataset, DataLoader with
workers, float32, DiceMetric on the held-out patients every few epochs (spleen_segmentation_3d, 2d_segmentation and
2d_slices_from_3d_training).
"""

from __future__ import annotations

import argparse
import csv
import math
from pathlib import Path

import numpy as np
import torch
from monai.data import CacheDataset, DataLoader, Dataset
from monai.inferers import SimpleInferer
from monai.losses import DiceCELoss, TverskyLoss
from monai.metrics import (
    DiceMetric,
    HausdorffDistanceMetric,
    SurfaceDiceMetric,
    SurfaceDistanceMetric,
    compute_confusion_matrix_metric,
    compute_iou,
    get_confusion_matrix,
)
from monai.networks.nets import FlexibleUNet
from monai.networks.utils import one_hot
from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
    LoadImaged,
    MapTransform,
    NormalizeIntensityd,
    RandAffined,
    ScaleIntensityRangePercentilesd,
)
from monai.utils import set_determinism
from PIL import Image

ORGANS = {63: "liver", 126: "right_kidney", 189: "left_kidney", 252: "spleen"}
LOSSES = {
    "dice_ce": lambda: DiceCELoss(softmax=True, to_onehot_y=True, batch=True),
    "iou0515": lambda: TverskyLoss(softmax=True, to_onehot_y=True, batch=True, alpha=0.5, beta=1.5),
}


class LoadMasksd(MapTransform):
    """PNG masks of a folder as class indices (row, column, slice), in the order of the names, which is the slices'."""

    def __call__(self, data):
        found = dict(data)
        for key in self.key_iterator(found):
            masks = np.stack([np.array(Image.open(file)) for file in sorted(Path(found[key]).glob("*.png"))], axis=-1)
            labels = np.zeros(masks.shape, np.uint8)
            for index, value in enumerate(ORGANS, 1):
                labels[masks == value] = index
            found[key] = torch.from_numpy(labels)[None]
        return found


def volumes(data: Path, patients: list[str]) -> CacheDataset:
    """Image and label (channel, row, column, slice), normalised, in memory."""
    items = [
        {
            "patient": patient,
            "image": str(data / "MR" / patient / "T1DUAL" / "DICOM_anon" / "InPhase"),
            "label": str(data / "MR" / patient / "T1DUAL" / "Ground"),
        }
        for patient in patients
    ]
    transform = Compose(
        [
            LoadImaged(keys="image", reader="PydicomReader", swap_ij=False),
            EnsureChannelFirstd(keys="image", channel_dim="no_channel"),
            LoadMasksd(keys="label"),
            ScaleIntensityRangePercentilesd(keys="image", lower=0.5, upper=99.5, b_min=0, b_max=1, clip=True),
            NormalizeIntensityd(keys="image"),
        ]
    )
    return CacheDataset(items, transform, cache_rate=1.0, num_workers=2, progress=False)


def slices_of(cases: CacheDataset) -> Dataset:
    """Every slice as an item of its own, moved at random each time."""
    items = [
        {"image": case["image"][..., k].as_tensor(), "label": case["label"][..., k]}
        for case in cases
        for k in range(case["image"].shape[-1])
    ]
    shear = math.tan(math.radians(10))
    return Dataset(
        items,
        RandAffined(
            keys=("image", "label"),
            prob=1.0,
            rotate_range=math.radians(10),
            shear_range=(shear, shear),
            translate_range=(10, 10),
            scale_range=(0.1, 0.1),
            mode=("bilinear", "nearest"),
            padding_mode="border",
        ),
    )


def predicted(network: torch.nn.Module, case: dict) -> torch.Tensor:
    """Labels (1, 1, row, column, slice) of a volume, slice by slice in batches."""
    slices = case["image"].as_tensor().permute(3, 0, 1, 2)
    network.eval()
    with torch.no_grad():
        logits = torch.cat([SimpleInferer()(part, network) for part in slices.split(16)])
    return logits.argmax(1).permute(1, 2, 0)[None, None]


def mean_dice(network: torch.nn.Module, cases: CacheDataset) -> float:
    metric = DiceMetric(include_background=False)
    for case in cases:
        metric(one_hot(predicted(network, case), 5), one_hot(case["label"][None], 5))
    return float(metric.aggregate())


def scores(network: torch.nn.Module, cases: CacheDataset) -> list[dict[str, object]]:
    """A row for each patient and organ."""
    rows: list[dict[str, object]] = []
    for case in cases:
        answer, truth = one_hot(predicted(network, case), 5), one_hot(case["label"][None], 5)
        spacing = case["image"].pixdim.tolist()
        confusion = get_confusion_matrix(answer, truth, include_background=False)
        found = {
            "dice": DiceMetric(include_background=False)(answer, truth),
            "iou": compute_iou(answer, truth, include_background=False),
            "hd95_mm": HausdorffDistanceMetric(percentile=95)(answer, truth, spacing=spacing),
            "mssd_mm": HausdorffDistanceMetric()(answer, truth, spacing=spacing),
            "assd_mm": SurfaceDistanceMetric(symmetric=True)(answer, truth, spacing=spacing),
            "nsd_2mm": SurfaceDiceMetric(class_thresholds=[2.0] * 4)(answer, truth, spacing=spacing),
        }
        for name in ("sensitivity", "specificity", "precision"):
            found[name] = compute_confusion_matrix_metric(name, confusion)
        rows += [
            {"patient": case["patient"], "organ": organ} | {name: float(v.flatten()[k]) for name, v in found.items()}
            for k, organ in enumerate(ORGANS.values())
        ]
    return rows


def train(loss_name: str, training: Dataset, held_out: CacheDataset, *, epochs: int, batch: int) -> torch.nn.Module:
    set_determinism(1)
    network = FlexibleUNet(1, 5, "resnet18", pretrained=False, spatial_dims=2)
    loss, optimiser = LOSSES[loss_name](), torch.optim.AdamW(network.parameters(), lr=0.001)
    loader = DataLoader(training, batch_size=batch, shuffle=True, drop_last=True, num_workers=2)
    for epoch in range(epochs):
        network.train()
        total = 0.0
        for items in loader:
            optimiser.zero_grad()
            value = loss(network(items["image"]), items["label"])
            value.backward()
            optimiser.step()
            total += value.item()
        said = f"{loss_name} epoch {epoch + 1}: {total / len(loader):.3f}"
        if (epoch + 1) % 5 == 0 or epoch + 1 == epochs:
            said += f", held-out Dice {mean_dice(network, held_out):.3f}"
        print(said, flush=True)
    return network


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--held-out", nargs="+", required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--batch", type=int, required=True)
    given = parser.parse_args()
    known = sorted(folder.name for folder in (given.data / "MR").iterdir())
    training = volumes(given.data, [patient for patient in known if patient not in given.held_out])
    held_out = volumes(given.data, given.held_out)
    given.out.mkdir(parents=True)
    for loss_name in LOSSES:
        network = train(loss_name, slices_of(training), held_out, epochs=given.epochs, batch=given.batch)
        torch.save(network.state_dict(), given.out / f"{loss_name}.pt")
        rows = scores(network, held_out)
        with (given.out / f"{loss_name}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()

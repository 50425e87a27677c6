"""What the lines about batches share: prepared slices, our augmented batches, and other tools' loaders of the same.

All hold the slices in memory and change each at random within the study's ranges. The others' workers are kept between
epochs: made anew, as their tutorials do it, they would cost more than the epoch.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.line import Limit, Work
from benchmarks.machine import copy_bytes_per_second
from benchmarks.scenes import phantoms

if TYPE_CHECKING:
    from torch import Tensor

    from steelyard.batches.slices import SliceSet

SIZE, BATCH = 256, 16
EPOCH = 256  # slices of an epoch of the lines that time batches alone
TURN, SHIFT_PX, SIZES = math.radians(10), 10, 0.1
WORKERS: dict[str, Any] = {"num_workers": 2, "persistent_workers": True}
ALIKE = 0.2  # relative, of the pixels that moving changes: chance, and shear, which two of the tools do not know
TOGETHER = 0.1  # of these pixels: image and label are interpolated unlike each other


def slices(number: int) -> SliceSet:
    """So many prepared phantom slices, some of them again when there are fewer."""
    import torch

    from steelyard.batches.slices import SliceSet, stack_slices
    from steelyard.datasets.chaos import ChaosDataset
    from steelyard.preprocess.cache import Preprocessing, prepare

    dataset = ChaosDataset(phantoms(patients=2, size=SIZE, slices=36))
    prepared = [prepare(dataset.read(key), Preprocessing(size=SIZE)) for key in dataset.keys(("t1_in",))]
    found = stack_slices(prepared, context=0, device=torch.device("cpu"), overflow=Path(tempfile.gettempdir()))
    chosen = torch.arange(number) % len(found)
    return SliceSet(found.images[chosen], found.labels[chosen])


def our_batches(held: SliceSet) -> Iterator[tuple[Tensor, Tensor]]:
    from steelyard.batches.affine import RandomAffine
    from steelyard.batches.order import Batches

    return Batches(held, batch_size=BATCH, seed=1, augmentation=RandomAffine()).epoch(0)


def our_epoch() -> Work:
    """An epoch of batches as training takes them, with nothing done to them."""
    from steelyard.freed_memory import freed_memory_kept

    held = slices(EPOCH)

    @freed_memory_kept()
    def work() -> None:
        for _ in our_batches(held):
            pass

    return work


def epoch_of(loader: Iterable) -> Work:
    def work() -> None:
        for _ in loader:
            pass

    return work


def monai_loader(held: SliceSet):
    """Dictionaries, RandAffined with the study's ranges and a DataLoader, as in MONAI's 2-D segmentation tutorials."""
    from monai.data import DataLoader, Dataset
    from monai.transforms import RandAffined

    shear = math.tan(TURN)
    items = [{"image": image, "label": label[None]} for image, label in _one_by_one(held)]
    move = RandAffined(
        keys=("image", "label"),
        prob=1.0,
        rotate_range=TURN,
        shear_range=(shear, shear),
        translate_range=(SHIFT_PX, SHIFT_PX),
        scale_range=(SIZES, SIZES),
        mode=("bilinear", "nearest"),
        padding_mode="border",
    )
    return DataLoader(Dataset(items, move), batch_size=BATCH, shuffle=True, drop_last=True, **WORKERS)


def torchio_loader(held: SliceSet):
    """Subjects one voxel deep, RandomAffine and its loader, as TorchIO's documentation has them; it knows no shear."""
    import torchio

    subjects = [
        torchio.Subject(
            image=torchio.ScalarImage(tensor=image[..., None]), label=torchio.LabelMap(tensor=label[None, ..., None])
        )
        for image, label in _one_by_one(held)
    ]
    move = torchio.RandomAffine(
        scales=(1 - SIZES, 1 + SIZES, 1 - SIZES, 1 + SIZES, 1, 1),
        degrees=(0, 0, 0, 0, -math.degrees(TURN), math.degrees(TURN)),
        translation=(-SHIFT_PX, SHIFT_PX, -SHIFT_PX, SHIFT_PX, 0, 0),
    )
    dataset = torchio.SubjectsDataset(subjects, transform=move)
    return torchio.SubjectsLoader(dataset, batch_size=BATCH, shuffle=True, drop_last=True, **WORKERS)


def batchgenerators_loader(held: SliceSet):
    """nnU-Net's SpatialTransform on each slice, in torch's DataLoader; it knows no shear, and shifts by its crop.

    nnU-Net's own workers fetch ahead without being asked, here between the turns and in ours: no fair clock could tell.
    """
    import torch
    from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
    from torch.utils.data import DataLoader

    move = SpatialTransform(
        (SIZE, SIZE),
        patch_center_dist_from_border=SIZE // 2 - SHIFT_PX,
        random_crop=True,
        p_rotation=1.0,
        rotation=(-TURN, TURN),
        p_scaling=1.0,
        scaling=(1 - SIZES, 1 + SIZES),
        mode_seg="nearest",
        border_mode_seg="border",
        padding_mode_image="border",
    )

    def collate(batch: list[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
        samples = [move(image=image, segmentation=label[None]) for image, label in batch]
        return {name: torch.stack([sample[name] for sample in samples]) for name in ("image", "segmentation")}

    return DataLoader(_one_by_one(held), batch_size=BATCH, shuffle=True, drop_last=True, collate_fn=collate, **WORKERS)


def _one_by_one(held: SliceSet) -> list[tuple[Tensor, Tensor]]:
    """Each slice in memory of its own: TorchIO copies deeply, and of a view that is all that it is a view of."""
    return [(image.clone(), label.clone()) for image, label in zip(held.images, held.labels, strict=True)]


def monai_batches(held: SliceSet) -> Iterator[tuple[Tensor, Tensor]]:
    return ((batch["image"], batch["label"][:, 0]) for batch in monai_loader(held))


def check_same_batches(theirs: Callable[[SliceSet], Iterable[tuple[Tensor, Tensor]]], held: SliceSet) -> None:
    """Raises unless both give as many batches of one shape, of slices moved about as far, images and labels together.

    Args:
        theirs: of a set of slices, images (batch, 1, row, column) and labels (batch, row, column) of an epoch.

    Both are handed one slice again and again, whose image is its mask of organs: what then differs from the mask tells
    how far slices are moved, and what differs between image and label whether they went together.
    """
    import torch

    from steelyard.batches.slices import SliceSet

    masks = held.labels.bool()
    mask = masks[masks.flatten(1).sum(1).argmax()]
    one = SliceSet(mask.float().repeat(len(held), 1, 1, 1), mask.to(torch.uint8).repeat(len(held), 1, 1))
    sides = [list(our_batches(one)), [tuple(map(torch.as_tensor, pair)) for pair in theirs(one)]]
    shapes = [[(tuple(image.shape), tuple(label.shape), image.dtype) for image, label in side] for side in sides]
    if shapes[0] != shapes[1]:
        raise AssertionError(
            f"batches differ: {len(shapes[0])} of {shapes[0][0]} and {len(shapes[1])} of {shapes[1][0]}"
        )
    moved = [_share(label.bool() != mask for _, label in side) for side in sides]
    apart = [_share((image[:, 0] > 0.5) != label.bool() for image, label in side) for side in sides]
    if abs(moved[1] / moved[0] - 1) > ALIKE:
        raise AssertionError(f"moving slices changes {moved[0]:.4f} and {moved[1]:.4f} of their pixels")
    if max(apart) > TOGETHER * min(moved):
        raise AssertionError(f"images and labels lie apart in {apart[0]:.4f} and {apart[1]:.4f} of their pixels")


def _share(differs: Iterable[Tensor]) -> float:
    import torch

    return float(torch.cat(list(differs)).float().mean())


def passed_once() -> Limit:
    """Images of four bytes a pixel and labels of one read, images of four and labels of eight written, each once."""
    moved = EPOCH * SIZE * SIZE * (4 + 1 + 4 + 8)
    return Limit(moved / copy_bytes_per_second(), f"{moved / 1e6:.0f} MB moved")

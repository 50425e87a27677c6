"""Batches as a function of seed and epoch alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from steelyard.batches.affine import RandomAffine
from steelyard.batches.order import Batches, seeded
from steelyard.batches.slices import SliceSet
from steelyard.batches.strong import StrongAugmentation


def numbered(count: int) -> SliceSet:
    """Slice i is filled with the number i, its labels with i mod 5."""
    number = torch.arange(count)[:, None, None]
    return SliceSet(number[:, None].float().repeat(1, 2, 3, 4), (number % 5).to(torch.uint8).repeat(1, 3, 4))


def batches(count: int = 23, *, batch_size: int = 5, seed: int = 1, augmentation=None) -> Batches:
    return Batches(numbered(count), batch_size=batch_size, seed=seed, augmentation=augmentation)


def drawn(which: Batches, epoch: int) -> list[int]:
    return [int(number) for images, _ in which.epoch(epoch) for number in images[:, 0, 0, 0]]


def test_an_epoch_takes_every_slice_at_most_once_and_leaves_out_what_fills_no_batch():
    assert len(batches()) == 4
    order = drawn(batches(), 0)
    assert len(order) == len(set(order)) == 20
    assert [len(images) for images, _ in batches().epoch(0)] == [5, 5, 5, 5]


def test_a_full_last_batch_is_kept():
    assert sorted(drawn(batches(20), 3)) == list(range(20))


def test_epochs_and_seeds_differ_and_no_slice_is_left_out_for_ever():
    orders = [drawn(batches(), epoch) for epoch in range(20)]
    assert len({tuple(order) for order in orders}) == 20
    assert {number for order in orders for number in order} == set(range(23))
    assert drawn(batches(seed=2), 0) != orders[0]


def test_the_first_slice_of_an_epoch_is_any_slice():
    firsts = torch.bincount(torch.tensor([drawn(batches(4, batch_size=4), epoch)[0] for epoch in range(400)]))
    assert firsts.min() > 70  # 100 each, with a spread of 9
    assert firsts.max() < 130


def test_an_epoch_is_the_same_whatever_came_before_it():
    """So every loss sees the same, and a resumed training what an uninterrupted one would."""
    first = batches(augmentation=RandomAffine(translate_px=1))
    for epoch in range(3):
        list(first.epoch(epoch))
    torch.manual_seed(99)
    torch.rand(5)
    fresh = batches(augmentation=RandomAffine(translate_px=1))
    for (images, target), (same_images, same_target) in zip(first.epoch(3), fresh.epoch(3), strict=True):
        assert torch.equal(images, same_images)
        assert torch.equal(target, same_target)


def test_image_and_target_of_a_slice_stay_together_in_the_types_a_loss_wants():
    for images, target in batches().epoch(0):
        assert images.shape == (5, 2, 3, 4)
        assert (images.dtype, target.dtype) == (torch.float32, torch.int64)
        assert torch.equal(target, images[:, 0].long() % 5)


def test_the_kept_slices_are_never_changed():
    def spoil(images: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return images.fill_(-1), labels.fill_(4)

    which = batches(augmentation=spoil)
    assert all((images == -1).all() for images, _ in which.epoch(0))
    assert torch.equal(which.slices.images, numbered(23).images)
    assert torch.equal(which.slices.labels, numbered(23).labels)


def test_augmentation_goes_on_through_an_epoch_and_does_not_disturb_the_order():
    seen = []

    def note(images: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        seen.append(float(torch.rand((), generator=generator)))
        return images, labels

    assert drawn(batches(augmentation=note), 0) == drawn(batches(), 0)
    assert len(set(seen)) == 4
    list(batches(augmentation=note).epoch(1))
    assert len(set(seen)) == 8


def test_a_set_smaller_than_a_batch_is_one_batch():
    assert len(batches(3, batch_size=32)) == 1
    assert sorted(drawn(batches(3, batch_size=32), 0)) == [0, 1, 2]


def test_an_empty_set_is_refused():
    with pytest.raises(ValueError, match="no slice"):
        batches(0)


def test_every_purpose_epoch_and_seed_has_its_own_numbers():
    keys = [(1, 2, "order"), (1, 2, "augmentation"), (2, 1, "order"), (12, 0, "order"), (1, 20, "order")]
    assert len({float(torch.rand((), generator=seeded(*key))) for key in keys}) == 5
    assert seeded(1, 2, "order").initial_seed() == seeded(1, 2, "order").initial_seed()


@pytest.mark.parametrize("augmentation", [RandomAffine(translate_px=1), StrongAugmentation(), None])
@pytest.mark.parametrize("processes", [2, 3])
def test_the_rows_of_all_processes_together_are_the_batch_of_one(processes: int, augmentation) -> None:
    whole = batches(augmentation=augmentation)
    shares = [whole.of_process(process, processes) for process in range(processes)]
    epochs = zip(whole.epoch(2), *(share.epoch(2) for share in shares), strict=True)
    for (images, target), *parts in epochs:
        assert [len(part) for part, _ in parts] == {2: [3, 2], 3: [2, 2, 1]}[processes]  # of five rows
        for process, (own_images, own_target) in enumerate(parts):
            assert torch.equal(own_images, images[process::processes])
            assert torch.equal(own_target, target[process::processes])


def test_a_share_leaves_the_whole_as_it_was():
    whole = batches()
    whole.of_process(1, 2)
    assert [len(images) for images, _ in whole.epoch(0)] == [5, 5, 5, 5]


def test_a_batch_smaller_than_the_number_of_processes_is_refused():
    with pytest.raises(ValueError, match="a batch of 3 slices cannot be shared by 4 processes"):
        batches(3, batch_size=32).of_process(0, 4)

"""Prepared cases stacked into one set of slices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError

from steelyard.batches.slices import SliceSet, stack_slices
from steelyard.preprocess.cache import PreparedCase
from steelyard.preprocess.resize import crop_or_pad

CPU = torch.device("cpu")


def case(name: str, count: int, first: int, *, labelled: bool = True) -> PreparedCase:
    """Slice i shows `first + i` in channel 0 and minus that in channel 1; its label is i."""
    number = np.arange(count)[:, None, None]
    shown = (first + number) * np.ones((1, 4, 4))
    labels = (number * np.ones((1, 4, 4))).astype(np.uint8)
    images = np.stack([shown, -shown], axis=1).astype(np.float32)
    return PreparedCase(name, name, "T1", images, labels if labelled else None, crop_or_pad((4, 4), 4))


def test_slices_keep_the_order_of_cases_and_their_own_labels(tmp_path: Path):
    slices = stack_slices([case("b", 2, 30), case("a", 3, 10)], context=0, device=CPU, overflow=tmp_path)
    assert len(slices) == 5
    assert slices.images[:, 0, 0, 0].tolist() == [30, 31, 10, 11, 12]
    assert slices.images[:, 1, 0, 0].tolist() == [-30, -31, -10, -11, -12]
    assert slices.labels[:, 0, 0].tolist() == [0, 1, 0, 1, 2]


def test_context_adds_the_neighbours_of_the_same_case_alone(tmp_path: Path):
    slices = stack_slices([case("b", 2, 30), case("a", 3, 10)], context=1, device=CPU, overflow=tmp_path)
    assert slices.images.shape == (5, 6, 4, 4)
    assert slices.images[1, :, 0, 0].tolist() == [30, -30, 31, -31, 31, -31]  # the last slice of b, repeated
    assert slices.images[2, :, 0, 0].tolist() == [10, -10, 10, -10, 11, -11]
    assert slices.images[3, :, 0, 0].tolist() == [10, -10, 11, -11, 12, -12]


def test_a_case_without_labels_is_refused_by_name(tmp_path: Path):
    with pytest.raises(ValueError, match="case b"):
        stack_slices([case("a", 2, 0), case("b", 2, 0, labelled=False)], context=0, device=CPU, overflow=tmp_path)


def test_class_frequencies_are_shares_of_all_pixels():
    labels = torch.tensor([[[0, 0, 0, 1], [0, 0, 3, 1]]], dtype=torch.uint8)
    shares = SliceSet(torch.zeros(1, 1, 2, 4), labels).class_frequencies(5)
    assert shares == [5 / 8, 2 / 8, 0, 1 / 8, 0]
    assert sum(shares) == 1


def test_labels_of_another_type_or_number_break_the_signature():
    with pytest.raises(TypeCheckError):
        SliceSet(torch.zeros(2, 1, 4, 4), torch.zeros(2, 4, 4, dtype=torch.int64))
    with pytest.raises(TypeCheckError):
        SliceSet(torch.zeros(2, 1, 4, 4), torch.zeros(3, 4, 4, dtype=torch.uint8))

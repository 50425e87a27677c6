"""Padding to whole cells and cropping back."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from steelyard.networks.any_size import at_any_size


@pytest.mark.parametrize(
    ("size", "padded"),
    [((16, 48), (16, 48)), ((17, 45), (24, 48)), ((3, 9), (16, 16)), ((1, 100), (16, 104))],
)
def test_the_network_sees_whole_cells_at_least_two_and_every_pixel_stays_in_place(
    size: tuple[int, int], padded: tuple[int, int]
):
    seen: list[Tensor] = []

    def network(images: Tensor) -> Tensor:
        seen.append(images)
        return images * 2

    images = torch.randn(2, 3, *size)
    logits = at_any_size(network, images, cell_px=8)
    assert tuple(seen[0].shape[2:]) == padded
    assert torch.equal(logits, images * 2)


def test_added_rows_and_columns_repeat_the_last_one():
    images = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]]).reshape(1, 1, 3, 3)
    seen: list[Tensor] = []
    at_any_size(lambda padded: seen.append(padded) or padded, images, cell_px=2)
    assert seen[0][0, 0].tolist() == [[1, 2, 3, 3], [4, 5, 6, 6], [7, 8, 9, 9], [7, 8, 9, 9]]

"""The largest piece of an organ stays; what lies apart from it goes to the background."""

from __future__ import annotations

import numpy as np

from steelyard.labels import CHAOS_MR
from steelyard.postprocess.components import largest_component
from steelyard.volume import Geometry, LabelMap


def made(voxels: dict[tuple[int, int, int], int]) -> LabelMap:
    labels = np.zeros((4, 5, 6), np.uint8)
    for place, index in voxels.items():
        labels[place] = index
    return LabelMap(labels, Geometry(labels.shape, np.diag([3.0, 2.0, 1.0, 1.0])), CHAOS_MR)


def test_an_island_is_dropped_and_other_organs_stay() -> None:
    liver = {(1, 1, 1): 1, (1, 1, 2): 1, (1, 2, 1): 1}
    island = {(3, 4, 5): 1, (3, 4, 4): 1}
    spleen = {(0, 0, 0): 4, (3, 0, 0): 4}
    kept = largest_component(made(liver | island | spleen), ["liver"])
    assert np.array_equal(kept.labels, made(liver | spleen).labels)
    assert np.array_equal(largest_component(made(liver | island), ["spleen"]).labels, made(liver | island).labels)


def test_voxels_that_share_only_a_corner_are_one_piece() -> None:
    corner = {(0, 0, 0): 2, (1, 1, 1): 2}
    apart = {(3, 4, 5): 2}
    kept = largest_component(made(corner | apart), ["right_kidney", "left_kidney"])
    assert np.array_equal(kept.labels, made(corner).labels)


def test_of_equal_pieces_one_is_kept_and_the_input_is_left_alone() -> None:
    before = made({(0, 0, 0): 1, (3, 4, 5): 1})
    assert largest_component(before, ["liver"]).labels.sum() == 1
    assert before.labels.sum() == 2

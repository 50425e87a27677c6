"""Where a gradient falls: every pixel filed once, by hand on twelve pixels and against a slow independent count."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from steelyard.losses.cross_entropy import CrossEntropyLoss
from steelyard.losses.dice_ce import DiceCrossEntropyLoss
from steelyard.losses.tversky import IoULoss
from steelyard.study.gradient_kinds import KINDS
from steelyard.study.gradient_map import gradient_map, loss_gradient, pixel_classes, pixel_kinds, shares

REFERENCE = torch.tensor([[[1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0]], [[0] * 12]])
DECIDED = torch.tensor([[[2, 0, 1, 1, 0, 1, 0, 0, 0, 0, 0, 2]], [[0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0]]])
MISSED, SPILLED, SPILLED_FREE, BOUNDARY, INTERIOR, BACKGROUND, BACKGROUND_FREE = range(7)


class Pull(nn.Module):
    """A loss whose gradient is known: the given number at each logit."""

    def __init__(self, gradient: Tensor) -> None:
        super().__init__()
        self.gradient = gradient

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return (self.gradient * logits).sum()


def logits_of(decided: Tensor, classes: int = 3) -> Tensor:
    return nn.functional.one_hot(decided, classes).permute(0, 3, 1, 2).float()


def random_case(seed: int = 0, classes: int = 3) -> tuple[Tensor, Tensor]:
    """Three slices with blocks of organs, the last without any; logits that are wrong here and there."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.zeros(3, 11, 13, dtype=torch.long)
    target[0, 1:8, 2:9] = 1
    target[0, 6:11, 9:13] = 2
    target[1, 0:9, 5:13] = 2
    logits = 2 * logits_of(target, classes) + 1.3 * torch.randn(3, classes, 11, 13, generator=generator)
    return logits, target


def test_twelve_pixels_are_filed_by_what_was_decided_and_where_the_boundary_lies() -> None:
    first, second = pixel_kinds(DECIDED, REFERENCE)[:, 0].tolist()
    # the boundary lies between the fifth pixel and the sixth; wrong pixels in its band count as wrong
    organ = [MISSED, MISSED, INTERIOR, BOUNDARY, MISSED]
    assert first == [*organ, SPILLED, BOUNDARY, *[BACKGROUND] * 4, SPILLED]
    assert second == [*[BACKGROUND_FREE] * 3, SPILLED_FREE, *[BACKGROUND_FREE] * 8]


def test_a_pixel_belongs_to_the_organ_missed_or_spilled_there() -> None:
    first, second = pixel_classes(DECIDED, REFERENCE)[:, 0].tolist()
    assert first == [1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 2]  # the first is the missed first organ's, not the second's
    assert second == [0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0]


def test_a_boundary_between_two_organs_is_one_and_the_image_edge_is_none() -> None:
    reference = torch.tensor([[[1, 1, 1, 1, 2, 2, 2, 2]]])
    inside, near = INTERIOR, BOUNDARY
    assert pixel_kinds(reference, reference).flatten().tolist() == [
        inside,
        inside,
        near,
        near,
        near,
        near,
        inside,
        inside,
    ]
    diagonal = torch.zeros(1, 5, 5, dtype=torch.long)
    diagonal[0, 0, 0] = 1
    expected = [[BOUNDARY] * 3 + [BACKGROUND] * 2] * 3 + [[BACKGROUND] * 5] * 2
    assert pixel_kinds(diagonal, diagonal)[0].tolist() == expected


def test_shares_are_those_added_up_by_hand() -> None:
    gradient = torch.zeros(2, 3, 1, 12)
    gradient[0, :, 0, 0] = torch.tensor([1.0, -3.0, 2.0])  # missed, first organ: 6
    gradient[0, :, 0, 2] = torch.tensor([0.0, -0.5, 0.5])  # inside of the first organ: 1
    gradient[0, :, 0, 6] = torch.tensor([-2.0, 0.0, 0.0])  # background near the boundary: 2
    gradient[0, :, 0, 11] = torch.tensor([0.0, 0.0, 3.0])  # second organ spilled: 3
    gradient[1, :, 0, 3] = torch.tensor([-1.0, 0.0, 3.0])  # second organ spilled where there is none: 4
    gradient[1, :, 0, 8] = torch.tensor([0.0, 4.0, 0.0])  # organ-free background: 4
    found = shares(gradient_map(logits_of(DECIDED), REFERENCE, Pull(gradient)))  # of 20
    expected = {
        ("missed", 1): 0.3,
        ("interior", 1): 0.05,
        ("boundary", 0): 0.1,
        ("spilled", 2): 0.15,
        ("spilled_organ_free", 2): 0.2,
        ("background_organ_free", 0): 0.2,
    }
    assert {place: share for place, share in found.items() if share} == pytest.approx(expected)
    assert ("missed", 0) not in found  # a background cannot be missed, nor spilled
    assert ("background", 1) not in found
    assert found["missed", 2] == 0.0  # as could be


def test_the_gradient_of_cross_entropy_is_probability_minus_reference() -> None:
    logits, target = random_case()
    difference = logits.softmax(1) - logits_of(target)
    torch.testing.assert_close(loss_gradient(logits, target, CrossEntropyLoss()), difference / target.numel())


@pytest.mark.parametrize("loss", [CrossEntropyLoss(), CrossEntropyLoss(class_weights=[0.2, 3, 5])])
def test_shares_agree_with_a_pixel_by_pixel_count(loss: nn.Module) -> None:
    logits, target = random_case()
    weights = (1.0, 1.0, 1.0) if loss.class_weights is None else loss.class_weights
    pulled = (logits.double().softmax(1) - logits_of(target)).abs().sum(1).numpy()
    total, added = 0.0, dict.fromkeys(range(7), 0.0)
    for (k, i, j), strength in np.ndenumerate(pulled):
        own, said = int(target[k, i, j]), int(logits[k, :, i, j].argmax())
        around = target[k, max(i - 2, 0) : i + 3, max(j - 2, 0) : j + 3]
        if own and said != own:
            kind = MISSED
        elif said != own:
            kind = SPILLED if target[k].any() else SPILLED_FREE
        elif (around != own).any():
            kind = BOUNDARY
        elif own:
            kind = INTERIOR
        else:
            kind = BACKGROUND if target[k].any() else BACKGROUND_FREE
        added[kind] += weights[own] * strength
        total += weights[own] * strength
    found = of_kinds(loss, logits, target)
    assert found == pytest.approx([added[kind] / total for kind in range(7)], rel=1e-5)
    assert min(found) > 0.001  # every kind is met


@pytest.mark.parametrize(
    "loss", [CrossEntropyLoss(), IoULoss(), IoULoss(scope="slice", absent="penalise"), DiceCrossEntropyLoss()]
)
def test_shares_add_up_to_one(loss: nn.Module) -> None:
    found = shares(gradient_map(*random_case(), loss)).values()
    assert sum(found) == pytest.approx(1, abs=1e-12)
    assert all(share >= 0 for share in found)


def test_a_dearer_miss_draws_the_gradient_from_spilled_pixels_to_missed_ones() -> None:
    def share(fn_weight: float) -> list[float]:
        loss = IoULoss(fp_weight=2 - fn_weight, fn_weight=fn_weight, background=False)  # its own misses are spills
        return of_kinds(loss, *random_case())

    found = [share(fn_weight) for fn_weight in (0.25, 0.5, 1.0, 1.5, 1.75)]
    missed, spilled = ([kinds[kind] for kinds in found] for kind in (MISSED, SPILLED))
    assert missed == sorted(missed)
    assert spilled == sorted(spilled, reverse=True)
    assert missed[3] > 1.3 * missed[1]


def test_a_penalty_for_absent_organs_is_spent_on_organ_free_slices() -> None:
    def on_organ_free(**options) -> float:
        found = of_kinds(IoULoss(scope="slice", background=False, **options), *random_case())
        return found[SPILLED_FREE] + found[BACKGROUND_FREE]

    assert on_organ_free(absent="formula") == 0
    assert on_organ_free(absent="skip") == 0
    mild, dear = (on_organ_free(absent="penalise", fp_weight=fp, fn_weight=2 - fp) for fp in (0.5, 1.5))
    assert 0 < mild < dear


def test_a_loss_that_spends_nothing_has_no_shares() -> None:
    logits, target = random_case()
    nothing = IoULoss(background=False, absent="skip")
    assert set(shares(gradient_map(logits, 0 * target, nothing)).values()) == {None}

    class Constant(nn.Module):
        def forward(self, logits: Tensor, target: Tensor) -> Tensor:
            return torch.ones(())

    assert set(shares(gradient_map(logits, target, Constant())).values()) == {None}
    assert set(shares(gradient_map(logits, target, Pull(torch.full_like(logits, math.nan)))).values()) == {None}


def of_kinds(loss: nn.Module, logits: Tensor, target: Tensor) -> list[float]:
    found = shares(gradient_map(logits, target, loss))
    return [sum(share for (name, _), share in found.items() if name == kind.name) for kind in KINDS]

"""Where a loss spends its gradient: how hard it pulls at each pixel, and what kind of pixel of which organ that is."""

from __future__ import annotations

import torch
from jaxtyping import Float, Float64, Int64, Integer
from torch import Tensor, nn
from torch.nn import functional

from steelyard.study.gradient_kinds import BAND_PX, KINDS

Shares = dict[tuple[str, int], float | None]  # by kind and class; None where nothing is spent at all


def loss_gradient(
    logits: Float[Tensor, "slice class row column"], target: Integer[Tensor, "slice row column"], loss: nn.Module
) -> Float[Tensor, "slice class row column"]:
    """∂loss/∂logits, what a step of training hands back to the network; zero where the loss looks at no logit."""
    with torch.enable_grad():
        free = logits.detach().clone().requires_grad_()
        value = loss(free, target)
        if not value.requires_grad:
            return torch.zeros_like(free)
        (gradient,) = torch.autograd.grad(value, free, allow_unused=True)
    return torch.zeros_like(free) if gradient is None else gradient


def gradient_map(
    logits: Float[Tensor, "slice class row column"], target: Integer[Tensor, "slice row column"], loss: nn.Module
) -> Float64[Tensor, "kind class"]:
    """Σ |∂loss/∂logit| over classes and pixels, summed by the pixel's kind (`KINDS`, in that order) and its class.

    What is decided is the class of the highest logit. A pixel is filed once: under its kind, and under the class that
    it belongs to, which is the organ spilled where one is, else its reference class. The slices are one batch.
    Returned on the CPU. Maps of several batches add.

    >>> import torch
    >>> from steelyard.losses.cross_entropy import CrossEntropyLoss
    >>> logits = torch.zeros(1, 2, 1, 8)                        # two classes alike: background is decided everywhere
    >>> target = torch.tensor([[[1, 0, 0, 0, 0, 0, 0, 0]]])     # one pixel is missed, two lie near it, five do not
    >>> spent = gradient_map(logits, target, CrossEntropyLoss())
    >>> {kind: round(share, 3) for (kind, _), share in shares(spent).items() if share}
    {'missed': 0.125, 'boundary': 0.25, 'background': 0.625}
    """
    classes = logits.shape[1]
    spent = loss_gradient(logits, target, loss).double().abs().sum(1)
    decided = logits.argmax(1)
    place = pixel_kinds(decided, target) * classes + pixel_classes(decided, target)
    added = torch.bincount(place.flatten().cpu(), weights=spent.flatten().cpu(), minlength=len(KINDS) * classes)
    return added.reshape(len(KINDS), classes)


def shares(spent: Float64[Tensor, "kind class"]) -> Shares:
    """Shares of the whole, by kind and class, of every pair that can occur; they sum to 1.

    All None where the loss spends nothing, or where its gradient is not finite.
    """
    total = float(spent.sum())
    defined = 0 < total < float("inf")
    return {
        (kind.name, index): float(spent[row, index]) / total if defined else None
        for row, kind in enumerate(KINDS)
        for index in range(spent.shape[1])
        if (kind.of_organs if index else kind.of_background)
    }


def pixel_kinds(
    decided: Integer[Tensor, "slice row column"], reference: Integer[Tensor, "slice row column"]
) -> Int64[Tensor, "slice row column"]:
    """The place in `KINDS` of every pixel, from class indices with 0 as background."""
    place = {kind.name: index for index, kind in enumerate(KINDS)}
    organ, wrong = reference > 0, decided != reference
    organ_free = ~organ.flatten(1).any(1)[:, None, None]
    kinds = torch.where(organ, place["interior"], place["background"])
    kinds = torch.where(near_boundary(reference), place["boundary"], kinds)
    kinds = torch.where(organ_free, place["background_organ_free"], kinds)
    spilled = torch.where(organ_free, place["spilled_organ_free"], place["spilled"])
    return torch.where(wrong, torch.where(organ, place["missed"], spilled), kinds)


def pixel_classes(
    decided: Integer[Tensor, "slice row column"], reference: Integer[Tensor, "slice row column"]
) -> Int64[Tensor, "slice row column"]:
    """The class to which a pixel belongs: the reference's organ, else the organ decided there, else background."""
    return torch.where(reference > 0, reference, decided).long()


def near_boundary(reference: Integer[Tensor, "slice row column"]) -> Tensor:
    """True within `BAND_PX` rows and columns of a pixel of another class. The image's edge is no boundary."""
    classes = reference[:, None].float()
    highest, lowest = (
        sign * functional.max_pool2d(sign * classes, 2 * BAND_PX + 1, stride=1, padding=BAND_PX) for sign in (1, -1)
    )
    return (highest != lowest)[:, 0]

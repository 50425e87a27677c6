"""Scenes: made-up slices with organs of unequal sizes, and predictions that err in one known way."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

ROWS, COLUMNS = 96, 80  # 7680 pixels: the background dwarfs the organs, so that its own term weighs little
ALL = ROWS * COLUMNS


def organ_sizes(classes: int) -> list[int]:
    """Pixels of each organ, all unlike: 40, 60, 80, …"""
    return [40 + 20 * organ for organ in range(classes - 1)]


def scene(sizes: Sequence[int], *, batch: int = 2, space: tuple[int, int] = (ROWS, COLUMNS)) -> Tensor:
    """A target (batch, row, column): organ k has sizes[k − 1] pixels, the rest is background.

    Samples hold the same organs in other places.
    """
    pixels = space[0] * space[1]
    labels = torch.zeros(pixels, dtype=torch.int64)
    filled = torch.repeat_interleave(torch.arange(1, len(sizes) + 1), torch.tensor(list(sizes)))
    labels[: len(filled)] = filled
    samples = [labels.roll(17 * sample) for sample in range(batch)]
    return torch.stack(samples).reshape(batch, *space)


def relabel(labels: Tensor, was: int, becomes: int, count: int | None = None) -> Tensor:
    """The first `count` pixels of class `was` in each sample named `becomes`; all of them without a count."""
    changed = labels.clone()
    for sample in changed.reshape(len(changed), -1):
        places = (sample == was).nonzero()[:count, 0]
        sample[places] = becomes
    return changed


def sure(labels: Tensor, classes: int, *, certainty: float = 1 - 1e-6) -> Tensor:
    """Probabilities (batch, class, *space), float64: `certainty` for the named class, the rest shared evenly."""
    others = (1 - certainty) / (classes - 1)
    one_hot = torch.nn.functional.one_hot(labels, classes).movedim(-1, 1).double()
    return others + (certainty - others) * one_hot


def unsure(labels: Tensor, classes: int, *, seed: int, spread: float = 1.0, lean: float = 1.0) -> Tensor:
    """Probabilities of a network in the middle of its training: noise that leans towards the labels."""
    return unsure_logits(labels, classes, seed=seed, spread=spread, lean=lean).softmax(1)


def unsure_logits(labels: Tensor, classes: int, *, seed: int, spread: float = 1.0, lean: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(len(labels), classes, *labels.shape[1:], generator=generator, dtype=torch.float64)
    return spread * noise + lean * torch.nn.functional.one_hot(labels, classes).movedim(-1, 1)

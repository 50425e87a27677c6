"""Soft counts by torch's own operators: on any device, of any layout and float type."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

PIECE = 1 << 16  # pixels


def count(logits: Tensor, target: Tensor) -> Tensor:
    """TP, Σ p and reference pixels: (3, batch, 1, class) float64."""
    flat, labels = logits.flatten(2), target.flatten(1)[:, None].long()
    sums = logits.new_zeros(3, *logits.shape[:2], dtype=torch.float64)
    for at in _pieces(flat):
        probabilities, here, (tp, prediction, reference) = flat[at].softmax(1), labels[at], sums[:, at[0]]
        of_label = probabilities.gather(1, here)[:, 0].double()  # scattered one by one, hence in float64
        tp.scatter_add_(1, here[:, 0], of_label)
        reference.scatter_add_(1, here[:, 0], torch.ones_like(of_label))
        prediction += probabilities.sum(2)
    return sums[:, :, None]


def gradient(logits: Tensor, target: Tensor, by_tp: Tensor, by_prediction: Tensor) -> Tensor:
    """The logits' gradient, from those of TP and Σ p, each (batch, class)."""
    flat, labels = logits.flatten(2), target.flatten(1)[:, None].long()
    result = torch.empty_like(flat)
    for at in _pieces(flat):
        probabilities, here, there = flat[at].softmax(1), labels[at], result[at]
        by_sum = by_prediction[at[0]]
        of_label = by_tp[at[0]].gather(1, here[:, 0])[:, None] * probabilities.gather(1, here)
        mean = torch.bmm(by_sum[:, None], probabilities) + of_label
        torch.sub(by_sum[:, :, None], mean, out=there).mul_(probabilities).scatter_add_(1, here, of_label)
    return result.reshape(logits.shape)


def _pieces(flat: Tensor) -> Iterator[tuple[slice, slice, slice]]:
    """(samples, classes, pixels): pieces whose probabilities stay in a processor's cache; a GPU gets everything."""
    batch, _, pixels = flat.shape
    if flat.device.type != "cpu":
        yield slice(None), slice(None), slice(None)
        return
    for sample in range(batch):
        for start in range(0, pixels, PIECE):
            yield slice(sample, sample + 1), slice(None), slice(start, start + PIECE)

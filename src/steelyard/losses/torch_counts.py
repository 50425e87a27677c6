"""Soft counts by torch's own operators: on any device, of any layout and float type."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

PIECE = 1 << 16  # pixels
RUN = 1 << 8  # pixels that are added one by one in the logits' own precision: few enough for float32


def count(logits: Tensor, target: Tensor, kept: Tensor | None = None) -> Tensor:
    """TP, Σ p and reference pixels: (3, batch, 1, class) float64. `kept`, of the logits' shape, gets the softmax."""
    flat, labels = logits.flatten(2), target.flatten(1)[:, None].long()
    sums = logits.new_zeros(3, *logits.shape[:2], dtype=torch.float64)
    room = None if kept is None else kept.flatten(2)
    for at in _pieces(flat):
        probabilities = torch.softmax(flat[at], 1, out=None if room is None else room[at])
        here, (tp, prediction, reference) = labels[at], sums[:, at[0]]
        of_label = probabilities.gather(1, here)[:, 0]
        _add_by_label(tp, here[:, 0], of_label)
        _add_by_label(reference, here[:, 0], torch.ones_like(of_label))
        prediction += probabilities.sum(2)
    return sums[:, :, None]


def gradient(
    logits: Tensor, target: Tensor, by_tp: Tensor, by_prediction: Tensor, kept: Tensor | None = None
) -> Tensor:
    """The logits' gradient, from those of TP and Σ p, each (batch, class); it takes the place of the softmax `kept`."""
    labels = target.flatten(1)[:, None].long()
    result = (logits.softmax(1) if kept is None else kept).flatten(2)
    for at in _pieces(result):
        probabilities, here, by_sum = result[at], labels[at], by_prediction[at[0]]
        of_label = by_tp[at[0]].gather(1, here[:, 0])[:, None] * probabilities.gather(1, here)
        mean = torch.bmm(by_sum[:, None], probabilities) + of_label
        probabilities.mul_(by_sum[:, :, None] - mean).scatter_add_(1, here, of_label)
    return result.reshape(logits.shape)


def _add_by_label(sums: Tensor, labels: Tensor, values: Tensor) -> None:
    """Each value (sample, pixel) to the sum (sample, class) of its label, run by run: runs are added side by side."""
    samples, pixels = labels.shape
    in_runs = pixels - pixels % RUN
    for part, run in ((slice(None, in_runs), RUN), (slice(in_runs, None), pixels - in_runs)):
        if run:
            shape = (samples, -1, run)
            where, what = labels[:, part].reshape(shape), values[:, part].reshape(shape)
            of_runs = values.new_zeros(*where.shape[:2], sums.shape[1]).scatter_add_(2, where, what)
            sums += of_runs.sum(1, dtype=sums.dtype)


def _pieces(flat: Tensor) -> Iterator[tuple[slice, slice, slice]]:
    """(samples, classes, pixels): pieces whose probabilities stay in a processor's cache; a GPU gets everything."""
    batch, _, pixels = flat.shape
    if flat.device.type != "cpu":
        yield slice(None), slice(None), slice(None)
        return
    for sample in range(batch):
        for start in range(0, pixels, PIECE):
            yield slice(sample, sample + 1), slice(None), slice(start, start + PIECE)

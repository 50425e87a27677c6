"""Soft counts by torch's own operators: on any device, of any layout and float type."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

PIECE = 3 << 19  # probabilities: more leave a processor's cache, fewer are not worth two threads
RUN = 1 << 8  # pixels that are added one by one in the logits' own precision: few enough for float32


def room(logits: Tensor) -> tuple[Tensor, Tensor]:
    """For what `count` keeps for `gradient`: the softmax, and what it gives each pixel's label; pixels last."""
    flat = logits.flatten(2)
    return torch.empty_like(flat, memory_format=torch.contiguous_format), flat.new_empty(len(flat), 1, flat.shape[2])


def count(logits: Tensor, target: Tensor, softmax: Tensor | None = None, of_label: Tensor | None = None) -> Tensor:
    """TP, Σ p and reference pixels: (3, batch, 1, class) float64. What comes from `room` is filled."""
    flat, labels = logits.flatten(2), target.flatten(1)[:, None].long()
    sums = logits.new_zeros(3, *logits.shape[:2], dtype=torch.float64)
    for at in _pieces(flat):
        probabilities = torch.softmax(flat[at], 1, out=None if softmax is None else softmax[at])
        here, (tp, prediction, reference) = labels[at], sums[:, at[0]]
        found = torch.gather(probabilities, 1, here, out=None if of_label is None else of_label[at])
        _add_by_label(tp, here[:, 0], found[:, 0])
        _add_by_label(reference, here[:, 0], torch.ones_like(found[:, 0]))
        prediction += probabilities.sum(2)
    return sums[:, :, None]


def gradient(
    logits: Tensor,
    target: Tensor,
    by_tp: Tensor,
    by_prediction: Tensor,
    softmax: Tensor | None = None,
    of_label: Tensor | None = None,
) -> Tensor:
    """The logits' gradient, from those of TP and Σ p, each (batch, class); it takes the place of a softmax kept."""
    labels = target.flatten(1)[:, None].long()
    by_tp, by_prediction = (by.to(logits.dtype) for by in (by_tp, by_prediction))
    result = logits.flatten(2).softmax(1) if softmax is None else softmax
    for at in _pieces(result):
        probabilities, here, by_sum = result[at], labels[at], by_prediction[at[0]]
        found = probabilities.gather(1, here) if of_label is None else of_label[at]
        charged = by_tp[at[0]].gather(1, here[:, 0])[:, None] * found
        mean = torch.bmm(by_sum[:, None], probabilities) + charged
        probabilities.mul_(by_sum[:, :, None] - mean).scatter_add_(1, here, charged)
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
    """(samples, classes, pixels): pieces of about `PIECE`; a GPU gets everything at once."""
    batch, classes, pixels = flat.shape
    if flat.device.type != "cpu":
        yield slice(None), slice(None), slice(None)
        return
    at_once = max(PIECE // classes, 1)  # pixels
    samples = max(at_once // max(pixels, 1), 1)
    for sample in range(0, batch, samples):
        for start in range(0, pixels, at_once):
            yield slice(sample, sample + samples), slice(None), slice(start, start + at_once)

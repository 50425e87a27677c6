"""Several processes, one loss: each adds up its share of a batch, and the sums are added before anything is divided."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed


def sum_over_processes(tensor: Tensor) -> Tensor:
    """The sum of every process's `tensor`, in every process; the tensor itself where there is one process.

    Gradients are summed likewise: each process obtains, for its own share, the derivative of the sum of all processes'
    losses. Averaged over processes, as torch's DistributedDataParallel does, that is the gradient of the loss itself.
    """
    if not _several():
        return tensor
    summed: Tensor = _Sum.apply(tensor)  # type: ignore[no-untyped-call]
    return summed


def mean_over_processes(values: Tensor) -> Tensor:
    """The mean of all processes' values, a scalar; the processes may hold unequally many."""
    if not _several():
        return values.mean()
    total, count = sum_over_processes(torch.stack([values.sum(), values.new_full((), values.numel())]))
    return total / count


def _several() -> bool:
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        summed = tensor.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(summed)
        return summed

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return sum_over_processes(gradient)

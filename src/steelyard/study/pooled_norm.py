"""Batch normalisation by the whole batch, where several processes hold a part of it each."""

from __future__ import annotations

import copy
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from steelyard.losses.processes import sum_over_processes


def with_pooled_norms(network: nn.Module, device: torch.device) -> nn.Module:
    """A copy of the network whose batch normalisations take mean and variance over the rows of all processes.

    Names and shapes of parameters and buffers stay as they were. GPUs have torch's SyncBatchNorm for this; it does not
    run on a CPU.
    """
    network = copy.deepcopy(network)
    if device.type == "cuda":
        return cast(nn.Module, nn.SyncBatchNorm.convert_sync_batchnorm(network))
    if isinstance(network, _BatchNorm):
        return _pooled(network)
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, _BatchNorm):
                setattr(parent, name, _pooled(child))
    return network


class PooledBatchNorm(_BatchNorm):
    """(x − mean) / √(variance + eps), scaled and shifted per channel; any number of dimensions after the channel.

    While training, mean and variance are those of all processes' rows together, and the running variance is the
    unbiased one, as in torch. Otherwise this is torch's own.

    Source: Ioffe and Szegedy, ICML 2015, algorithm 1.
    """

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        axes = [axis for axis in range(input.ndim) if axis != 1]
        per_channel = (1, -1) + (1,) * (input.ndim - 2)
        values = input.to(torch.promote_types(input.dtype, torch.float32))
        ones = values.new_full((values.shape[1],), values.numel() / values.shape[1])
        total, count = sum_over_processes(torch.stack([values.sum(axes), ones]))
        mean = total / count
        centred = values - mean.reshape(per_channel)
        variance = sum_over_processes(centred.square().sum(axes)) / count
        with torch.no_grad():
            self._remember(mean, variance * count / (count - 1))
        scale = torch.rsqrt(variance + self.eps)
        if self.weight is not None:
            scale = scale * self.weight
        normalised = centred * scale.reshape(per_channel)
        if self.bias is not None:
            normalised = normalised + self.bias.reshape(per_channel)
        return normalised.to(input.dtype)

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        if not self.track_running_stats or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        for running, now in ((self.running_mean, mean), (self.running_var, variance)):
            if running is not None:
                running.lerp_(now.to(running.dtype), share)

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of dimensions."""


def _pooled(norm: _BatchNorm) -> PooledBatchNorm:
    """With the very parameters and buffers of `norm`."""
    pooled = PooledBatchNorm(
        norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats, device="meta"
    )
    pooled.training = norm.training
    for name, parameter in norm._parameters.items():
        pooled.register_parameter(name, parameter)
    for name, buffer in norm._buffers.items():
        pooled.register_buffer(name, buffer)
    return pooled

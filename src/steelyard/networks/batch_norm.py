"""Batch normalisation and the ReLU after it, as one: the numbers of torch's own layers, in less than half their time.

A small C file does it on a processor (`batch_norm.c`); torch's layers do wherever that is not at hand.
"""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

from steelyard.compiled import compiled
from steelyard.networks import winograd
from steelyard.networks.joined_maps import convolve_joined

SOURCE = Path(__file__).with_name("batch_norm.c")
TYPES = (torch.float32, torch.bfloat16)
MOST_CHANNELS = 4096  # of which each thread keeps a few rows on its stack


class NormalisedConvolutions(nn.Sequential):
    """Convolution, batch normalisation and ReLU, once or several times.

    Of several maps, their channels belong one after the other.
    """

    def forward(self, *maps: Tensor) -> Tensor:
        layers = iter(self)
        for convolution, norm, _ in zip(layers, layers, layers, strict=True):
            maps = (convolve_normalised(convolution, norm, *maps, relu=True),)
        return maps[0]


def convolve_normalised(convolution: nn.Module, norm: nn.Module, *maps: Tensor, relu: bool) -> Tensor:
    """`normalise(norm, convolve_joined(convolution, *maps))`, followed by ReLU if wanted.

    Where a network only predicts, running mean and variance are known before the convolution: what `winograd` convolves
    is normalised in the same pass.
    """
    if len(maps) == 1 and isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
        weight, dilation = convolution.weight, convolution.dilation
        is_usual = _has_known(norm) and convolution.padding_mode == "zeros"
        if is_usual and winograd.takes(*maps, weight, convolution.stride, convolution.padding, dilation):
            scale, shift = _by_known(norm, convolution.bias)
            return winograd.convolve(*maps, weight, dilation=dilation[0], scale=scale, shift=shift, relu=relu)
    return normalise(norm, convolve_joined(convolution, *maps), relu=relu)


def normalise(norm: nn.Module, maps: Tensor, *, relu: bool) -> Tensor:
    """`norm(maps)`, followed by ReLU if wanted, for maps (batch, channel, row, column).

    The layer's running mean and variance are kept as torch keeps them. A layer of another kind than BatchNorm2d (as
    conversions for several processes put in its place) is called as it is.
    """
    if not (isinstance(norm, nn.BatchNorm2d) and _takes(norm, maps)):
        normalised = norm(maps)
        return F.relu(normalised, inplace=True) if relu else normalised
    if not norm.training:
        return _by_running(norm, maps, relu)
    normalised, mean, variance = _BatchNorm.apply(maps, norm.weight, norm.bias, norm.eps, relu)
    pixels = maps.numel() // maps.shape[1]
    _remember(norm, mean, variance * (pixels / (pixels - 1)))
    return normalised


def _by_running(norm: nn.BatchNorm2d, maps: Tensor, relu: bool) -> Tensor:
    library = _library()
    assert library is not None
    assert norm.running_mean is not None
    assert norm.running_var is not None
    normalised, inverse = torch.empty_like(maps), torch.rsqrt(norm.running_var + norm.eps)
    arrays = (norm.running_mean, inverse, norm.weight, norm.bias, maps, normalised)
    library.batch_norm_by_known(_given(maps, relu), torch.get_num_threads(), *(array.data_ptr() for array in arrays))
    return normalised


def _has_known(norm: nn.BatchNorm2d) -> bool:
    """A mean and a variance that do not depend on the maps."""
    return type(norm) is nn.BatchNorm2d and not norm.training and _is_plain(norm)


def _by_known(norm: nn.BatchNorm2d, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """What the layer multiplies by, and what it then adds, for maps to which `bias` is still to be added."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    mean = norm.running_mean if bias is None else norm.running_mean - bias
    return scale, norm.bias - mean * scale


def _remember(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor) -> None:
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)
    for running, now in ((norm.running_mean, mean), (norm.running_var, variance)):
        assert running is not None
        assert norm.momentum is not None
        running.lerp_(now, norm.momentum)


def _takes(norm: nn.BatchNorm2d, maps: Tensor) -> bool:
    """On a processor, for channels side by side; torch has more options, and better words for mistakes.

    Outside training where no gradient is asked for.
    """
    return (
        type(norm) is nn.BatchNorm2d
        and (norm.training or not torch.is_grad_enabled())
        and norm.momentum is not None
        and _is_plain(norm)
        and maps.device.type == "cpu"
        and maps.dtype in TYPES
        and maps.ndim == 4
        and maps.shape[1] == norm.num_features <= MOST_CHANNELS
        and maps.numel() > maps.shape[1] * norm.training  # one value has no variance
        and maps.movedim(1, -1).is_contiguous()
        and not torch.compiler.is_compiling()
        and _library() is not None
    )


def _is_plain(norm: nn.BatchNorm2d) -> bool:
    """It keeps statistics, and has all that it may have, in float32 on a processor."""
    kept = (norm.weight, norm.bias, norm.running_mean, norm.running_var)
    return norm.track_running_stats and all(
        own is not None and own.dtype == torch.float32 and own.device.type == "cpu" and own.is_contiguous()
        for own in kept
    )


class _BatchNorm(Function):
    """Normalised maps, mean and variance of each channel."""

    @staticmethod
    def forward(
        context: Any, maps: Tensor, weight: Tensor, bias: Tensor, eps: float, relu: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        library = _library()
        assert library is not None
        normalised, mean, inverse, variance = _forward(library, maps, weight, bias, eps, relu)
        context.save_for_backward(maps, weight, bias, mean, inverse)
        context.eps, context.relu = eps, relu
        context.mark_non_differentiable(mean, variance)
        return normalised, mean, variance

    @staticmethod
    def backward(
        context: Any, seen: Tensor, *_: Tensor
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        maps, weight, bias, mean, inverse = context.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted: torch must see every step
            normalised = F.batch_norm(maps, None, None, weight, bias, training=True, eps=context.eps)
            normalised = F.relu(normalised) if context.relu else normalised
            given = [t for t in (maps, weight, bias) if t.requires_grad]  # an encoder may be frozen
            found = iter(torch.autograd.grad(normalised, given, seen, create_graph=True))
            by_maps, by_weight, by_bias = (next(found) if t.requires_grad else None for t in (maps, weight, bias))
            return by_maps, by_weight, by_bias, None, None
        library = _library()
        assert library is not None
        seen = seen.contiguous(memory_format=torch.channels_last)
        return *_backward(library, maps, seen, weight, bias, mean, inverse, context.relu), None, None


class _Maps(ctypes.Structure):
    """As in the source."""

    _fields_ = tuple((name, ctypes.c_int64) for name in ("bfloat16", "relu", "rows", "channels"))


def _forward(
    library: ctypes.CDLL, maps: Tensor, weight: Tensor, bias: Tensor, eps: float, relu: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Normalised maps, and of each channel mean, 1 / √(variance + eps) and variance."""
    normalised = torch.empty_like(maps)  # keeps the layout
    mean, inverse, variance = torch.empty(3, maps.shape[1]).unbind()
    arrays = (weight, bias, maps, normalised, mean, inverse, variance)
    given = _given(maps, relu)
    scratch = _scratch(library, given)
    library.batch_norm(given, torch.get_num_threads(), scratch.data_ptr(), eps, *(array.data_ptr() for array in arrays))
    return normalised, mean, inverse, variance


def _backward(
    library: ctypes.CDLL,
    maps: Tensor,
    seen: Tensor,
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    inverse: Tensor,
    relu: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of maps, weight and bias, from that of the normalised maps."""
    results = torch.empty_like(maps), torch.empty_like(weight), torch.empty_like(bias)
    arrays = (mean, inverse, weight, bias, maps, seen, *results)
    given = _given(maps, relu)
    scratch = _scratch(library, given)
    library.batch_norm_gradient(
        given, torch.get_num_threads(), scratch.data_ptr(), *(array.data_ptr() for array in arrays)
    )
    return results


def _given(maps: Tensor, relu: bool) -> _Maps:
    channels = maps.shape[1]
    return _Maps(maps.dtype == torch.bfloat16, relu, maps.numel() // channels, channels)


def _scratch(library: ctypes.CDLL, given: _Maps) -> Tensor:
    return torch.empty(library.batch_norm_scratch(given), dtype=torch.float64)


@functools.cache
def _library() -> ctypes.CDLL | None:
    """The compiled functions; None where they cannot be made, or do not normalise as they should."""
    return compiled(SOURCE, declare=_declare, is_right=_normalises_right)


def _declare(library: ctypes.CDLL) -> None:
    given, address = ctypes.POINTER(_Maps), ctypes.c_void_p
    library.batch_norm_scratch.argtypes, library.batch_norm_scratch.restype = [given], ctypes.c_int64
    library.batch_norm.argtypes = [given, ctypes.c_int, address, ctypes.c_double, *[address] * 7]
    library.batch_norm_by_known.argtypes = [given, ctypes.c_int, *[address] * 6]
    library.batch_norm_gradient.argtypes = [given, ctypes.c_int, address, *[address] * 9]
    library.batch_norm.restype = library.batch_norm_gradient.restype = library.batch_norm_by_known.restype = None


def _normalises_right(library: ctypes.CDLL) -> bool:
    """Pixels of mean 5 and variance 20, by hand: a compiler that breaks arithmetic is not used."""
    maps, seen = torch.tensor([-1.0, 3.0, 7.0, 11.0]), torch.tensor([1.0, 2.0, 3.0, 4.0])
    weight, bias = torch.tensor([10.0]), torch.tensor([4.0])
    normalised, mean, inverse, variance = _forward(library, maps.view(1, 1, 2, 2), weight, bias, 5.0, True)
    found = [normalised, mean, inverse, variance]
    found += _backward(library, maps.view(1, 1, 2, 2), seen.view(1, 1, 2, 2), weight, bias, mean, inverse, True)
    by_hand = [[0, 0, 8, 16], [5], [0.2], [20], [0.1, -2.3, 1.3, 0.9], [6], [7]]
    return all(
        torch.allclose(one.flatten(), torch.tensor(other, dtype=torch.float32), rtol=1e-5)
        for one, other in zip(found, by_hand, strict=True)
    )

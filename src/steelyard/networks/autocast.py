"""The type in which autocast has a layer computed, for functions of our own that it does not know."""

from __future__ import annotations

import torch
from torch import Tensor


def as_autocast(*given: Tensor) -> tuple[Tensor, ...]:
    """Numbers on a processor in autocast's type, which a convolution would get; where autocast is off, as they are."""
    if not torch.is_autocast_enabled("cpu"):
        return given
    dtype = torch.get_autocast_dtype("cpu")
    return tuple(tensor.to(dtype) for tensor in given)

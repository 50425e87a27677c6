"""Numbers of a loss on the device of its logits, sent there once: sending them in every step makes a GPU wait."""

from __future__ import annotations

import functools

import torch
from torch import Tensor


@functools.lru_cache(maxsize=256)
def constant(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """`values` as a tensor (len(values),), shared by all who ask for the same: not to be written to."""
    with torch.inference_mode(False):  # else a loss first called in inference could never be trained
        return torch.tensor(values, dtype=dtype, device=device)

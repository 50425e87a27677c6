"""Numbers of a loss on the device of its logits, sent there once: sending them in every step makes a GPU wait."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor


@functools.lru_cache(maxsize=256)
def constant(values: tuple[Any, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Numbers, or tuples of them, as a tensor that is shared by all who ask for the same: not to be written to."""
    with torch.inference_mode(False):  # else a loss first called in inference could never be trained
        return torch.tensor(values, dtype=dtype, device=device)

"""Networks: logits at the input's size, for any number of channels and classes. A new one is one decorated file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from steelyard.registry import Registry

if TYPE_CHECKING:
    from torch import nn

NETWORKS: Registry[Callable[..., nn.Module]] = Registry(
    "network", package="steelyard.networks", folder=Path(__file__).parent
)

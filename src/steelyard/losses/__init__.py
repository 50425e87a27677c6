"""Losses: what a network is charged for. A new one is one decorated file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steelyard.registry import Registry

if TYPE_CHECKING:
    from torch import nn

    from steelyard.losses.tversky import IoULoss as IoULoss

LOSSES: Registry[Callable[..., nn.Module]] = Registry("loss", package="steelyard.losses", folder=Path(__file__).parent)


def __getattr__(name: str) -> Any:
    if name == "IoULoss":
        from steelyard.losses.tversky import IoULoss

        return IoULoss
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

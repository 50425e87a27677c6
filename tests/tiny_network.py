"""A network of two convolutions and a dropout: small enough to train in a blink, with all that resuming restores."""

from __future__ import annotations

import os
import signal

from torch import Tensor, distributed, nn


class TinyNetwork(nn.Sequential):
    """Logits at the input's size."""

    def __init__(self, channels: int, classes: int, *, width: int = 4) -> None:
        super().__init__(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Dropout2d(0.2),
            nn.Conv2d(width, classes, 1),
        )


class ExplodingNetwork(TinyNetwork):
    """Its logits are not numbers: every loss on them diverges."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) * float("nan")


class StumblingNetwork(TinyNetwork):
    """Works on the small batches on which it is tried, and raises without a word on slices of a study."""

    def forward(self, images: Tensor) -> Tensor:
        if len(images) > 2:
            raise NotImplementedError
        return super().forward(images)


class LonelyNetwork(TinyNetwork):
    """Works in the first of several processes alone."""

    def forward(self, images: Tensor) -> Tensor:
        if distributed.is_initialized() and distributed.get_rank() > 0:
            raise NotImplementedError("only the first process can do this\nand no other")
        return super().forward(images)


class DeadlyNetwork(TinyNetwork):
    """Kills every process but the first, as a machine without memory does."""

    def forward(self, images: Tensor) -> Tensor:
        if distributed.is_initialized() and distributed.get_rank() > 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(images)

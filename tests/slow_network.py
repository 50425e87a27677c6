"""A tiny network that takes its time and saves after every epoch, so that tests can kill its process in the middle."""

from __future__ import annotations

import os
import time

from torch import Tensor

import steelyard.train
from tiny_network import ExplodingNetwork, TinyNetwork

SECONDS_PER_FORWARD = 0.02


__all__ = ["DeadlyNetwork", "ExplodingNetwork", "SlowNetwork"]


class SlowNetwork(TinyNetwork):
    """Sleeps in every forward pass on slices of a study; its process saves its state after every epoch."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__(channels, classes)
        steelyard.train.SECONDS_BETWEEN_SAVES = 0.0

    def forward(self, images: Tensor) -> Tensor:
        if len(images) > 2:  # not while it is only tried
            time.sleep(SECONDS_PER_FORWARD)
        return super().forward(images)


class DeadlyNetwork(TinyNetwork):
    """Ends its process at once, as a lack of memory does, when it sees slices of a study."""

    def forward(self, images: Tensor) -> Tensor:
        if len(images) > 2:
            os.kill(os.getpid(), 9)
        return super().forward(images)

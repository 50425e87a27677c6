"""A training step recorded once as a CUDA graph and replayed: the GPU then never waits for Python to launch the next.

A replay does what the step did when it was recorded. Whatever Python decides anew in every step (a loss that grows
stricter, layers skipped at random) would stay as it was, so only parts that are known to decide nothing are recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

import torch
from torch import Tensor, nn

Step = Callable[[Tensor, Tensor], Tensor]  # images and target → the loss
FIRST_STEPS = 3  # taken as they are: libraries choose their ways and take their memory on the first occasions
KNOWN = ("steelyard", "torch")


def is_replayable(*parts: nn.Module) -> bool:
    """Whether all modules are Steelyard's or torch's own: of others nobody knows what they decide in Python."""
    modules = [module for part in parts for module in part.modules()]
    return all(type(module).__module__.partition(".")[0] in KNOWN for module in modules)


class ReplayedStep:
    """The same step on the same tensors' places, for every batch of one shape.

    Args:
        step: launches work on the current GPU without ever waiting for it, and keeps no tensor but those it updates.
        device: that GPU.
    """

    def __init__(self, step: Step, device: torch.device) -> None:
        self._step = step
        self._device = device
        self._taken = 0
        self._recorded: Hashable = None
        self._stream = torch.cuda.Stream(device)

    def __call__(self, images: Tensor, target: Tensor, *, constants: Hashable) -> Tensor:
        """The step's loss, whose place the next call writes to.

        `constants` are the plain numbers that the step uses (the learning rate): with others it is recorded anew.
        """
        with torch.cuda.device(self._device):
            if self._taken < FIRST_STEPS:
                self._taken += 1
                return self._on_own_stream(images, target)
            what = (constants, images.shape, images.dtype, target.shape, target.dtype)
            if what != self._recorded:
                self._record(images, target)
                self._recorded = what
            self._images.copy_(images)
            self._target.copy_(target)
            self._graph.replay()
            return self._value

    def _on_own_stream(self, images: Tensor, target: Tensor) -> Tensor:
        """On the stream that records later: what autograd and cuBLAS keep per stream is then at hand."""
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            value = self._step(images, target)
        current.wait_stream(self._stream)
        return value

    def _record(self, images: Tensor, target: Tensor) -> None:
        """Recording carries nothing out."""
        self._images, self._target = torch.empty_like(images), torch.empty_like(target)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, stream=self._stream):
            self._value = self._step(self._images, self._target)

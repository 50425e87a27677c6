"""Six pixels in two samples, three classes, every number unlike the others: what the hand-computed loss tests share."""

from __future__ import annotations

import inspect

import torch
from torch import Tensor

from steelyard.losses import LOSSES

# (sample, class, pixel): rows are classes, columns pixels, each column sums to 1.
PROBABILITIES = torch.tensor(
    [
        [[0.7, 0.2, 0.1], [0.2, 0.5, 0.3], [0.1, 0.3, 0.6]],
        [[0.6, 0.1, 0.5], [0.3, 0.8, 0.1], [0.1, 0.1, 0.4]],
    ],
    dtype=torch.float64,
)
TARGET = torch.tensor([[0, 1, 2], [0, 1, 1]])
LOGITS = PROBABILITIES.log()  # softmax takes them back

# Pooled over both samples, counted by hand. Class 2 has no pixel in the second sample.
TP = (0.7 + 0.6, 0.5 + 0.8 + 0.1, 0.6)  # 1.3, 1.4, 0.6
FP = (0.2 + 0.1 + 0.1 + 0.5, 0.2 + 0.3 + 0.3, 0.1 + 0.3 + 0.1 + 0.1 + 0.4)  # 0.9, 0.8, 1.0
FN = (0.3 + 0.4, 0.5 + 0.2 + 0.9, 0.4)  # 0.7, 1.6, 0.4


def tversky(tp: float, fp: float, fn: float, fp_weight: float, fn_weight: float) -> float:
    """1 − TP / (TP + α FP + β FN), in Python's own numbers."""
    return 1 - tp / (tp + fp_weight * fp + fn_weight * fn)


def random_case(
    *, seed: int, batch: int = 3, classes: int = 3, space: tuple[int, ...] = (5, 4)
) -> tuple[Tensor, Tensor]:
    """Logits in float64 and a target in which every class has pixels."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(batch, classes, *space, generator=generator, dtype=torch.float64)
    target = torch.randint(classes, (batch, *space), generator=generator)
    target.view(-1)[:classes] = torch.arange(classes)
    return logits, target


def value_and_gradient(loss: torch.nn.Module, logits: Tensor, target: Tensor) -> tuple[float, Tensor]:
    """The loss and its gradient with respect to the logits."""
    logits = logits.detach().clone().requires_grad_()
    value = loss(logits, target)
    (gradient,) = torch.autograd.grad(value, logits)
    return float(value.detach()), gradient


def built(name: str, classes: int = 3) -> torch.nn.Module:
    """With its defaults, and unequal class frequencies for a loss that asks for them."""
    factory = LOSSES[name]
    shares = torch.arange(classes, 0, -1).double()
    asked = {"class_frequencies": (shares / shares.sum()).tolist()}
    return factory(**{key: asked[key] for key in asked.keys() & inspect.signature(factory).parameters.keys()})

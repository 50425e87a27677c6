"""The loss as the audit calls it: which target and which input it wants is found out, and said."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from steelyard.audit.named import Named, reason
from steelyard.audit.options import Options
from steelyard.audit.scene import organ_sizes, scene, sure
from steelyard.errors import BadSpec

TargetForm = Literal["index", "onehot", "channel"]  # in the order in which they are tried
InputForm = Literal["logits", "probabilities"]
Activation = Literal["softmax", "sigmoid", "none"]  # what the loss does to its input before it counts

SHAPES: Mapping[str, str] = {
    "index": "target (batch, *space)",
    "onehot": "one-hot target (batch, class, *space)",
    "channel": "target (batch, 1, *space)",
}
LEAST_PROBABILITY = 1e-300  # its logarithm is finite
SHIFT = 3.0
SAME = 1e-4  # relative; float32 sums over a scene differ by less, SHIFT changes a loss that sees it by far more
SATURATED = 40.0  # a sigmoid there is 0 or 1 to the last bit


@dataclass(frozen=True)
class Subject:
    """A loss with its conventions.

    Attributes:
        target_form: how the target is handed over.
        activation: what the loss was seen to apply to its input: "none" is a loss that takes probabilities.
        input_form: what the network gives, by the user's word: logits, unless told otherwise.
        dtype: float64, or float32 for a loss that refuses float64.
        classes: background included.
        device: where the loss counts.
    """

    loss: Named
    options: Options
    target_form: TargetForm
    activation: Activation
    input_form: InputForm
    dtype: torch.dtype
    classes: int
    device: str = "cpu"

    def charge(self, probabilities: Tensor, labels: Tensor, **changed: Any) -> Tensor:
        """The loss of a prediction, a scalar; `changed` options apply to this call."""
        return self.call(self.as_input(probabilities), labels, **changed)

    def price(self, probabilities: Tensor, labels: Tensor, **changed: Any) -> float:
        with torch.no_grad():
            return float(self.charge(probabilities, labels, **changed))

    def call(self, given: Tensor, labels: Tensor, **changed: Any) -> Tensor:
        """The loss of what it takes as input, whatever its type."""
        return call(self.loss.build(**changed), given, labels, self.target_form, self.device)

    def as_input(self, probabilities: Tensor) -> Tensor:
        """What the loss must be given so that it counts these probabilities."""
        kept = probabilities.clamp(min=LEAST_PROBABILITY)
        if self.activation == "softmax":
            kept = kept.log()
        elif self.activation == "sigmoid":
            kept = kept.log() - (1 - probabilities).clamp(min=LEAST_PROBABILITY).log()
        return kept.to(self.dtype)

    def from_logits(self, logits: Tensor) -> Tensor:
        """What the loss must be given for these logits, in their own type."""
        return logits.softmax(1) if self.activation == "none" else logits

    @property
    def called_with(self) -> str:
        given = {"none": "probabilities", "softmax": "logits", "sigmoid": "logits (one sigmoid per class)"}
        digits = "" if self.dtype is torch.float64 else "; float32, since it refuses float64"
        where = "" if self.device == "cpu" else f"; on {self.device}"
        return f"{given[self.activation]} (batch, class, *space), {SHAPES[self.target_form]}{digits}{where}"


def adapt(
    loss: Named,
    options: Options,
    *,
    target_form: TargetForm | None = None,
    input_form: InputForm = "logits",
    classes: int = 4,
    device: str = "cpu",
) -> Subject:
    """The loss with the first target form that it takes and at which the truth is cheaper than an error.

    Raises:
        BadSpec: no form, or not the form asked for, gives one finite number.
    """
    forms = get_args(TargetForm) if target_form is None else (target_form,)
    labels = scene(organ_sizes(classes))
    right = sure(labels, classes, certainty=0.9)  # between 0 and 1: neither logits nor probabilities are refused
    wrong = [sure((labels + shift) % classes, classes, certainty=0.9) for shift in range(1, classes)]
    built, refusals, usable = loss.build(), [], []
    for form in forms:
        for dtype in (torch.float64, torch.float32):
            try:
                charged = [call(built, answer.to(dtype), labels, form, device) for answer in (right, *wrong)]
                prices = [float(price.detach()) for price in charged]
            except Exception as error:  # whatever foreign code raises
                refusals.append(f"{SHAPES[form]}: {reason(error)}")
                continue
            if all(math.isfinite(price) for price in prices):
                usable.append((prices[0] < min(prices[1:]), form, dtype))
                break
            refusals.append(f"{SHAPES[form]}: gave {prices[0]}.")
    if not usable:
        told = " ".join(dict.fromkeys(refusals))
        raise BadSpec(
            f"{loss.name} gives no number for {classes} classes. {told} Give its options with --with, another number "
            "of classes with --classes, or wrap it in a function of logits and target."
        )
    _, form, dtype = next((found for found in usable if found[0]), usable[0])
    activation = _activation(lambda given: call(built, given.to(dtype), labels, form, device), right, dtype)
    return Subject(loss, options, form, activation, input_form, dtype, classes, device)


def call(loss: Callable[..., Any], given: Tensor, labels: Tensor, form: TargetForm, device: str) -> Tensor:
    """The loss's one number.

    Raises:
        ValueError: it gives something else.
    """
    if device != "cpu":
        given, labels = given.to(device), labels.to(device)
        loss = loss.to(device) if isinstance(loss, nn.Module) else loss
    if form == "index":
        target = labels
    elif form == "channel":
        target = labels[:, None]
    else:
        target = functional.one_hot(labels, given.shape[1]).movedim(-1, 1).to(given.dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        charged = loss(given, target.clone())
    if isinstance(charged, int | float):
        return torch.tensor(float(charged))
    if not isinstance(charged, Tensor) or charged.numel() != 1:
        came = f"shape {tuple(charged.shape)}" if isinstance(charged, Tensor) else type(charged).__name__
        raise ValueError(f"one number was wanted, came {came}; a reduction to a mean is an option, as a rule")
    return charged.reshape(())


def _activation(price: Callable[[Tensor], Tensor], right: Tensor, dtype: torch.dtype) -> Activation:
    """What the loss does to its input.

    A softmax does not see what is added to all logits of a pixel. A sigmoid does, but not where it is saturated; a
    clamp is flat there as well, but it has no gradient outside 0 to 1, where a sigmoid has one.
    """
    generator = torch.Generator().manual_seed(3)
    logits = 2 * torch.randn(right.shape, generator=generator, dtype=torch.float64)
    try:
        if _same(price(logits), price(logits + SHIFT)):
            return "softmax"
        signs = torch.where(right > 0.5, SATURATED, -SATURATED)
        if not _same(price(signs), price(signs + SHIFT)):
            return "none"
        outside = torch.where(right > 0.5, 2.0, -1.0).to(dtype).requires_grad_()
        (slope,) = torch.autograd.grad(price(outside), outside)
    except Exception:  # a loss that checks that probabilities lie between 0 and 1, or has no gradient
        return "none"
    return "sigmoid" if bool(slope.any()) else "none"


def _same(one: Tensor, other: Tensor) -> bool:
    here, there = float(one.detach()), float(other.detach())
    return abs(here - there) <= SAME * max(1.0, abs(here))

"""Per-organ loss: the liver may be charged one way and a kidney another, each with its own loss and prices."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float, Integer, UInt8
from torch import Tensor, nn

from steelyard.errors import BadSpec
from steelyard.losses import LOSSES
from steelyard.losses.constants import constant
from steelyard.losses.soft_counts import check_inputs, check_labels
from steelyard.losses.tversky import IoULoss

Against = Literal["rest", "background"]
OWN_NAME = "per_organ"


class PerOrganLoss(nn.Module):
    """Σ_c w_c L_c / Σ_c w_c over the organs c, where L_c sees two classes alone: everything else (0), the organ (1).

    With logits z and p = softmax(z), loss L_c is given the two logits

    - `rest`: (log Σ_{k≠c} exp z_k, z_c), whose softmax is (1 − p_c, p_c). For a network with one softmax over all
      classes: what it gives an organ it takes from all others, so every L_c moves every logit.
    - `background`: (z_0, z_c), whose softmax gives the organ σ(z_c − z_0). For a network with one head per organ, where
      z_0 is 0 and z_c is the log-odds of head c: L_c moves head c and no other head.

    Args:
        losses: one loss per organ, in the order of the classes (the background has none); or one for all organs.
        against: `rest` or `background`.
        weights: w, one number ≥ 0 per organ, not all 0; equal when None.

    Shapes: logits (batch, class, *space), any float type, computed in float32 at least; integer target
    (batch, *space). Returns a scalar. An organ without a reference voxel costs what its own loss says; its weight
    stays in the divisor.

    Raises:
        ValueError: an option or a shape that does not fit, or an organ's loss that refuses its two classes.

    >>> import torch
    >>> from steelyard.losses.cross_entropy import CrossEntropyLoss
    >>> loss = PerOrganLoss(losses=[IoULoss(fp_weight=0.5, fn_weight=1.5, background=False), CrossEntropyLoss()])
    >>> logits = torch.tensor([0.2, 0.7, 0.1]).log()[None, :, None]    # one voxel: background, organ 1, organ 2
    >>> round(float(loss(logits, torch.tensor([[1]]))), 3)      # (1 − 0.7 / (0.7 + 1.5 · 0.3) − log(1 − 0.1)) / 2
    0.248
    """

    def __init__(
        self,
        *,
        losses: nn.Module | Sequence[nn.Module],
        against: Against = "rest",
        weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if against not in get_args(Against):
            raise ValueError(f"against must be one of {', '.join(get_args(Against))}; came {against!r}.")
        self.alike = isinstance(losses, nn.Module)
        self.losses = nn.ModuleList([losses] if isinstance(losses, nn.Module) else losses)
        self.against = against
        self.weights = None if weights is None else _weights(weights)

    def forward(
        self, logits: Float[Tensor, "batch class *space"], target: Integer[Tensor, "batch *space"]
    ) -> Float[Tensor, ""]:
        check_inputs(logits, target)
        check_labels(target, logits.shape[1])
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        organs = logits.shape[1] - 1
        losses = list(self.losses) * organs if self.alike else list(self.losses)
        weights = (1.0,) * organs if self.weights is None else self.weights
        for name, values in (("organs", losses), ("weights", weights)):
            if len(values) != organs:
                raise ValueError(
                    f"{name} has {len(values)} entries for {organs} organs. Give one per organ, in the order of the "
                    "classes, none for the background."
                )
        terms = []
        for organ, loss in enumerate(losses, start=1):
            with _naming(organ):
                terms.append(loss(*self._alone(logits, target, organ)))
        charged = torch.stack(terms)
        return (charged * constant(tuple(weights), charged.dtype, charged.device)).sum() / math.fsum(weights)

    def _alone(
        self, logits: Tensor, target: Tensor, organ: int
    ) -> tuple[Float[Tensor, "batch 2 *space"], UInt8[Tensor, "batch *space"]]:
        """The organ against everything else, as two classes."""
        if self.against == "rest":
            other = torch.cat((logits[:, :organ], logits[:, organ + 1 :]), dim=1).logsumexp(1)
        else:
            other = logits[:, 0]
        return torch.stack((other, logits[:, organ]), dim=1), (target == organ).to(torch.uint8)

    def extra_repr(self) -> str:
        return f"against={self.against}, weights={self.weights}"


@LOSSES.register("per_organ", "each organ with a loss and weights of its own, averaged over the organs")
def per_organ(
    *,
    organs: str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]] = "dice",
    against: Against = "rest",
    weights: Sequence[float] | None = None,
    class_frequencies: Sequence[float] | None = None,
) -> PerOrganLoss:
    """`PerOrganLoss` from names: each entry of `organs` is a registered loss, `"dice"` or `{ name = "tversky", … }`.

    Args:
        organs: one entry per organ, in the order of the classes (the background has none); or one entry for all.
        against, weights: as `PerOrganLoss`.
        class_frequencies: (class,), filled in by the study for entries that ask for it (`crossE`), which are told
            (1 − f_c, f_c).

    In an overlap loss (`tversky`, `iou11`, `dice`, the Dice half of `dice_ce`, …) the organ's term alone counts, where
    the loss by itself would average it with that of everything else: nearly all voxels are everything else, and its
    term is nearly 0 whatever the network does with the organ. A `tversky` that says `background = true` keeps both.
    With overlap entries and `against="rest"`, `per_organ` is therefore `tversky` with one price per class and
    `background = false`.

    Raises:
        ValueError: an entry that names no loss or gives options that the loss does not have.

    >>> prices = {"name": "tversky", "fp_weight": 0.5, "fn_weight": 1.5}
    >>> loss = per_organ(organs=[prices, "cross_entropy"], weights=[1, 2])
    """
    losses: nn.Module | list[nn.Module]
    if not isinstance(organs, str | Mapping | Sequence):
        raise ValueError(f"organs must be a list with one loss per organ, or one loss for all; came {organs!r}.")
    if not isinstance(organs, str | Mapping):
        losses = [_built(entry, organ, class_frequencies) for organ, entry in enumerate(organs, start=1)]
    elif class_frequencies is None:
        losses = _built(organs, 1, None)
    else:  # frequencies differ from organ to organ
        losses = [_built(organs, organ, class_frequencies) for organ in range(1, max(len(class_frequencies), 2))]
    return PerOrganLoss(losses=losses, against=against, weights=weights)


def _built(entry: str | Mapping[str, Any], organ: int, class_frequencies: Sequence[float] | None) -> nn.Module:
    """The loss that an entry names, for two classes: everything else and the organ."""
    options: dict[str, Any] = dict(entry) if isinstance(entry, Mapping) else {"name": entry}
    name = options.pop("name", None)
    with _naming(organ):
        if not isinstance(name, str):
            raise ValueError(f"the name of a loss was wanted, or {{ name = …, its options }}; came {entry!r}.")
        if name == OWN_NAME:
            raise ValueError(f"{OWN_NAME} cannot hold {OWN_NAME}. Name the organ's own loss.")
        try:
            factory = LOSSES[name]
        except BadSpec as error:
            raise ValueError(str(error)) from None
        known = inspect.signature(factory).parameters
        if "class_frequencies" in known and class_frequencies is not None:
            # Where their number does not fit the organs', `forward` says so.
            share = class_frequencies[organ] if organ < len(class_frequencies) else 0.0
            options["class_frequencies"] = [1 - share, share]
        both_terms = bool(options.get("background", False))
        if "background" in known:
            options.setdefault("background", False)
        try:
            inspect.signature(factory).bind(**options)
        except TypeError as error:
            raise ValueError(f"{name}: {error}. Its options: {', '.join(known) or 'none'}.") from None
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            loss = factory(**options)
    for warning in caught:
        warnings.warn(f"organ {organ}: {warning.message}", warning.category, stacklevel=3)
    for part in loss.modules():
        if isinstance(part, IoULoss):
            part.background = both_terms
    return loss


@contextmanager
def _naming(organ: int) -> Iterator[None]:
    """Errors of an organ's own loss say whose it is: to that loss every organ is class 1."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise ValueError(f"organ {organ}: {error}") from error


def _weights(values: Sequence[float]) -> tuple[float, ...]:
    """Plain numbers, as in `IoULoss`."""
    weights = tuple(float(value) for value in values)
    if not all(math.isfinite(weight) and weight >= 0 for weight in weights) or not any(weights):
        raise ValueError(f"weights must be finite numbers ≥ 0, one per organ, not all 0; came {values!r}.")
    return weights

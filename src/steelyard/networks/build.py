"""A network by name: one of Steelyard's own, or `module:callable` for any other, with seeded starting weights."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

import torch
from torch import nn

from steelyard.errors import BadSpec
from steelyard.networks import NETWORKS
from steelyard.networks.custom import DRY_RUN_PX, build_custom


def build_network(
    name: str,
    channels: int,
    classes: int,
    /,
    *,
    seed: int,
    size_px: tuple[int, int] = DRY_RUN_PX,
    **options: Any,
) -> nn.Module:
    """The network, on the CPU, whose starting weights depend on the arguments alone.

    Args:
        name: a registered name, or `module:callable` (see `build_custom`).
        channels: channels of the image, at least 1.
        classes: classes of the logits, background included, at least 2.
        seed: of the starting weights. torch's own random state is neither read nor moved.
        size_px: rows and columns of the images on which a `module:callable` is tried; the registered ones take any.
        options: keywords of the network, which may be called `channels` too (MONAI's are).

    Errors: `BadSpec` for an unknown name or option and for a foreign network that does not fit; `BadData` for broken
    weights.

    >>> build_network("fcn8s_vgg16", 1, 5, seed=0, learned_upsampling=True)
    """
    if channels < 1 or classes < 2:
        raise BadSpec(f"network {name}: at least 1 channel and 2 classes were wanted, {channels} and {classes} came.")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed accelerators too
        if ":" in name:
            return build_custom(name, channels, classes, size_px=size_px, **options)
        factory = NETWORKS[name]
        _check_options(name, factory, options)
        try:
            return factory(channels, classes, **options)
        except (TypeError, ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise BadSpec(f"network {name} cannot be built with {options}: {reason}.") from error


def _check_options(name: str, factory: Callable[..., nn.Module], options: dict[str, Any]) -> None:
    parameters = inspect.signature(factory).parameters.values()
    known = sorted(parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY)
    errors = []
    for option in options:
        if option not in known:
            near = get_close_matches(option, known, n=1, cutoff=0.5)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            errors.append(f"network {name} has no option {option!r}.{hint} It has: {', '.join(known)}.")
    if errors:
        raise BadSpec(*errors)

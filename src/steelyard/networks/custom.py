"""Networks from elsewhere: any importable callable that gives a torch network, checked before it is trained."""

from __future__ import annotations

import copy
import importlib
import inspect
from collections.abc import Callable
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn

from steelyard.errors import BadSpec

# What libraries call the two numbers; the first name that the callable has is used. `channels` comes last among its
# kind because MONAI's UNet calls its stages' widths so, beside in_channels.
CHANNEL_NAMES = ("in_channels", "in_chans", "n_channels", "channels")
CLASS_NAMES = ("classes", "num_classes", "n_classes", "out_channels")

DRY_RUN_PX = (64, 64)


def build_custom(
    name: str, channels: int, classes: int, /, *, size_px: tuple[int, int] = DRY_RUN_PX, **options: Any
) -> nn.Module:
    """The network that `module:callable` makes, called with keywords alone and tried once.

    The image's channels are passed as the first of `CHANNEL_NAMES` among the callable's parameters, the classes
    (background included) as the first of `CLASS_NAMES`; `options` are passed as they are. The network is then tried in
    training and in evaluation on two images of `size_px` (rows, columns): it has to give logits (2, classes, rows,
    columns).

    Errors: `BadSpec` where the callable cannot be found, called or given the two numbers, or the logits are wrong.

    >>> build_custom("monai.networks.nets:UNet", 1, 5, spatial_dims=2, channels=(16, 32, 64), strides=(2, 2))
    """
    factory = _find(name)
    names = _parameter_names(name, factory)
    channel_name = _choose(name, names, CHANNEL_NAMES, options, meaning="channels of the image", value=channels)
    class_name = _choose(name, names, CLASS_NAMES, options, meaning="classes", value=classes)
    try:
        network = factory(**{channel_name: channels, class_name: classes}, **options)
    except Exception as error:  # whatever foreign code raises
        given = ", ".join(sorted({channel_name, class_name, *options}))
        raise BadSpec(f"{name} could not be built: {_reason(error)} Correct its options; given: {given}.") from error
    if not isinstance(network, nn.Module):
        raise BadSpec(f"{name} gave a {type(network).__name__}, not a torch.nn.Module. Name a network or its builder.")
    check_logits(network, channels, classes, size_px=size_px, name=name)
    return network


def check_logits(network: nn.Module, channels: int, classes: int, *, size_px: tuple[int, int], name: str) -> None:
    """Try a copy of `network` in training and in evaluation on two images of `size_px` (rows, columns).

    Errors: `BadSpec`, with `name` for the network, unless it gives logits (2, classes, rows, columns) each time.
    """
    wanted = (2, classes, *size_px)
    for training in (True, False):
        mode = "training" if training else "evaluation"
        trial = copy.deepcopy(network).train(training)  # training moves the running means of normalisation
        try:
            with torch.no_grad():
                logits = trial(torch.zeros(2, channels, *size_px))
        except Exception as error:
            raise BadSpec(
                f"{name} fails in {mode} on 2 images of {channels} channels, {size_px[0]}×{size_px[1]} px: "
                f"{_reason(error)} Change its options or the image size."
            ) from error
        came = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        if came != wanted:
            raise BadSpec(
                f"{name} gives {came} in {mode}, not logits of shape {wanted} (image, class, row, column). "
                "Change its options or the image size, or wrap it in a module that gives logits alone."
            )


def _find(name: str) -> Callable[..., Any]:
    module_name, _, path = name.partition(":")
    if not module_name or not path:
        raise BadSpec(f"network {name!r}: 'module:callable' was wanted, as in 'monai.networks.nets:UNet'.")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise BadSpec(
            f"network {name!r}: {module_name} cannot be imported: {_reason(error)} "
            "Install it, or put its folder on PYTHONPATH."
        ) from error
    try:
        found = attrgetter(path)(module)
    except AttributeError as error:
        raise BadSpec(f"network {name!r}: {module_name} has no {path!r}. Check the spelling.") from error
    if not callable(found):
        raise BadSpec(f"network {name!r}: {path} is a {type(found).__name__}, which cannot be called. Name a callable.")
    return found


def _parameter_names(name: str, factory: Callable[..., Any]) -> tuple[str, ...]:
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError) as error:
        raise BadSpec(f"network {name!r} does not tell its parameters. {_REMEDY}") from error
    by_keyword = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return tuple(parameter.name for parameter in parameters if parameter.kind in by_keyword)


def _choose(
    name: str, names: tuple[str, ...], known: tuple[str, ...], options: dict[str, Any], *, meaning: str, value: int
) -> str:
    for candidate in known:
        if candidate in names:
            if candidate in options:
                raise BadSpec(
                    f"network {name!r}: {candidate} is the number of {meaning}, {value}, and follows from the data. "
                    f"Leave {candidate} = {options[candidate]!r} out."
                )
            return candidate
    raise BadSpec(
        f"network {name!r}: none of its parameters ({', '.join(names) or 'it names none'}) is called "
        f"{', '.join(known)}, so the {meaning} cannot be passed. {_REMEDY}"
    )


_REMEDY = "Name a function of your own with parameters `channels` and `classes` that builds it."


def _reason(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    reason = lines[0] if lines else type(error).__name__
    return reason if reason.endswith((".", "!", "?")) else reason + "."

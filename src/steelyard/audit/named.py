"""Finding the loss: a registered name, module:callable or file.py:callable, and how options reach it."""

from __future__ import annotations

import copy
import functools
import importlib
import importlib.util
import inspect
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal

from torch import nn

from steelyard.errors import BadSpec
from steelyard.losses import LOSSES

TakenFor = Literal["builder", "loss"]


@dataclass(frozen=True)
class Named:
    """A loss that can be built, and built again with another option; it can go to another process.

    Attributes:
        source: its name, or the class, function or module itself.
        taken_for: `builder`, called with the options to give a loss; `loss`, called with logits and target.
    """

    source: str | Callable[..., Any]
    taken_for: TakenFor
    options: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def part(self) -> Callable[..., Any]:
        return _find(self.source) if isinstance(self.source, str) else self.source

    @property
    def name(self) -> str:
        return self.source if isinstance(self.source, str) else name_of(self.source)

    @property
    def library(self) -> str:
        """The package that the loss comes from, as `monai`."""
        owner = type(self.part) if isinstance(self.part, nn.Module) else self.part
        return str(getattr(owner, "__module__", "")).partition(".")[0]

    def build(self, **changed: Any) -> Callable[..., Any]:
        """The loss with these options changed: to a value, or by a function of what they are.

        An option that is no parameter but that the built loss, or a loss within it, keeps as an attribute is set there.
        """
        options = {key: _changed(value, self.value_of(key)) for key, value in changed.items() if self.takes(key)}
        if self.taken_for == "loss" and not isinstance(self.part, nn.Module):
            return functools.partial(self.part, **{**self.options, **options})
        built = self.part if self.taken_for == "loss" else self._call({**self.options, **options})
        attributes = {key: value for key, value in changed.items() if key not in options}
        if attributes:
            built = copy.deepcopy(built)
            for key, value in attributes.items():
                for keeper in _keepers(built, key):
                    setattr(keeper, key, _changed(value, getattr(keeper, key)))
        return built

    def takes(self, option: str) -> bool:
        """Whether the option is a parameter."""
        return option in self._parameters

    def keeps(self, option: str, *, within: bool = False) -> bool:
        """Whether the option is an attribute of the built loss, or else of a loss `within` it."""
        built = self._built
        return any(within or keeper is built for keeper in _keepers(built, option))

    def value_of(self, option: str) -> Any:
        """What the option stands at: given, the default, or the built loss's attribute."""
        if option in self.options:
            return self.options[option]
        if self.takes(option):
            default = self._parameters[option].default
            return None if default is inspect.Parameter.empty else default
        return getattr(_keepers(self._built, option)[0], option)

    @cached_property
    def _parameters(self) -> dict[str, inspect.Parameter]:
        if isinstance(self.part, nn.Module):
            return {}
        parameters = list(_signature(self.part, self.name).parameters.values())
        if self.taken_for == "loss":
            parameters = parameters[2:]
        by_keyword = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        return {parameter.name: parameter for parameter in parameters if parameter.kind in by_keyword}

    @cached_property
    def _built(self) -> Callable[..., Any]:
        return self.build()

    def _call(self, options: Mapping[str, Any]) -> Callable[..., Any]:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                built = self.part(**options)
        except Exception as error:  # whatever foreign code raises
            given = ", ".join(options) or "none"
            raise BadSpec(
                f"{self.name} could not be built: {reason(error)} Give its options with --with key=value; "
                f"given: {given}."
            ) from error
        if not callable(built):
            raise BadSpec(
                f"{self.name} gave a {type(built).__name__}, which cannot be called. Name a loss, or say --as loss."
            )
        return built

    def __getstate__(self) -> dict[str, Any]:
        """Without what was found and built here: a file's class cannot be pickled, its name can."""
        return {key: value for key, value in vars(self).items() if key in ("source", "taken_for", "options")}


def named(source: str | Callable[..., Any], options: Mapping[str, Any], taken_for: TakenFor | None = None) -> Named:
    """The loss, and what it is taken for: said by the caller, or told by its signature.

    A class builds a loss; a module object is one. A function that needs two arguments more than the options is one,
    a function that needs none more builds one.

    Raises:
        BadSpec: it cannot be found or called, or its signature leaves open what it is.
    """
    part = _find(source) if isinstance(source, str) else source
    name = source if isinstance(source, str) else name_of(source)
    if not callable(part):
        raise BadSpec(f"loss {name!r} is a {type(part).__name__}, which cannot be called. Name a callable.")
    if isinstance(part, nn.Module) and (taken_for == "builder" or options):
        raise BadSpec(f"loss {name!r} is built already and takes no options. Name its class.")
    if taken_for is None:
        taken_for = _told_by_signature(part, name, options)
    found = Named(source, taken_for, dict(options))
    found.build()  # so that a wrong option is told at once
    return found


def name_of(part: Callable[..., Any]) -> str:
    owner = type(part) if isinstance(part, nn.Module) else part
    return f"{getattr(owner, '__module__', '?')}:{getattr(owner, '__qualname__', repr(part))}"


def reason(error: BaseException) -> str:
    """What an exception says, in one sentence."""
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    said = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return said if said.endswith((".", "!", "?")) else said + "."


def _keepers(built: Callable[..., Any], option: str) -> list[nn.Module]:
    """The built loss where it keeps the option as an attribute; else every loss within it that does."""
    modules = list(built.modules()) if isinstance(built, nn.Module) else []
    keepers = [module for module in modules if option in vars(module)]
    return keepers[:1] if keepers and keepers[0] is built else keepers


def _changed(change: Any, value: Any) -> Any:
    return change(value) if callable(change) else change


def _find(name: str) -> Callable[..., Any]:
    place, colon, path = name.rpartition(":")
    if not colon:
        return LOSSES[name]
    if not place or not path:
        raise BadSpec(f"loss {name!r}: module:callable or file.py:callable was wanted, as in monai.losses:DiceLoss.")
    try:
        module = _load(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    except Exception as error:
        raise BadSpec(f"loss {name!r}: {place} cannot be imported: {reason(error)} {_remedy(place, error)}") from error
    try:
        return attrgetter(path)(module)
    except AttributeError as error:
        raise BadSpec(f"loss {name!r}: {place} has no {path!r}. Check the spelling.") from error


def _load(file: Path) -> Any:
    """The module in a file, under its own name, with its folder open to its imports as for a script."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None or not file.is_file():
        raise FileNotFoundError(f"there is no file {file}")
    folder = str(file.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(file.stem, module)
    spec.loader.exec_module(module)
    return module


def _remedy(place: str, error: BaseException) -> str:
    if "torchvision::" in str(error):
        return "The installed torchvision does not fit the installed torch; install both from the same index."
    return "Check the path." if place.endswith(".py") else "Install it, or put its folder on PYTHONPATH."


def _told_by_signature(part: Callable[..., Any], name: str, options: Mapping[str, Any]) -> TakenFor:
    if inspect.isclass(part):
        return "builder"
    if isinstance(part, nn.Module):
        return "loss"
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    asked = [
        parameter.name
        for parameter in _signature(part, name).parameters.values()
        if parameter.default is inspect.Parameter.empty and parameter.name not in options
        if parameter.kind in (*positional, inspect.Parameter.KEYWORD_ONLY)
    ]
    if len(asked) == 2:
        return "loss"
    if not asked or name in LOSSES:
        return "builder"
    raise BadSpec(
        f"loss {name!r} needs {', '.join(asked)}: neither logits and target alone, nor nothing but its options. "
        "Give the options with --with key=value, or say --as loss or --as builder."
    )


def _signature(part: Callable[..., Any], name: str) -> inspect.Signature:
    try:
        return inspect.signature(part)
    except (TypeError, ValueError) as error:
        raise BadSpec(f"loss {name!r} does not tell its parameters. Wrap it in a function of two arguments.") from error

"""A loss as Python text: the parts of `standalone` that it needs, and one function that builds it."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from torch import nn

from steelyard import __version__
from steelyard.errors import BadSpec
from steelyard.export.recipe import LossRecipe
from steelyard.losses import LOSSES
from steelyard.losses.cross_entropy import CrossEntropyLoss
from steelyard.losses.dice_ce import DiceCrossEntropyLoss
from steelyard.losses.per_organ import PerOrganLoss
from steelyard.losses.tversky import IoULoss

MARK = "Written by Steelyard"  # in every exported file: only such a file may be overwritten
LINE = 100  # characters that a call may take in one line
STANDALONE = Path(__file__).with_name("standalone.py")
ENTRY = ("EPSILON", "IGNORED", "ExportedLoss")


def python_file(template: str, recipe: LossRecipe, **values: Any) -> str:
    """The text of an exported Python file."""
    call = _call_of(recipe.loss, recipe.part.name)
    return _render(
        template,
        mark=MARK,
        version=__version__,
        source=ascii(recipe.source)[1:-1],
        title=_plain(recipe.title),
        summary=_plain(LOSSES.entries[recipe.part.name].summary),
        arithmetic=_parts(call.names()),
        call=call.text(indent=8),
        classes=recipe.classes if recipe.order_matters else (),
        **values,
    )


@dataclass(frozen=True)
class _Call:
    """`name(key=value, …)`; values may be calls, or lists of them."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def text(self, indent: int) -> str:
        """Python text in one line where it fits, whose further lines begin at `indent`."""
        one_line = f"{self.name}({', '.join(f'{key}={_text(value)}' for key, value in self.arguments.items())})"
        if indent + len(one_line) <= LINE:
            return one_line
        inner = " " * (indent + 4)
        lines = [f"{inner}{key}={_text(value, indent + 4)},\n" for key, value in self.arguments.items()]
        return f"{self.name}(\n{''.join(lines)}{' ' * indent})"

    def names(self) -> set[str]:
        """All that is called."""
        found = {self.name}
        for value in self.arguments.values():
            for part in value if isinstance(value, list) else [value]:
                found |= part.names() if isinstance(part, _Call) else set()
        return found


def _text(value: Any, indent: int = -10_000) -> str:
    if isinstance(value, _Call):
        return value.text(indent)
    if isinstance(value, str):
        return json.dumps(value)
    if not isinstance(value, list):
        return repr(value)
    one_line = f"[{', '.join(_text(part) for part in value)}]"
    if indent + len(one_line) <= LINE:
        return one_line
    inner = " " * (indent + 4)
    return "[\n" + "".join(f"{inner}{_text(part, indent + 4)},\n" for part in value) + " " * indent + "]"


def _call_of(loss: nn.Module, name: str) -> _Call:
    """What builds the loss from the parts of `standalone`; every option is written out."""
    if type(loss) is IoULoss:
        options = ("fp_weight", "fn_weight", "class_weights", "background", "scope", "absent")
        return _Call("OverlapLoss", {option: getattr(loss, option) for option in options})
    if type(loss) is CrossEntropyLoss:
        return _Call("CrossEntropyLoss", {"class_weights": loss.class_weights})
    if type(loss) is DiceCrossEntropyLoss:
        return _Call("SumOfLosses", {"losses": [_call_of(part, name) for part in (loss.dice, loss.cross_entropy)]})
    if type(loss) is PerOrganLoss:
        parts = [_call_of(part, name) for part in loss.losses]
        return _Call(
            "PerOrganLoss",
            {"losses": parts[0] if loss.alike else parts, "against": loss.against, "weights": loss.weights},
        )
    raise BadSpec(
        f"loss {name!r} holds a {type(loss).__name__}, which cannot be exported. Losses that can: tversky, iou11, "
        "iou1505, iou0515, dice, diceBK, cross_entropy, dice_ce, per_organ."
    )


def _parts(names: set[str]) -> str:
    """The definitions of `standalone` with those names, and all that they use, in its order."""
    source = STANDALONE.read_text(encoding="utf-8")
    lines = source.splitlines()
    definitions: dict[str, ast.stmt] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            definitions[node.name] = node
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            definitions[node.targets[0].id] = node
    wanted, left = set[str](), [*ENTRY, *names]
    while left:
        name = left.pop()
        if name in definitions and name not in wanted:
            wanted.add(name)
            left += [found.id for found in ast.walk(definitions[name]) if isinstance(found, ast.Name)]
    kept = [definitions[name] for name in definitions if name in wanted]
    texts = ["\n".join(lines[node.lineno - 1 : node.end_lineno]) for node in kept]
    constants = sum(isinstance(node, ast.Assign) for node in kept)
    return "\n\n\n".join(["\n".join(texts[:constants]), *texts[constants:]])


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("steelyard.export", "."), autoescape=False, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip


def _render(template: str, **values: Any) -> str:
    return _environment().get_template(template).render(**values).rstrip() + "\n"


def _plain(text: str) -> str:
    """Fit for a docstring in another file: no quotes that end it, no backslashes, one line."""
    return " ".join(text.replace("\\", "/").replace('"', "'").split())

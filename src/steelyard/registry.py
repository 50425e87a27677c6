"""Names for parts: a file that decorates its class with a name adds that part, and nothing else has to change.

The names are found by reading the package's source, so that listing them imports none of the parts (and no torch).
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

from steelyard.errors import BadSpec, unknown_name

T = TypeVar("T", bound=Callable[..., Any])


@dataclass(frozen=True)
class Entry:
    """One registered name: where it is written and what it is, in a sentence."""

    name: str
    summary: str
    module: str


class Registry(Generic[T]):
    """The parts of one kind, by name. `package` is searched for `NAME.register("…", "summary")` calls.

    >>> LOSSES = Registry("loss", package="steelyard.losses", folder=Path(__file__).parent)
    >>> @LOSSES.register("dice", "Dice: one miss and one spill weigh the same")
    ... class DiceLoss: ...
    """

    def __init__(self, kind: str, *, package: str, folder: Path) -> None:
        self.kind = kind
        self._package = package
        self._folder = folder
        self._parts: dict[str, T] = {}

    def register(self, name: str, summary: str) -> Callable[[T], T]:
        """Decorator. A registered name keeps its meaning for ever: a changed formula takes a new name."""

        def add(part: T) -> T:
            if name in self._parts and self._parts[name] is not part:
                raise ValueError(f"two {self.kind} parts are registered as {name!r}")
            self._parts[name] = part
            return part

        return add

    @cached_property
    def entries(self) -> dict[str, Entry]:
        """All names with their one-line summaries, sorted, without importing any part."""
        found = [entry for file in sorted(self._folder.glob("*.py")) for entry in self._read(file)]
        return {entry.name: entry for entry in sorted(found, key=lambda entry: entry.name.lower())}

    def __getitem__(self, name: str) -> T:
        if name not in self._parts:
            if name not in self.entries:
                raise BadSpec(unknown_name(self.kind, name, self.entries))
            importlib.import_module(self.entries[name].module)
        return self._parts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __contains__(self, name: object) -> bool:
        return name in self.entries or name in self._parts

    def _read(self, file: Path) -> Iterator[Entry]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "register"
                and len(node.args) == 2
                and all(isinstance(arg, ast.Constant) for arg in node.args)
            ):
                name, summary = (arg.value for arg in node.args)  # type: ignore[attr-defined]
                yield Entry(str(name), str(summary), f"{self._package}.{file.stem}")

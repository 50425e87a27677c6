"""What a file in `lines` says of itself, and how its module is found."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

Work = Callable[[], object]  # does the measured thing once


@dataclass(frozen=True)
class Limit:
    """What the machine itself would need: seconds, and how they come about."""

    seconds: float
    words: str


@dataclass(frozen=True)
class Line:
    """One line of the page.

    Args:
        title: what is measured, with sizes.
        peer: whom we are measured against.
        wanted: how many times faster than the peer we want to be; None where speed is not the question.
        wanted_memory: our peak extra memory as a share of the peer's, at most; None where memory is not the question.
        threads: torch threads of each side.
        repeats: how many pairs are timed, after one that is not.
        needs: what must be at hand, as `"STEELYARD_DATA"`; the line is left out, with that reason, where it is not.
    """

    title: str
    peer: str
    wanted: float | None = None
    wanted_memory: float | None = None
    threads: int = 2
    repeats: int = 15
    needs: tuple[str, ...] = ()


class LineModule(Protocol):
    """What a file in `lines` holds. `ours` and `peer` prepare and return the work; each is called in its own process.

    `limit` is called in ours, after the timing. A module may also have `notes() -> list[str]`: what else was measured.
    """

    LINE: Line

    def ours(self) -> Work: ...

    def peer(self) -> Work: ...

    def limit(self) -> Limit: ...


def line_names() -> list[str]:
    """The lines in their order: files are numbered."""
    from benchmarks import lines

    return sorted(module.name for module in pkgutil.iter_modules(lines.__path__))


def module_of(name: str) -> LineModule:
    return importlib.import_module(f"benchmarks.lines.{name}")  # type: ignore[return-value]

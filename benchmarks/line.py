"""What a file in `lines` says of itself, what it needs, and how its module is found."""

from __future__ import annotations

import importlib
import importlib.util
import os
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
        peer: whom we are measured against, or what our time is a share of.
        wanted: how many times faster than the peer we want to be; None where speed is not the question.
        wanted_memory: our peak extra memory as a share of the peer's, at most; None where memory is not the question.
        wanted_mib: our peak extra memory, at most.
        wanted_seconds: our own time, at most.
        of: how many of what one piece of work does, as `(64, "slices")`; the page then gives them per second.
        threads: torch threads of each side.
        repeats: how many pairs are timed, after `warm_ups` that are not.
        calls: how often a turn does the work, without a pause; its time is that of one. More than one for short work,
            which a program does again and again, and which alone would mostly measure how a process wakes up.
        measures_memory: False where the work is done by other processes, or on a GPU.
        needs: what must be at hand, besides what Steelyard itself needs: a variable of the environment as
            `STEELYARD_DATA`, a module as `monai`, `bf16` (a processor that multiplies it), or `cuda`. The line is left
            out where it is not.
        shortfall: why the line is not reached, and what reaching it would take; the page says it while it is not.
    """

    title: str
    peer: str
    wanted: float | None = None
    wanted_memory: float | None = None
    wanted_mib: float | None = None
    wanted_seconds: float | None = None
    of: tuple[int, str] | None = None
    threads: int = 2
    repeats: int = 15
    calls: int = 1
    warm_ups: int = 1
    measures_memory: bool = True
    needs: tuple[str, ...] = ()
    shortfall: str = ""


class LineModule(Protocol):
    """What a file in `lines` holds. `ours` and `peer` prepare and return the work; each is called in its own process.

    `same` raises unless both sides compute the same; it is called before anything is timed. `limit` is called in ours,
    after the timing. A module may also have `notes() -> list[str]`: what else was measured; and `wait()`, which ends a
    turn where calls only launch the work, as on a GPU.
    """

    LINE: Line

    def ours(self) -> Work: ...

    def peer(self) -> Work: ...

    def same(self) -> None: ...

    def limit(self) -> Limit: ...


def line_names() -> list[str]:
    """The lines in their order: files are numbered."""
    from benchmarks import lines

    return sorted(module.name for module in pkgutil.iter_modules(lines.__path__))


def module_of(name: str) -> LineModule:
    return importlib.import_module(f"benchmarks.lines.{name}")  # type: ignore[return-value]


def missing(line: Line) -> list[str]:
    """What the line needs and this machine lacks."""
    return [need for need in line.needs if not _is_there(need)]


def _is_there(need: str) -> bool:
    if need == "cuda":
        import torch

        return torch.cuda.is_available()
    if need == "bf16":
        import torch

        from steelyard.precision import fastest_precision

        return fastest_precision(torch.device("cpu")) == "bf16"
    if need.isupper():
        return bool(os.environ.get(need))
    return importlib.util.find_spec(need) is not None

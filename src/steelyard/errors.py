"""What can go wrong, each with the exit code that a script may rely on."""

from __future__ import annotations

import errno
import os
import unicodedata
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
LONGEST_LINE = 2000  # characters of an error; what came may be a whole file, and the remedy stands at the end
UNPRINTABLE = ("Cc", "Cs", "Co", "Cn", "Cf")  # Unicode's control, surrogate, private, unassigned and format characters


class SteelyardError(Exception):
    """One line: what was wanted, what came, what to do."""

    exit_code = 1

    def __init__(self, message: str = "") -> None:
        super().__init__(one_line(message))


class BadSpec(SteelyardError):
    """The command or the study file is wrong. May carry several errors, one line each."""

    exit_code = 2

    def __init__(self, *errors: str) -> None:
        self.errors = tuple(map(one_line, errors))
        Exception.__init__(self, "\n".join(self.errors))

    def __reduce__(self) -> tuple[type[BadSpec], tuple[str, ...]]:
        return type(self), self.errors  # processes send errors to each other


class BadData(SteelyardError):
    """A file or folder of images is not what it should be. Names patient, file and remedy (the last sentence)."""

    exit_code = 3

    def __init__(self, message: str, *, file: Path | None = None) -> None:
        self.file = file
        super().__init__(message)


class Interrupted(SteelyardError):
    """Work stopped before its end; the same command goes on from where it stopped."""

    exit_code = 4


class RunsFailed(SteelyardError):
    """A study went to its end, but some of its runs failed; each left its reason behind."""

    exit_code = 1


def disk_full(error: OSError, where: Path | str) -> Interrupted:
    """The line for a full disk: nothing half-written, and what to do."""
    return Interrupted(
        f"no space left for {where}: {os.strerror(error.errno or 0)}. Free some and run the same command again."
    )


def one_line(text: Any) -> str:
    """The text on one line, its middle left out where it has no end.

    What came with a file may hold anything: line breaks become blanks, and characters that would move a terminal's
    cursor or turn the direction of writing become `�`.
    """
    line = " ".join(str(text).split())
    line = "".join("�" if unicodedata.category(c) in UNPRINTABLE else c for c in line)
    half = LONGEST_LINE // 2
    return line if len(line) <= LONGEST_LINE else f"{line[:half]} … {line[-half:]}"


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """The line for a name that does not exist: with the nearest known one, and all known ones."""
    known = sorted(known)
    lowered = {k.lower(): k for k in known}
    near = get_close_matches(name.lower(), lowered, n=1, cutoff=0.5)
    hint = f" Did you mean {lowered[near[0]]!r}?" if near else ""
    return f"no {kind} is named {name!r}.{hint} Known: {', '.join(known)}."

"""The command line: one function per verb, each calling one function below; a file per kind of work."""

from __future__ import annotations

import shutil
import sys

from steelyard.cli.contents import contents
from steelyard.errors import DISK_FULL, BadData, BadSpec, Interrupted, SteelyardError, disk_full

__all__ = ["main"]

HELP: tuple[list[str], ...] = ([], ["--help"], ["-h"])


def main() -> None:
    """Entry point: every error is one line (several for a study file), every exit code is one of 0 to 4."""
    arguments = sys.argv[1:]
    try:
        if arguments in HELP:
            print(contents(width=shutil.get_terminal_size().columns))
        else:
            _call(arguments)
    except SteelyardError as error:
        _leave(error)
    except KeyboardInterrupt:
        _leave(Interrupted("interrupted"))
    except OSError as error:
        if error.errno in DISK_FULL:
            _leave(disk_full(error, error.filename or "the output"))
        _leave(
            BadData(f"{error.filename or 'a file'} cannot be used: {error.strerror}. Check the path and its rights.")
        )
    except Exception as error:
        if sys.flags.dev_mode:  # python -X dev: for those who mend it
            raise
        _leave(SteelyardError(f"a defect of Steelyard itself, please report it: {type(error).__name__}: {error}"))


def _call(arguments: list[str]) -> None:
    from cyclopts import CycloptsError

    from steelyard.cli.app import app

    try:
        app(arguments, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        raise BadSpec(" ".join(str(error).split())) from None


def _leave(error: SteelyardError) -> None:
    text = "\n".join(error.errors) if isinstance(error, BadSpec) else " ".join(str(error).split())
    if isinstance(error, Interrupted) and "same command" not in text:
        text += "; the same command goes on from the last saved state"
    print(text, file=sys.stderr)
    raise SystemExit(error.exit_code)

"""The command itself: a verb's file is loaded when the verb is called."""

from __future__ import annotations

import os
import sys
from typing import Any

from cyclopts import App

from steelyard import __version__
from steelyard.cli.contents import PURPOSE, VERBS

app = App(
    name="steelyard",
    help=PURPOSE,
    version=__version__,
    help_format="plaintext",  # markdown would load a parser and be no better to read
    result_action="return_value",
    suppress_keyboard_interrupt=False,  # `main` gives it its line and its exit code
)

for name, verb in VERBS.items():
    app.command(f"steelyard.cli.{verb.function}", name=name)

FILE_WIDTH = 160  # columns of a table in a file or a pipe, where names must not be cut to a terminal's 80


def console() -> Any:
    """Where commands print: plain text, nothing of it read as markup."""
    from rich.console import Console

    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else FILE_WIDTH
    return Console(markup=False, emoji=False, width=width)

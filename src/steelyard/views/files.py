"""Writing what people look at: whole or not at all, with one line when it cannot be done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from steelyard.errors import BadData
from steelyard.runstore import DISK_FULL, disk_full, write_atomically


def write_view(path: Path, write: Callable[[Path], object]) -> None:
    """`write(temporary)`, then renamed to `path`. Makes missing folders.

    Raises:
        BadData: a place that cannot be written.
        Interrupted: the disk is full.
    """
    try:
        write_atomically(path, write)
    except OSError as error:
        if error.errno in DISK_FULL:
            raise disk_full(error, path) from None
        raise BadData(f"{path} cannot be written ({error.strerror}). Choose another place.", file=path) from None

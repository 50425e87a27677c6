"""Fetching a file of published weights once: checked against the hash in its name, then kept."""

from __future__ import annotations

import hashlib
import http.client
import io
import os
import re
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from steelyard.errors import BadData

TIMEOUT_S = 30  # of silence, not of the whole transfer
PIECE_BYTES = 1 << 20
HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.")  # torch.hub's custom: vgg16-397923af.pth


def download(url: str, folder: Path) -> Path:
    """The file behind `url` in `folder`, fetched unless it is there already.

    The file's name must hold the first digits of its SHA-256, as in vgg16-397923af.pth. They are checked at every call,
    so that a damaged file is never used. The file appears under its name only when it is whole and right.

    Errors: `BadData` where the file cannot be fetched or kept, or its hash is another.
    """
    name = url.rsplit("/", 1)[-1]
    found = HASH_IN_NAME.search(name)
    if found is None:
        raise ValueError(f"{url}: no hash in the file name")
    expected = found.group(1)
    path = folder / name
    try:
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            _fetch(url, path, expected)
        else:
            with path.open("rb") as file:
                actual = _copy(file, None)
            if not actual.startswith(expected):
                raise BadData(
                    f"{path}: SHA-256 starts with {actual[:8]}, not with {expected}. Delete the file and run again."
                )
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it is the server's answer too, and holds its connection
        reason = str(error) or type(error).__name__
        raise BadData(
            f"{url} could not be fetched to {folder} ({reason}). Fetch it elsewhere and put it there, "
            "or give its path as weights."
        ) from error
    return path


def _fetch(url: str, path: Path, expected: str) -> None:
    handle, temporary = tempfile.mkstemp(prefix=path.name, suffix=".partial", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file, urllib.request.urlopen(url, timeout=TIMEOUT_S) as response:
            actual = _copy(response, file)
        if not actual.startswith(expected):
            raise BadData(
                f"{url}: what came has a SHA-256 that starts with {actual[:8]}, not with {expected} "
                "(broken off, or changed on the way). Run again, or give the path of a good file as weights."
            )
        os.replace(temporary, path)  # noqa: PTH105 (a str from mkstemp)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _copy(source: io.BufferedIOBase, target: io.BufferedIOBase | None) -> str:
    """SHA-256 of all that `source` holds, written to `target` if there is one."""
    digest = hashlib.sha256()
    while piece := source.read(PIECE_BYTES):
        digest.update(piece)
        if target is not None:
            target.write(piece)
    return digest.hexdigest()

"""Fetching a file of published weights once: checked against the hash in its name, then kept."""

from __future__ import annotations

import re
from pathlib import Path

from steelyard.download import Patience, RemoteFile, Unreachable, fetch_file
from steelyard.errors import BadData

HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.")  # torch.hub's custom: vgg16-397923af.pth
PATIENCE = Patience(attempts=3)  # a study waits for it
REMEDY = "Fetch it elsewhere and put it there, or give its path as weights."


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
    try:
        return fetch_file(RemoteFile(url, found.group(1)), folder / name, remedy=REMEDY, patience=PATIENCE)
    except Unreachable as error:
        raise BadData(str(error)) from None
    except OSError as error:
        raise BadData(f"{url} cannot be kept in {folder} ({error.strerror or error}). {REMEDY}") from error

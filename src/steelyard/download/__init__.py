"""A file from the web, whole and right or not at all: resumed where it broke off, checked against its SHA-256."""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from steelyard.download.transfer import Broken, Refused, transfer
from steelyard.errors import BadData, Interrupted

LONGEST_PAUSE_S = 60.0
PIECE_BYTES = 1 << 20
SHOWN_DIGITS = 8  # of a SHA-256 in messages


@dataclass(frozen=True)
class RemoteFile:
    """Where a file lies and how it is known to be the right one.

    Args:
        url: its address, https.
        sha256: all 64 hexadecimal digits, or the first ones where no more are known.
        size_bytes: its size where it is known; a server that offers another size is not read at all.
    """

    url: str
    sha256: str
    size_bytes: int | None = None


@dataclass(frozen=True)
class Patience:
    """How long a server is waited for: `silence_s` without a byte end an attempt; `attempts` in a row that bring no new
    byte end the download; pauses between them start at `pause_s` and double up to a minute."""

    silence_s: float = 30.0
    attempts: int = 5
    pause_s: float = 1.0


class Unreachable(Interrupted):
    """The server cannot be reached or breaks off again and again; what came is kept for the next attempt."""


def fetch_file(
    file: RemoteFile,
    path: Path,
    *,
    remedy: str,
    patience: Patience | None = None,
    progress: Callable[[int, int | None], object] = lambda done, total: None,
    notice: Callable[[str], object] = lambda line: None,
) -> Path:
    """The file at `path`, fetched unless it is there already; its SHA-256 is checked either way.

    Bytes gather in `<path>.part`, which the next call continues, also after a kill. A part that does not give the right
    file is deleted, and fetched anew once. Processes that want the same file wait for the one that fetches it.

    Args:
        remedy: the last sentence of every error: what else can be done.
        progress: told the bytes at hand and the whole size, None where unknown.
        notice: told in one line why and how long the download pauses.

    Errors: `Unreachable` where patience ends; `BadData` where the server refuses or what came is another file.
    """
    patience = patience or Patience()
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        with _held(part) as body:
            if path.exists():  # another process was faster
                part.unlink(missing_ok=True)
            else:
                try:
                    _gather(file, body, patience, progress, notice)
                except Refused as error:
                    part.unlink()
                    raise BadData(f"{file.url} cannot be fetched: {error}. {remedy}") from None
                except Broken as error:
                    kept = body.seek(0, os.SEEK_END)
                    if not kept:
                        part.unlink()
                    raise Unreachable(
                        f"{file.url} cannot be fetched now ({error}); {kept} bytes are kept and the same command goes "
                        f"on from there. {remedy}"
                    ) from None
                body.flush()
                os.fsync(body.fileno())
                part.replace(path)
                return path
    with path.open("rb") as kept_file:
        came = _sha256(kept_file)
    if not came.startswith(file.sha256):
        raise BadData(
            f"{path}: SHA-256 starts with {came[:SHOWN_DIGITS]}, not with {file.sha256[:SHOWN_DIGITS]}. "
            "Delete the file and run again."
        )
    return path


def _gather(
    file: RemoteFile,
    body: BinaryIO,
    patience: Patience,
    progress: Callable[[int, int | None], object],
    notice: Callable[[str], object],
) -> None:
    """`body` holds the right file when this returns; else `Broken` (patience ended) or `Refused` (another came)."""
    resumed = body.seek(0, os.SEEK_END) > 0
    while True:
        resumed |= _gather_all(file, body, patience, progress, notice)
        came = _sha256(body)
        if came.startswith(file.sha256):
            return
        size = body.seek(0, os.SEEK_END)
        if not resumed:
            raise Refused(
                f"{size} bytes came whose SHA-256 starts with {came[:SHOWN_DIGITS]}, not with "
                f"{file.sha256[:SHOWN_DIGITS]} (changed on the way, or another file)"
            )
        notice("what was kept does not belong to this file; fetching all of it anew")
        resumed = False
        body.truncate(0)


def _gather_all(
    file: RemoteFile,
    body: BinaryIO,
    patience: Patience,
    progress: Callable[[int, int | None], object],
    notice: Callable[[str], object],
) -> bool:
    """All bytes are there when this returns; whether they came in more than one answer of the server."""
    most = body.seek(0, os.SEEK_END)
    failures = 0
    resumed = False
    while True:
        try:
            transfer(file.url, body, size_bytes=file.size_bytes, silence_s=patience.silence_s, progress=progress)
            return resumed
        except Broken as error:
            have = body.seek(0, os.SEEK_END)
            resumed |= have > 0
            failures = 0 if have > most else failures + 1
            most = max(most, have)
            if failures >= patience.attempts:
                raise
            pause_s = error.wait_s or patience.pause_s * 2 ** max(failures - 1, 0)
            pause_s = min(pause_s, LONGEST_PAUSE_S)
            notice(f"{error}; trying again in {pause_s:.0f} s")
            time.sleep(pause_s)


@contextmanager
def _held(part: Path) -> Iterator[BinaryIO]:
    """`part`, open for reading and appending, held by this process alone; waits for its turn."""
    while True:
        with part.open("ab+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if _is_at(file, part):
                yield file
                return


def _is_at(file: BinaryIO, path: Path) -> bool:
    """Whether the open file still has this name: while we waited, its holder may have renamed or deleted it."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _sha256(file: BinaryIO) -> str:
    file.seek(0)
    digest = hashlib.sha256()
    while piece := file.read(PIECE_BYTES):
        digest.update(piece)
    return digest.hexdigest()

"""Unpacking a zip archive that is not trusted: nothing leaves the folder, fills the disk or replaces a file."""

from __future__ import annotations

import shutil
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from steelyard.errors import BadData, Interrupted

PIECE_BYTES = 1 << 20
LONGEST_NAME = 200  # bytes of one part of a path; file systems take 255
DEEPEST = 32  # folders below one another
ENCRYPTED = 0x1  # of a zip entry's flags
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
DAMAGED = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, OverflowError, ValueError)


@dataclass(frozen=True)
class ZipLimits:
    """What an archive may hold at most: entries, and bytes when unpacked."""

    entries: int
    unpacked_bytes: int


def unpack(
    archive: Path,
    folder: Path,
    limits: ZipLimits,
    *,
    progress: Callable[[int, int | None], object] = lambda done, total: None,
) -> None:
    """Write the files of `archive` into the empty `folder`.

    All entries are judged before the first byte is written. Refused are names that lead elsewhere (absolute, `..`,
    backslashes, drive letters, control characters), links and other things that are no plain file, entries that are
    equal but for case or that are file and folder at once, encrypted ones, and more than `limits` allow. What an entry
    holds beyond its declared size is damage. Rights and times are not taken over.

    Errors: `BadData` for the archive, `Interrupted` where the disk has no room; `folder` may then hold some files.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = opened.infolist()
            _check_entries(archive, entries, limits)
            total = sum(entry.file_size for entry in entries)
            check_room(folder, total)
            done = 0
            for entry in entries:
                target = folder / entry.filename
                if entry.is_dir():
                    target.mkdir(parents=True, exist_ok=True)
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                done = _write(opened, entry, target, done, total, progress)
    except DAMAGED as error:
        reason = str(error) or type(error).__name__
        raise BadData(f"{archive} is no whole zip archive ({reason}). Delete it and fetch it again.") from None


def check_room(folder: Path, wanted_bytes: int) -> None:
    """`Interrupted` where the disk of `folder` has less free space."""
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < wanted_bytes:
        raise Interrupted(
            f"{wanted_bytes / 1e6:.0f} MB are needed in {folder}, {free_bytes / 1e6:.0f} MB are free. "
            "Free some and run the same command again."
        )


def _write(
    opened: zipfile.ZipFile,
    entry: zipfile.ZipInfo,
    target: Path,
    done: int,
    total: int,
    progress: Callable[[int, int | None], object],
) -> int:
    if entry.header_offset < 0:
        raise zipfile.BadZipFile(f"{entry.filename!r} lies before the archive's start")
    with opened.open(entry) as source, target.open("xb") as file:
        size = 0
        while piece := source.read(PIECE_BYTES):
            size += len(piece)
            if size > entry.file_size:
                raise zipfile.BadZipFile(f"{entry.filename!r} is larger than it says")
            file.write(piece)
            progress(done + size, total)
    if size != entry.file_size:
        raise zipfile.BadZipFile(f"{entry.filename!r} ends early")
    return done + size


def _check_entries(archive: Path, entries: list[zipfile.ZipInfo], limits: ZipLimits) -> None:
    def refuse(what: str) -> BadData:
        return BadData(f"{archive} {what}. It is not unpacked; delete it, and tell whoever gave it to you.")

    if len(entries) > limits.entries:
        raise refuse(f"has {len(entries)} entries, more than the {limits.entries} that are allowed")
    total = sum(entry.file_size for entry in entries)
    if total > limits.unpacked_bytes:
        raise refuse(f"unpacks to {total} bytes, more than the {limits.unpacked_bytes} that are allowed")
    folders: set[str] = set()
    files: set[str] = set()
    for entry in entries:
        if (wrong := _wrong_name(entry) or _wrong_kind(entry)) is not None:
            raise refuse(f"holds {entry.orig_filename[:LONGEST_NAME]!r}, {wrong}")
        path = PurePosixPath(_folded(entry.filename))
        if not entry.is_dir() and str(path) in files:
            raise refuse(f"holds {entry.filename!r} twice, perhaps in another case")
        (folders if entry.is_dir() else files).add(str(path))
        folders |= {str(parent) for parent in path.parents}
    if both := files & folders:
        raise refuse(f"holds {min(both)!r} as a file and as a folder")


def _wrong_name(entry: zipfile.ZipInfo) -> str | None:
    name = entry.orig_filename
    parts = name.removesuffix("/").split("/")
    if any(unicodedata.category(character) == "Cc" for character in name):
        return "whose name has characters that no file name has"
    if "\\" in name or ":" in name or name.startswith("/"):
        return "which leads out of the folder on some system"
    if any(part in ("", ".", "..") for part in parts):
        return "which leads elsewhere"
    if len(parts) > DEEPEST or any(len(part.encode("utf-8", "surrogatepass")) > LONGEST_NAME for part in parts):
        return "whose name is too long"
    return None


def _wrong_kind(entry: zipfile.ZipInfo) -> str | None:
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "which is a link or no plain file"
    if entry.is_dir() and entry.file_size:
        return "a folder with content"
    if entry.flag_bits & ENCRYPTED:
        return "which is encrypted"
    if entry.compress_type not in METHODS:
        return f"compressed by method {entry.compress_type}, which is not known here"
    return None


def _folded(name: str) -> str:
    """Equal for names that some file system takes for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())

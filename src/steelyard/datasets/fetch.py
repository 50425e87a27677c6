"""Fetching a published data set: its archive, checked and unpacked, with its licence beside it."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from steelyard.datasets.safe_zip import ZipLimits, check_room, unpack
from steelyard.download import Patience, RemoteFile, fetch_file
from steelyard.errors import BadData, Interrupted

UNPACKING = ".unpacking-"  # begins the names of folders that are not whole yet


@dataclass(frozen=True)
class Archive:
    """A data set as its authors published it.

    Args:
        title: one line for people.
        file: the zip archive.
        folder: the folder in it that holds everything.
        licence: what its user must know and cite; shown before anything is fetched, and kept beside the data.
        limits: what the archive may hold.
    """

    title: str
    file: RemoteFile
    folder: str
    licence: str
    limits: ZipLimits

    @property
    def name(self) -> str:
        """The archive's file name."""
        return self.file.url.rsplit("/", 1)[-1]

    @property
    def licence_name(self) -> str:
        """The name of the file that keeps the licence."""
        return f"{self.folder}-LICENCE.txt"


# Size and SHA-256 as several independent users of the archive wrote them down. It has 8937 entries.
CHAOS = Archive(
    title="CHAOS training set v1.03: abdominal MR and CT of 40 patients with expert masks",
    file=RemoteFile(
        "https://zenodo.org/records/3431873/files/CHAOS_Train_Sets.zip",
        "535f7d3417a0e0f0d9133fb3d962423d2a9cf3f103e4f09a3d8a1daf87d5d2fc",
        890_771_694,
    ),
    folder="Train_Sets",
    licence="""\
CHAOS training set v1.03, https://zenodo.org/records/3431873
Licence: CC BY-NC-SA 4.0 (https://creativecommons.org/licenses/by-nc-sa/4.0/) as others who use the data state it; the
record's own page is what counts. It allows no commercial use, asks for attribution, and what is made from the data may
be passed on under the same licence only.
Cite: A. Emre Kavur, M. Alper Selver, Oğuz Dicle, Mustafa Barış, N. Sinem Gezer: CHAOS - Combined (CT-MR) Healthy
Abdominal Organ Segmentation Challenge Data (v1.03), 2019, doi 10.5281/zenodo.3431873.
""",
    limits=ZipLimits(entries=20_000, unpacked_bytes=8_000_000_000),
)


def is_fetched(archive: Archive, folder: Path) -> bool:
    """Whether the data are there: the folder appears only when it is whole."""
    return (folder / archive.folder).is_dir()


def fetch(
    archive: Archive,
    folder: Path,
    *,
    patience: Patience | None = None,
    progress: Callable[[str, int, int | None], object] = lambda stage, done, total: None,
    notice: Callable[[str], object] = lambda line: None,
) -> Path:
    """The data set's folder inside `folder`; fetched and unpacked unless it is there already.

    The archive is deleted once it is unpacked. One that lies in `folder` under its own name is checked and used. What
    an interrupted call left is continued.

    Args:
        progress: told "fetched" or "unpacked", the bytes so far, and all bytes, None where unknown.
        notice: told in one line why a download pauses.

    Errors: `Interrupted` where the network, the disk or another process stands in the way for now; `BadData` where the
    archive is another or cannot be unpacked.
    """
    data = folder / archive.folder
    if is_fetched(archive, folder):
        return data
    _make(folder)
    with _alone(folder):
        if is_fetched(archive, folder):
            return data
        for leftover in folder.glob(f"{UNPACKING}*"):
            shutil.rmtree(leftover)
        path = folder / archive.name
        _check_room_for(archive, path)
        fetch_file(
            archive.file,
            path,
            remedy=f"Or fetch it with a browser, put it there as {path}, and run the same command.",
            patience=patience or Patience(),
            progress=lambda done, total: progress("fetched", done, total),
            notice=notice,
        )
        temporary = Path(tempfile.mkdtemp(prefix=UNPACKING, dir=folder))
        try:
            unpack(path, temporary, archive.limits, progress=lambda done, total: progress("unpacked", done, total))
            if not (temporary / archive.folder).is_dir():
                raise BadData(f"{path} holds no folder {archive.folder}. Delete it and fetch it again.")
            (folder / archive.licence_name).write_text(archive.licence, encoding="utf-8")
            (temporary / archive.folder).rename(data)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        path.unlink()
    return data


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise BadData(f"{folder} is a file where a folder was wanted. Name another.") from None


def _check_room_for(archive: Archive, path: Path) -> None:
    """What is still to come, and at least as much again for what it unpacks to; exact once the archive is there."""
    if archive.file.size_bytes is not None and not path.exists():
        part = path.with_name(path.name + ".part")
        kept = part.stat().st_size if part.exists() else 0
        check_room(path.parent, 2 * archive.file.size_bytes - min(kept, archive.file.size_bytes))


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """This process alone fetches into `folder`; the system frees the lock when its holder ends, however it ends."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise Interrupted(f"another process fetches into {folder}. Wait, then run the same command.") from None
    finally:
        os.close(handle)

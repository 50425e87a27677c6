"""Run folders on disk: files appear whole or not at all, one process at a time works in a folder, DONE comes last."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steelyard.errors import DISK_FULL, BadData, disk_full

if TYPE_CHECKING:
    import polars as pl

SCHEMA_VERSION = 1  # of study.json and run.json


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """`write(temporary)` in the same folder, flushed to disk, then renamed to `path`: readers see all or nothing."""

    def write_and_flush(temporary: Path) -> None:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())

    write_unflushed(path, write_and_flush)


def write_unflushed(path: Path, write: Callable[[Path], object]) -> None:
    """The same, without waiting for the disk: for what its reader checks and can make again after a crash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = f"{socket.gethostname()}-{os.getpid()}"  # two machines may share the folder, and process numbers recur
    temporary = path.with_name(f".{writer}.tmp.{path.name}")  # keeps .nii.gz and its like
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Bytes, atomically. Writers that report a full disk in their own way write to memory first, then here."""
    write_atomically(path, lambda temporary: temporary.write_bytes(content))


def write_parquet(path: Path, frame: pl.DataFrame) -> None:
    """A table, atomically."""
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    write_bytes(path, buffer.getvalue())


def write_json(path: Path, content: Any) -> None:
    """JSON, atomically, keys in the order given."""
    write_atomically(
        path, lambda temporary: temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    )


def read_json(path: Path) -> Any:
    """The content of a JSON file; a `ValueError` where it is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError("brackets are nested without end") from None


@dataclass(frozen=True)
class RunFolder:
    """The files of one run, by name."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def manifest(self) -> Path:
        return self.path / "run.json"

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.pt"

    @property
    def state(self) -> Path:
        """The last state of a finished training, where the run was asked to keep it."""
        return self.path / "state.pt"

    @property
    def weights(self) -> Path:
        return self.path / "weights.safetensors"

    @property
    def history(self) -> Path:
        return self.path / "history.parquet"

    @property
    def counts(self) -> Path:
        return self.path / "counts.parquet"

    @property
    def scores(self) -> Path:
        return self.path / "scores.parquet"

    def prediction(self, case_id: str) -> Path:
        return self.path / "predictions" / f"{case_id}.nii.gz"

    def probabilities(self, case_id: str) -> Path:
        """Of every voxel of a case, where the run was asked to keep them; they may be deleted afterwards."""
        return self.path / "probabilities" / f"{case_id}.npz"

    @property
    def crf(self) -> RunFolder:
        """The same cases decided once more with a CRF, where the study asks for it: files of the same names."""
        return RunFolder(self.path / "crf")

    @property
    def is_done(self) -> bool:
        return (self.path / "DONE").exists()

    def mark_done(self) -> None:
        """The last file of a run: whoever sees it may trust all the others."""
        self.failure.unlink(missing_ok=True)
        write_atomically(self.path / "DONE", lambda temporary: temporary.write_text(""))

    @property
    def failure(self) -> Path:
        """Holds one line with the reason while the last attempt failed."""
        return self.path / "FAILED"

    def failure_reason(self) -> str:
        """Why the last attempt failed, in one line; empty where it did not, or did not say."""
        try:
            return " ".join(self.failure.read_text(encoding="utf-8", errors="replace").split())
        except OSError:
            return ""

    def mark_failed(self, reason: str) -> None:
        """Leave the reason, one line, for people and for the next attempt."""
        write_atomically(self.failure, lambda temporary: temporary.write_text(reason + "\n", encoding="utf-8"))

    @contextlib.contextmanager
    def locked(self) -> Iterator[bool]:
        """Yields True while this process alone holds the run; False at once when another process does.

        The operating system frees the lock when its holder ends, however it ends.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            for leftover in self.path.rglob(".*.tmp.*"):
                leftover.unlink(missing_ok=True)
            yield True


@contextlib.contextmanager
def writing_to(path: Path) -> Iterator[None]:
    """One line instead of the system's error, for a file that a user asked for.

    Raises:
        BadData: a place that cannot be written.
        Interrupted: the disk is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL:
            raise disk_full(error, path) from None
        raise BadData(f"{path} cannot be written ({error.strerror}). Choose another place.", file=path) from None

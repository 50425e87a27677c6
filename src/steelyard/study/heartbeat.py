"""A run under way leaves a sign of life in its folder: how far it is, how fast, where, and when it was last seen."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steelyard.runstore import RunFolder, read_json, write_json

if TYPE_CHECKING:
    from steelyard.train import Progress  # torch comes with it, and those who only read beats need none

SECONDS_BETWEEN_BEATS = 5.0


@dataclass(frozen=True)
class Beat:
    """Epochs done and planned, seconds per epoch, the machine and process at work, and when it wrote this (UTC)."""

    epoch: int
    epochs: int
    seconds_per_epoch: float
    host: str
    pid: int
    updated: datetime


def beat_file(folder: RunFolder) -> Path:
    """Stays behind when a run stops or fails, and goes when it is done."""
    return folder.path / "progress.json"


def read_beat(folder: RunFolder) -> Beat | None:
    """The last sign of life of a run; None where there is none, or none that can be read."""
    try:
        content = read_json(beat_file(folder))
        beat = Beat(**content | {"updated": datetime.fromisoformat(content["updated"])})
        is_sane = 0 <= beat.epoch <= beat.epochs and 0 <= beat.seconds_per_epoch < inf and beat.updated.tzinfo
        return replace(beat, host=str(beat.host)) if is_sane else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


class Heartbeat:
    """Told of steps and epochs; writes `progress.json` every few seconds and after the last epoch."""

    def __init__(self, folder: RunFolder, *, epochs: int, first_epoch: int) -> None:
        self._file = beat_file(folder)
        self._epochs = epochs
        self._first = first_epoch
        self._started = time.monotonic()
        self._beat_at = -SECONDS_BETWEEN_BEATS

    def step(self, epoch: int, step: int, steps: int) -> None:
        """A batch is done; `epoch` are before it."""
        self._say(epoch + (step + 1) / steps)

    def epoch(self, rows: list[dict[str, Any]]) -> None:
        """An epoch is done: its rows of the history."""
        self._say(rows[0]["epoch"])

    def _say(self, done: float) -> None:
        now = time.monotonic()
        if done < self._epochs and now - self._beat_at < SECONDS_BETWEEN_BEATS:
            return
        self._beat_at = now
        write_json(
            self._file,
            {
                "epoch": int(done),
                "epochs": self._epochs,
                "seconds_per_epoch": round((now - self._started) / (done - self._first), 3),
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "updated": datetime.now(UTC).isoformat(timespec="seconds"),
            },
        )


def tell_each(*listeners: Progress) -> Progress:
    """One that passes everything on to several."""
    return _Several(listeners)


class _Several:
    def __init__(self, listeners: tuple[Progress, ...]) -> None:
        self._listeners = listeners

    def step(self, epoch: int, step: int, steps: int) -> None:
        for listener in self._listeners:
            listener.step(epoch, step, steps)

    def epoch(self, rows: list[dict[str, Any]]) -> None:
        for listener in self._listeners:
            listener.epoch(rows)

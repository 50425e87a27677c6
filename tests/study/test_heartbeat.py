"""A sign of life tells how far a run is and how fast; it is written seldom, and at the end."""

from __future__ import annotations

import os
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from steelyard.runstore import RunFolder
from steelyard.study import heartbeat
from steelyard.study.heartbeat import Heartbeat, beat_file, read_beat, tell_each


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    now = SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr(heartbeat, "time", SimpleNamespace(monotonic=lambda: now.seconds))
    return now


def test_a_beat_tells_epochs_pace_machine_and_process(tmp_path: Path, clock: SimpleNamespace) -> None:
    folder = RunFolder(tmp_path)
    beats = Heartbeat(folder, epochs=24, first_epoch=4)  # resumed after four epochs
    clock.seconds += 30
    beats.step(6, 1, 4)  # half of the seventh epoch: two and a half of its own
    beat = read_beat(folder)
    assert beat is not None
    assert (beat.epoch, beat.epochs, beat.seconds_per_epoch) == (6, 24, 12.0)
    assert (beat.host, beat.pid) == (socket.gethostname(), os.getpid())
    assert timedelta(0) <= datetime.now(UTC) - beat.updated < timedelta(seconds=60)


def test_beats_are_seconds_apart_but_the_last_epoch_is_always_told(tmp_path: Path, clock: SimpleNamespace) -> None:
    folder = RunFolder(tmp_path)
    beats = Heartbeat(folder, epochs=3, first_epoch=0)
    told = []
    for step in range(12):
        clock.seconds += 2
        beats.step(step // 4, step % 4, 4)
        told.append(beat_file(folder).exists())
        beat_file(folder).unlink(missing_ok=True)
    assert told == [True, False, False] * 3 + [True, False, True]
    beats.epoch([{"epoch": 3}])
    beat = read_beat(folder)
    assert beat is not None
    assert (beat.epoch, beat.seconds_per_epoch) == (3, 8.0)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"epoch": 1, "updated": 5}'])
def test_a_beat_that_cannot_be_read_is_none(tmp_path: Path, content: str) -> None:
    assert read_beat(RunFolder(tmp_path)) is None
    beat_file(RunFolder(tmp_path)).write_text(content)
    assert read_beat(RunFolder(tmp_path)) is None


def test_each_listener_is_told_everything() -> None:
    heard: list[tuple] = []

    def listener(name: str) -> SimpleNamespace:
        return SimpleNamespace(
            step=lambda *numbers: heard.append((name, *numbers)), epoch=lambda rows: heard.append((name, rows))
        )

    both = tell_each(listener("a"), listener("b"))
    both.step(1, 2, 3)
    both.epoch([{"epoch": 2}])
    assert heard == [("a", 1, 2, 3), ("b", 1, 2, 3), ("a", [{"epoch": 2}]), ("b", [{"epoch": 2}])]

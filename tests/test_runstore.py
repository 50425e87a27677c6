"""Run folders: whole files or none, one process at a time, DONE last."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from steelyard.errors import Interrupted, disk_full
from steelyard.runstore import RunFolder, read_json, write_atomically, write_json, write_unflushed

HOLD = """
import sys, time
from pathlib import Path
from steelyard.runstore import RunFolder
with RunFolder(Path(sys.argv[1])).locked() as mine:
    print(mine, flush=True)
    time.sleep(60)
"""


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_file_appears_whole_in_a_folder_made_for_it(tmp_path: Path):
    def write(temporary: Path) -> None:
        temporary.write_text("half")
        assert not (tmp_path / "a/b.txt").exists()
        assert temporary.parent == tmp_path / "a"  # the same disk, so that the rename is one act
        temporary.write_text("whole")

    write_atomically(tmp_path / "a/b.txt", write)
    assert (tmp_path / "a/b.txt").read_text() == "whole"
    assert files_in(tmp_path) == ["a/b.txt"]


def test_the_temporary_name_keeps_the_ending_that_writers_look_at(tmp_path: Path):
    seen = []
    write_atomically(tmp_path / "case.nii.gz", lambda temporary: (seen.append(temporary.name), temporary.touch()))
    assert seen[0].endswith(".nii.gz")
    assert seen[0].startswith(".")


@pytest.mark.parametrize(("write", "flushes"), [(write_atomically, 1), (write_unflushed, 0)])
def test_a_file_is_on_the_disk_before_it_has_its_name_unless_it_can_be_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write, flushes: int
):
    flushed = []
    monkeypatch.setattr(os, "fsync", lambda number: flushed.append((tmp_path / "a.txt").exists()))
    write(tmp_path / "a.txt", lambda temporary: temporary.write_text("whole"))
    assert flushed == [False] * flushes
    assert (tmp_path / "a.txt").read_text() == "whole"


@pytest.mark.parametrize("error", [ValueError("cannot be written"), KeyboardInterrupt(), OSError(errno.ENOSPC, "full")])
def test_a_writer_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: BaseException):
    (tmp_path / "a.txt").write_text("old")

    def write(temporary: Path) -> None:
        temporary.write_text("half")
        raise error

    with pytest.raises(type(error)):
        write_atomically(tmp_path / "a.txt", write)
    assert (tmp_path / "a.txt").read_text() == "old"
    assert files_in(tmp_path) == ["a.txt"]


def test_a_writer_that_wrote_nothing_leaves_nothing(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "a.txt", lambda temporary: None)
    assert files_in(tmp_path) == []


def test_json_comes_back_in_order(tmp_path: Path):
    content = {"z": [1, 2.5, None], "a": {"Ångström": "µ"}}
    write_json(tmp_path / "a.json", content)
    assert read_json(tmp_path / "a.json") == content
    assert list(read_json(tmp_path / "a.json")) == ["z", "a"]
    assert (tmp_path / "a.json").read_text().endswith("}\n")


def test_one_process_holds_a_run_and_a_kill_frees_it(tmp_path: Path):
    run = RunFolder(tmp_path / "run")
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(run.path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        with run.locked() as mine:
            assert not mine
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with run.locked() as mine:
            assert mine
            other = subprocess.run(
                [sys.executable, "-c", HOLD.replace("60", "0"), str(run.path)], capture_output=True, text=True
            )
            assert other.stdout == "False\n"
    finally:
        holder.kill()
        holder.wait()
        assert holder.stdout is not None
        holder.stdout.close()


def test_the_lock_is_free_after_an_error_inside(tmp_path: Path):
    run = RunFolder(tmp_path / "run")
    with pytest.raises(ZeroDivisionError), run.locked():
        raise ZeroDivisionError
    with run.locked() as mine:
        assert mine


def test_what_a_killed_process_left_half_written_is_removed_under_the_lock_alone(tmp_path: Path):
    run = RunFolder(tmp_path / "run")
    (run.path / "predictions").mkdir(parents=True)
    leftovers = [run.path / ".123.tmp.run.json", run.path / "predictions/.123.tmp.7.nii.gz"]
    for file in [*leftovers, run.prediction("7"), run.manifest]:
        file.write_text("x")
    with run.locked() as first, run.locked() as second:
        assert (first, second) == (True, False)
        assert files_in(run.path) == ["lock", "predictions/7.nii.gz", "run.json"]
        leftovers[0].write_text("of the holder")
        with run.locked() as third:
            assert not third
        assert leftovers[0].exists()


def test_done_is_the_last_word_and_takes_the_failure_away(tmp_path: Path):
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    run.failure.write_text("the loss became nan\n")
    assert not run.is_done
    run.mark_done()
    assert run.is_done
    assert files_in(run.path) == ["DONE"]


def test_every_file_of_a_run_has_its_own_name_in_its_folder(tmp_path: Path):
    run = RunFolder(tmp_path / "iou-1a")
    files = [run.manifest, run.checkpoint, run.weights, run.history, run.counts, run.scores, run.failure]
    files += [run.prediction("7_in"), run.prediction("8_in")]
    assert len(set(files)) == 9
    assert all(file.is_relative_to(run.path) for file in files)
    assert run.name == "iou-1a"


def test_a_full_disk_is_an_interruption_that_says_where_and_what_to_do():
    line = disk_full(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), Path("runs/one"))
    assert isinstance(line, Interrupted)
    assert line.exit_code == 4
    assert "runs/one" in str(line)
    assert "same command again" in str(line)
    assert "\n" not in str(line)

"""Fetching a data set from a server on this machine, as the command does it."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import shutil
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from phantoms import write_chaos_patient
from steelyard.datasets import fetch as fetching
from steelyard.datasets.fetch import CHAOS, Archive, fetch
from steelyard.datasets.safe_zip import ZipLimits
from steelyard.download import Patience, RemoteFile, Unreachable
from steelyard.errors import BadData, Interrupted
from web_server import WebServer, ranged, rangeless, says, serving

QUICK = Patience(silence_s=0.3, attempts=2, pause_s=0.001)


@pytest.fixture(scope="module")
def zipped(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Two patients, as the archive holds them."""
    root = tmp_path_factory.mktemp("chaos")
    for number in (1, 2):
        write_chaos_patient(root / "Train_Sets" / "MR", number)
    return zip_of({str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()})


def zip_of(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.fixture
def server(zipped: bytes) -> Iterator[WebServer]:
    with serving(zipped) as server:
        yield server


def archive_at(server: WebServer) -> Archive:
    content = server.content
    file = RemoteFile(f"{server.url}/files/CHAOS_Train_Sets.zip", hashlib.sha256(content).hexdigest(), len(content))
    return replace(CHAOS, file=file, limits=ZipLimits(entries=200, unpacked_bytes=10_000_000))


def files_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_records_address_hash_and_size_are_whole():
    assert CHAOS.file.url == "https://zenodo.org/records/3431873/files/CHAOS_Train_Sets.zip"
    assert len(CHAOS.file.sha256) == 64
    assert int(CHAOS.file.sha256, 16) > 0
    assert CHAOS.name == "CHAOS_Train_Sets.zip"
    assert all(word in CHAOS.licence for word in ("CC BY-NC-SA 4.0", "10.5281/zenodo.3431873", "Kavur", "commercial"))


def test_a_data_set_appears_whole_with_its_licence_and_nothing_else(server: WebServer, tmp_path: Path):
    stages: list[tuple[str, int, int | None]] = []
    data = fetch(archive_at(server), tmp_path / "new", progress=lambda *said: stages.append(said), patience=QUICK)
    assert data == tmp_path / "new" / "Train_Sets"
    with zipfile.ZipFile(io.BytesIO(server.content)) as archive:
        for name in archive.namelist():
            assert (data.parent / name).read_bytes() == archive.read(name)
        unpacked = sum(entry.file_size for entry in archive.infolist())
    assert files_in(data.parent) == {"Train_Sets", "Train_Sets-LICENCE.txt"}
    assert "doi 10.5281/zenodo.3431873" in (data.parent / "Train_Sets-LICENCE.txt").read_text()
    size = len(server.content)
    assert ("fetched", size, size) in stages
    assert stages[-1] == ("unpacked", unpacked, unpacked)


def test_what_is_there_is_not_fetched(server: WebServer, tmp_path: Path):
    (tmp_path / "Train_Sets").mkdir()
    assert fetch(archive_at(server), tmp_path) == tmp_path / "Train_Sets"
    assert server.ranges == []
    assert files_in(tmp_path) == {"Train_Sets"}


def test_a_transfer_broken_off_for_good_goes_on_with_the_next_call(server: WebServer, tmp_path: Path):
    server.script = [ranged(most=7000), says(503)]
    with pytest.raises(Unreachable, match=r"7000 bytes are kept.*Or fetch it with a browser, put it there as .*zip"):
        fetch(archive_at(server), tmp_path, patience=QUICK)
    assert files_in(tmp_path) == {"CHAOS_Train_Sets.zip.part"}
    server.script = [ranged()]
    fetch(archive_at(server), tmp_path, patience=QUICK)
    assert server.ranges[-1] == "bytes=7000-"
    assert files_in(tmp_path) == {"Train_Sets", "Train_Sets-LICENCE.txt"}


def test_another_file_is_never_unpacked(server: WebServer, tmp_path: Path, zipped: bytes):
    archive = archive_at(server)
    server.content = zip_of({"Train_Sets/evil": b"x"})
    with pytest.raises(BadData, match="another file"):
        fetch(archive, tmp_path, patience=QUICK)
    server.content = zipped[:-1] + b"?"
    with pytest.raises(BadData, match="SHA-256 starts with"):
        fetch(archive, tmp_path, patience=QUICK)
    assert files_in(tmp_path) == set()


def test_an_archive_put_there_by_hand_is_checked_and_used(server: WebServer, tmp_path: Path, zipped: bytes):
    (tmp_path / "CHAOS_Train_Sets.zip").write_bytes(zipped[:-1])
    with pytest.raises(BadData, match="Delete the file and run again"):
        fetch(archive_at(server), tmp_path)
    (tmp_path / "CHAOS_Train_Sets.zip").write_bytes(zipped)
    fetch(archive_at(server), tmp_path)
    assert server.ranges == []
    assert files_in(tmp_path) == {"Train_Sets", "Train_Sets-LICENCE.txt"}


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"Train_Sets/a": b"x", "../../escaped": b"x"}, "leads elsewhere"),
        ({"Train_Sets/a": b"x", "Train_Sets/bomb": bytes(10_000_001)}, "unpacks to 10000002 bytes"),
        ({"Other/a": b"x"}, "holds no folder Train_Sets"),
        ({"Train_Sets": b"x"}, "holds no folder Train_Sets"),
    ],
)
def test_a_hostile_archive_leaves_no_data(server: WebServer, tmp_path: Path, files: dict[str, bytes], said: str):
    server.content = zip_of(files)
    with pytest.raises(BadData, match=said):
        fetch(archive_at(server), tmp_path / "in" / "deep", patience=QUICK)
    assert files_in(tmp_path / "in" / "deep") <= {"CHAOS_Train_Sets.zip", "Train_Sets-LICENCE.txt"}
    assert files_in(tmp_path) == {"in"}
    assert files_in(tmp_path / "in") == {"deep"}


def test_an_interruption_while_unpacking_keeps_the_archive_alone(server: WebServer, tmp_path: Path):
    def stop(stage: str, done: int, total: int | None) -> None:
        if stage == "unpacked" and total is not None and done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(archive_at(server), tmp_path, progress=stop, patience=QUICK)
    assert files_in(tmp_path) == {"CHAOS_Train_Sets.zip"}
    (tmp_path / ".unpacking-killed").mkdir()  # what a kill leaves
    (tmp_path / ".unpacking-killed" / "half").write_text("x")
    fetch(archive_at(server), tmp_path, patience=QUICK)
    assert server.ranges == [None]
    assert files_in(tmp_path) == {"Train_Sets", "Train_Sets-LICENCE.txt"}


def test_room_is_asked_for_before_the_first_byte(server: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    size = len(server.content)
    free = 2 * size - 1
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: type("Usage", (), {"free": free})())
    with pytest.raises(Interrupted, match="are needed in"):
        fetch(archive_at(server), tmp_path, patience=QUICK)
    assert server.ranges == []
    (tmp_path / "CHAOS_Train_Sets.zip.part").write_bytes(server.content[:1000])  # so much less is to come
    fetch(archive_at(server), tmp_path, patience=QUICK)
    assert server.ranges == ["bytes=1000-"]


def test_two_fetches_into_one_folder_do_not_meet(server: WebServer, tmp_path: Path):
    here, go = threading.Event(), threading.Event()

    def hold(stage: str, done: int, total: int | None) -> None:
        here.set()
        assert go.wait(10)

    first = threading.Thread(target=fetch, args=(archive_at(server), tmp_path), kwargs={"progress": hold})
    first.start()
    assert here.wait(10)
    with pytest.raises(Interrupted, match="another process fetches into"):
        fetch(archive_at(server), tmp_path)
    go.set()
    first.join()
    assert files_in(tmp_path) == {"Train_Sets", "Train_Sets-LICENCE.txt"}


@pytest.fixture
def command(
    server: WebServer, monkeypatch: pytest.MonkeyPatch, command_line: Callable[..., tuple[int, str, str]]
) -> Callable[..., tuple[int, str, str]]:
    """`steelyard data fetch chaos …` against the server: exit code, what it printed, and the error line."""
    monkeypatch.setattr(fetching, "CHAOS", archive_at(server))
    monkeypatch.setattr(fetching, "Patience", lambda: QUICK)

    def call(*arguments: object, answer: str | None = None) -> tuple[int, str, str]:
        stdin = io.StringIO(answer or "")
        monkeypatch.setattr(stdin, "isatty", lambda: answer is not None)
        monkeypatch.setattr(sys, "stdin", stdin)
        return command_line("data", "fetch", "chaos", *arguments)

    return call


def test_the_command_shows_the_licence_fetches_checks_and_says_what_is_next(command, tmp_path: Path):
    code, out, err = command(tmp_path / "data", "--yes")
    assert (code, err) == (0, "")
    assert "CC BY-NC-SA 4.0" in out
    assert "fetched: 0 of 0 MB" in out
    assert "MR: 6 cases read, 0 errors, 0 warnings. All of it: steelyard data check" in out
    assert f"next: export STEELYARD_DATA={tmp_path / 'data'}" in out
    code, out, err = command(tmp_path / "data")
    assert (code, err) == (0, "")
    assert f"{tmp_path / 'data' / 'Train_Sets'} is there already: nothing was fetched." in out
    assert "CC BY" not in out


def test_without_a_terminal_the_licence_must_be_accepted_by_name(command, server: WebServer, tmp_path: Path):
    code, out, err = command(tmp_path / "data")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "add --yes" in err
    assert server.ranges == []
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("answer", "accepted"), [("y\n", True), ("YES\n", True), ("n\n", False), ("\n", False), ("", False)]
)
def test_a_person_is_asked(command, server: WebServer, tmp_path: Path, answer: str, accepted: bool):
    code, out, err = command(tmp_path / "data", answer=answer)
    assert "CC BY-NC-SA 4.0" in out
    assert "[y/N]" in out
    assert (code, "not accepted" in err) == ((0, False) if accepted else (1, True))
    assert (tmp_path / "data" / "Train_Sets").exists() == accepted
    assert bool(server.ranges) == accepted


@pytest.mark.parametrize(
    ("script", "expected", "said"),
    [
        ([says(404)], 3, "404"),
        ([rangeless(most=5000)], 4, "the same command goes on"),
        ([says(200, b"<html>", Content_Type="text/html")], 3, "web page"),
    ],
)
def test_what_goes_wrong_is_one_line_and_an_exit_code(
    command, server: WebServer, tmp_path: Path, script, expected: int, said: str
):
    server.script = script
    code, _, err = command(tmp_path / "data", "--yes")
    assert (code, err.count("\n")) == (expected, 1)
    assert said in err


def test_a_full_disk_is_one_line_and_the_archive_is_kept(command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "some/file")

    monkeypatch.setattr(fetching, "unpack", full)
    code, _, err = command(tmp_path / "data", "--yes")
    assert (code, err.count("\n")) == (4, 1)
    assert "no space left" in err
    assert files_in(tmp_path / "data") == {"CHAOS_Train_Sets.zip"}


def test_a_key_pressed_while_it_works_is_one_line(command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def pressed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(fetching, "unpack", pressed)
    code, _, err = command(tmp_path / "data", "--yes")
    assert (code, err) == (4, "interrupted; the same command goes on from the last saved state\n")


def test_a_file_where_the_folder_should_be_is_one_line(command, tmp_path: Path):
    (tmp_path / "data").write_text("x")
    code, _, err = command(tmp_path / "data", "--yes")
    assert (code, err.count("\n")) == (3, 1)
    assert "Name another" in err

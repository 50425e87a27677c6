"""Fetching a file from a server on this machine that breaks off, lies, stalls and sends other things."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from steelyard.download import Patience, RemoteFile, Unreachable, fetch_file
from steelyard.download.transfer import _check_address
from steelyard.errors import BadData
from web_server import WebServer, ranged, rangeless, says, serving, stalls

CONTENT = bytes(range(251)) * 4001  # 1 004 251 bytes: several pieces, no round number
SHA256 = hashlib.sha256(CONTENT).hexdigest()
REMEDY = "Take it elsewhere."


@pytest.fixture
def server() -> Iterator[WebServer]:
    with serving(CONTENT) as server:
        yield server


def fetched(
    server: WebServer, folder: Path, *, sized: bool = True, sha256: str = SHA256, attempts: int = 3, **watchers
) -> Path:
    file = RemoteFile(f"{server.url}/file.zip", sha256, len(CONTENT) if sized else None)
    patience = Patience(silence_s=0.3, attempts=attempts, pause_s=0.001)
    return fetch_file(file, folder / "file.zip", remedy=REMEDY, patience=patience, **watchers)


def test_a_whole_file_is_fetched_once_and_checked_again_at_every_call(server: WebServer, tmp_path: Path):
    path = fetched(server, tmp_path / "new" / "folder")
    assert path.read_bytes() == CONTENT
    assert fetched(server, path.parent) == path
    assert server.ranges == [None]
    assert list(path.parent.iterdir()) == [path]
    path.write_bytes(CONTENT[:-1] + b"?")
    with pytest.raises(BadData, match="Delete the file and run again"):
        fetched(server, path.parent)


@pytest.mark.parametrize("sized", [True, False])
def test_a_transfer_that_breaks_off_goes_on_from_its_last_byte(server: WebServer, tmp_path: Path, sized: bool):
    server.script = [ranged(most=400_000), ranged(most=100_001, named_total=False), ranged()]
    seen: list[tuple[int, int | None]] = []
    said: list[str] = []
    path = fetched(
        server, tmp_path, sized=sized, progress=lambda done, total: seen.append((done, total)), notice=said.append
    )
    assert path.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=400000-", "bytes=500001-"]
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [line.split(";")[0] for line in said] == [
        f"broken off after {count} of {len(CONTENT)} bytes" for count in (400000, 500001)
    ]


def test_another_process_goes_on_from_what_was_kept(server: WebServer, tmp_path: Path):
    server.script = [ranged(most=300_000), says(503)]
    with pytest.raises(Unreachable, match=r"300000 bytes are kept and the same command goes on .* Take it elsewhere"):
        fetched(server, tmp_path)
    assert server.ranges == [None, *3 * ["bytes=300000-"]]
    server.script = [ranged()]
    assert fetched(server, tmp_path).read_bytes() == CONTENT
    assert server.ranges[-1] == "bytes=300000-"


def test_new_bytes_renew_the_patience_and_old_ones_do_not(server: WebServer, tmp_path: Path):
    server.script = [ranged(most=90_000)]  # twelve answers where two failures end it
    assert fetched(server, tmp_path, attempts=2).read_bytes() == CONTENT
    assert len(server.ranges) == 12
    server.script, server.ranges = [rangeless(most=90_000)], []
    with pytest.raises(Unreachable, match="broken off after 90000 of"):
        fetched(server, tmp_path / "deaf", attempts=2)
    assert len(server.ranges) == 3


@pytest.mark.parametrize("sized", [True, False])
def test_a_server_without_ranges_sends_all_of_it_anew(server: WebServer, tmp_path: Path, sized: bool):
    server.script = [rangeless(most=700_000), rangeless()]
    assert fetched(server, tmp_path, sized=sized).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=700000-"]


def test_a_server_that_answers_another_range_is_not_believed(server: WebServer, tmp_path: Path):
    server.script = [ranged(most=600_000), ranged(shift=7), ranged()]
    said: list[str] = []
    assert fetched(server, tmp_path, notice=said.append).read_bytes() == CONTENT
    assert said[1].startswith("the server was asked for byte 600000 and answered with byte 600007")
    assert server.ranges == [None, "bytes=600000-", None]


@pytest.mark.parametrize("off", [-1000, 1000])
def test_a_length_that_is_not_the_files_is_refused_before_a_byte_is_kept(server: WebServer, tmp_path: Path, off: int):
    server.script = [rangeless(claims=len(CONTENT) + off)]
    with pytest.raises(BadData, match=rf"offers {len(CONTENT) + off} bytes .* where {len(CONTENT)} were wanted"):
        fetched(server, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_length_that_is_too_long_is_a_transfer_that_broke_off(server: WebServer, tmp_path: Path):
    server.script = [rangeless(claims=len(CONTENT) + 9), ranged()]  # then the server says that there is no more
    assert fetched(server, tmp_path, sized=False).read_bytes() == CONTENT
    assert server.ranges == [None, f"bytes={len(CONTENT)}-"]


def test_a_length_that_is_too_short_cuts_the_file_and_is_found_out(server: WebServer, tmp_path: Path):
    server.script = [rangeless(claims=len(CONTENT) - 9)]
    with pytest.raises(BadData, match=f"{len(CONTENT) - 9} bytes came whose SHA-256 starts with"):
        fetched(server, tmp_path, sized=False)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_does_not_stop_is_left(server: WebServer, tmp_path: Path):
    server.content = CONTENT + b"more"
    server.script = [rangeless(silent=True)]
    with pytest.raises(BadData, match=f"sends more than {len(CONTENT)} bytes"):
        fetched(server, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_unknown_length_is_whole_when_its_hash_is_right(server: WebServer, tmp_path: Path):
    server.script = [rangeless(silent=True)]
    assert fetched(server, tmp_path, sized=False).read_bytes() == CONTENT


def test_another_file_of_the_same_size_is_never_kept(server: WebServer, tmp_path: Path):
    server.content = CONTENT[::-1]
    came = hashlib.sha256(CONTENT[::-1]).hexdigest()[:8]
    with pytest.raises(BadData, match=rf"starts with {came}, not with {SHA256[:8]} .* Take it elsewhere\.$") as caught:
        fetched(server, tmp_path)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    assert server.ranges == [None]


def test_a_part_of_another_file_is_thrown_away_and_fetched_anew_once(server: WebServer, tmp_path: Path):
    (tmp_path / "file.zip.part").write_bytes(b"<html>sign in first" + bytes(100))
    assert fetched(server, tmp_path).read_bytes() == CONTENT
    assert server.ranges == ["bytes=119-", None]


def test_a_part_longer_than_the_file_is_thrown_away(server: WebServer, tmp_path: Path):
    (tmp_path / "file.zip.part").write_bytes(CONTENT + b"?")
    assert fetched(server, tmp_path).read_bytes() == CONTENT
    (tmp_path / "file.zip").rename(tmp_path / "file.zip.part")  # killed after the last byte: nothing is asked
    assert fetched(server, tmp_path).read_bytes() == CONTENT
    assert server.ranges == [None]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (says(404), "the server answers 404 Not Found"),
        (says(403), "the server answers 403 Forbidden"),
        (says(204), "the server answers 204"),
        (says(200, b"<html>sign in", Content_Type="text/html; charset=utf-8"), r"a web page came in its place"),
        (says(200, b"x" * len(CONTENT), Content_Encoding="gzip"), "encoded as gzip"),
        (says(302, Location="/file.zip"), "redirected more than 5 times, or in a circle"),
        (says(302, Location="http://example.org/file.zip"), "leads to http://example.org, and only https is followed"),
        (says(302, Location="file:///etc/passwd"), "only https is followed"),
    ],
)
def test_an_answer_that_will_not_get_better_ends_at_once(server: WebServer, tmp_path: Path, answer, said: str):
    server.script = [answer]
    with pytest.raises(BadData, match=said) as caught:
        fetched(server, tmp_path)
    assert "\n" not in str(caught.value)
    assert len(server.ranges) <= 6
    assert list(tmp_path.iterdir()) == []


def test_a_long_chain_of_redirects_is_left(server: WebServer, tmp_path: Path):
    server.script = [says(302, Location=f"/{number}") for number in range(9)]
    with pytest.raises(BadData, match="more than 5 times"):
        fetched(server, tmp_path)
    assert len(server.ranges) == 6


@pytest.mark.parametrize("code", [500, 502, 503, 429])
def test_a_server_in_trouble_is_asked_again(server: WebServer, tmp_path: Path, code: int):
    server.script = [says(code), says(code, b"<html>busy", Content_Type="text/html"), ranged()]
    assert fetched(server, tmp_path).read_bytes() == CONTENT


def test_a_server_may_say_how_long_it_wants_to_be_left_alone(
    server: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pauses: list[float] = []
    monkeypatch.setattr("steelyard.download.time.sleep", pauses.append)
    server.script = [says(503, Retry_After="7"), says(429, Retry_After="9000"), says(503), says(500), ranged()]
    fetched(server, tmp_path, attempts=9)
    assert pauses == [7, 60, 0.004, 0.008]


def test_redirects_are_followed_with_the_range(server: WebServer, tmp_path: Path):
    server.script = [ranged(most=5000), says(307, Location="/elsewhere"), ranged()]
    assert fetched(server, tmp_path).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=5000-", "bytes=5000-"]


def test_silence_ends_an_attempt_and_not_the_download(server: WebServer, tmp_path: Path):
    server.script = [stalls(after=200_000), ranged()]
    said: list[str] = []
    started = time.monotonic()
    assert fetched(server, tmp_path, notice=said.append).read_bytes() == CONTENT
    assert time.monotonic() - started < 5
    assert said == ["the server is silent; trying again in 0 s"]
    assert server.ranges == [None, "bytes=200000-"]


def test_without_a_network_the_line_says_what_else_can_be_done(tmp_path: Path):
    with serving(b"") as server:
        pass
    with pytest.raises(Unreachable, match=r"cannot be fetched now \(.*refused.*\); 0 bytes .* Take it elsewhere"):
        fetched(server, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_two_processes_that_want_one_file_fetch_it_once(server: WebServer, tmp_path: Path):
    threads = [threading.Thread(target=fetched, args=(server, tmp_path)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.ranges == [None]
    assert (tmp_path / "file.zip").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["file.zip"]


def test_an_interruption_leaves_what_came(server: WebServer, tmp_path: Path):
    def stop(done: int, total: int | None) -> None:
        if done > 500_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetched(server, tmp_path, progress=stop)
    kept = (tmp_path / "file.zip.part").stat().st_size
    assert kept > 500_000
    assert fetched(server, tmp_path).read_bytes() == CONTENT
    assert server.ranges == [None, f"bytes={kept}-"]


def test_only_https_is_asked_but_for_this_machine():
    _check_address("https://zenodo.org/x")
    _check_address("http://127.0.0.1:8000/x")
    for url, came_from in [
        ("http://zenodo.org/x", None),
        ("ftp://127.0.0.1/x", None),
        ("file:///x", None),
        ("http://127.0.0.1/x", "https://zenodo.org/x"),
        ("http://127.0.0.1.example.org/x", None),
    ]:
        with pytest.raises(Exception, match="only https is followed"):
            _check_address(url, came_from=came_from)

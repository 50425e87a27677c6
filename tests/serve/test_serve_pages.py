"""A run store in a browser: what it shows as studies go on, and what nobody gets from it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="the extra `serve` is not installed")
from starlette.testclient import TestClient

from chromium import browser, new_tab
from kept_study import GRID, finish, write_study
from phantoms import organ_labels
from steelyard.errors import BadData, BadSpec
from steelyard.labels import CHAOS_MR
from steelyard.serve import run as serve_run
from steelyard.serve.app import make_app
from steelyard.serve.store import Store
from steelyard.volume import LabelMap

SECRET = "of no study"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret.html").write_text(SECRET)
    write_study(outside / "elsewhere", {"dice": "done"})
    runs = tmp_path_factory.mktemp("runs")
    kidneys = write_study(runs / "kidneys", {"dice": "done", "iou": "running", "focal": "failed", "top": "to do"})
    write_study(runs / "card study" / "outer", {"dice": "to do"}, case=None)
    (runs / "card study" / "card.html").write_text("<p>keep the default</p>")
    (runs / "broken").mkdir()
    (runs / "broken" / "study.json").write_text("{half a pl")
    report = kidneys / "report"
    (report / "cases").mkdir(parents=True)
    (report / "index.html").write_text("<p>the report</p><script>document.title = 'ran'</script>")
    (report / "cases" / "00.html").write_text('<a href="../viewer.html#case=p1_a&prediction=dice">view</a>')
    (report / "secret.html").symlink_to(outside / "secret.html")
    (report / "away").symlink_to(outside)
    (report / ".hidden.html").write_text(SECRET)
    (report / "notes.py").write_text(SECRET)
    (runs / "linked").symlink_to(outside / "elsewhere")
    (runs / "secret.html").write_text(SECRET)
    return runs


@pytest.fixture(scope="module")
def client(root: Path) -> Iterator[TestClient]:
    with TestClient(make_app(Store(root)), base_url="http://127.0.0.1") as found:
        yield found


def test_the_index_tells_how_every_study_stands_and_a_broken_one_spoils_no_other(client):
    page = client.get("/").text
    assert "4 runs: 1 done, 1 running, 1 failed, 1 to do" in page
    assert "card study/outer" in page
    assert "study.json cannot be read as JSON" in page
    assert "elsewhere" not in page
    assert 'href="/studies/card%20study/card.html"' in page


def test_pages_of_running_studies_look_again_and_others_stay(client):
    assert 'http-equiv="refresh" content="5"' in client.get("/studies/kidneys/").text
    assert "refresh" not in client.get("/studies/card%20study/outer/").text


def test_a_study_shows_its_runs_with_progress_and_reasons(client):
    page = client.get("/studies/kidneys/").text
    assert 'value="3"' in page
    assert "3/4" in page
    # the one epoch to do takes a minute, and what came after training 40 s in the run that is done
    assert "2 min left" in page
    assert "the loss &lt;b&gt;diverged&lt;/b&gt;" in page


def test_progress_is_read_anew_each_time(client, root):
    folder = write_study(root / "new", {"dice": "done", "later": "to do"})
    assert "2 runs: 1 done, 1 to do" in client.get("/studies/new/").text
    assert '"name":"later"' not in client.get("/studies/new/viewer.html").text
    finish(folder / "net-later", LabelMap(organ_labels(), GRID, CHAOS_MR), "p1_a")
    assert "2 runs: 2 done" in client.get("/studies/new/").text
    assert '"name":"later"' in client.get("/studies/new/viewer.html").text


def test_a_viewer_page_is_made_on_demand_and_never_in_the_run_store(client, root):
    before = sorted(root.rglob("*"))
    first = client.get("/studies/kidneys/viewer.html")
    assert first.status_code == 200
    assert 'id="image-0"' in first.text
    assert client.get("/studies/kidneys/report/viewer.html").text == first.text
    assert sorted(root.rglob("*")) == before
    none = client.get("/studies/card%20study/outer/viewer.html")
    assert none.status_code == 404
    assert "holds no finished run" in none.text


def test_files_meant_for_people_are_given(client):
    assert "the report" in client.get("/studies/kidneys/report/index.html").text
    assert client.get("/studies/card%20study/card.html").text == "<p>keep the default</p>"
    prediction = client.get("/studies/kidneys/net-dice/predictions/p1_a.nii.gz")
    assert prediction.content[:2] == b"\x1f\x8b"


def test_every_answer_carries_rules_and_only_the_viewer_may_run_scripts(client):
    for path in ("/", "/studies/kidneys/", "/studies/kidneys/report/index.html", "/studies/nothing"):
        headers = client.get(path).headers
        assert "script-src" not in headers["content-security-policy"]
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
    policy = client.get("/studies/kidneys/viewer.html").headers["content-security-policy"]
    assert "script-src 'unsafe-inline'" in policy
    assert "connect-src" not in policy  # default-src 'none' rules: the page may ask nobody


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
def test_only_reading_is_possible(client, method):
    assert client.request(method, "/").status_code == 405


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "evil.example:80", "", "localhost.evil"])
def test_another_hosts_name_gets_nothing(client, host):
    answer = client.get("/", headers={"host": host})
    assert answer.status_code == 421
    assert "kidneys" not in answer.text


def test_another_port_is_another_host(root):
    with TestClient(make_app(Store(root), port=8765), base_url="http://127.0.0.1:8765") as client:
        assert client.get("/").status_code == 200
        assert client.get("/", headers={"host": "localhost:8765"}).status_code == 200
        assert client.get("/", headers={"host": "127.0.0.1:9999"}).status_code == 421


ESCAPES = [
    "/../secret.html",
    "/studies/../secret.html",
    "/studies/kidneys/../secret.html",
    "/studies/kidneys/report/../../secret.html",
    "/studies/kidneys/report/../../../../../../../../etc/passwd",
    "/studies/kidneys/report/%2e%2e/%2e%2e/secret.html",
    "/studies/kidneys/report/..%2f..%2fsecret.html",
    "/studies/kidneys/report/%2e%2e%2f%2e%2e%2fsecret.html",
    "/studies/kidneys/report/%252e%252e/%252e%252e/secret.html",
    "/studies/kidneys/report/..%5c..%5csecret.html",
    "/studies/kidneys/report//etc/passwd",
    "/studies//etc/passwd",
    "/studies/kidneys/report/secret.html",  # a link to a file outside
    "/studies/kidneys/report/away/secret.html",  # a link to a folder outside
    "/studies/linked/",  # a link to a study outside
    "/studies/linked/viewer.html",
    "/studies/kidneys/report/.hidden.html",
    "/studies/kidneys/report/notes.py",
    "/studies/kidneys/report/index.html%00.html",
    "/studies/kidneys/report/",
    "/studies/kidneys/report",
    "/studies/kidneys/study.json",
    "/studies/kidneys/net-dice/run.json",
    "/studies/kidneys/net-dice/scores.parquet",
    "/studies/kidneys/cases/p1_a/image.nii.gz",
    "/studies/secret.html",
    "/secret.html",
    "/studies",
    "/studies/",
]


def ask(port: int, path: str) -> bytes:
    """One request as it stands: clients that mean well would tidy the path."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as line:
        line.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
        parts = []
        while part := line.recv(65536):
            parts.append(part)
    return b"".join(parts)


@pytest.fixture(scope="module")
def server(root: Path) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """The command itself, on a free port."""
    said = "import sys; from steelyard.cli import main; main(); assert 'torch' not in sys.modules"
    process = subprocess.Popen(
        [sys.executable, "-c", said, "serve", str(root), "--port", "0"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"COLUMNS": "200"},
    )  # fmt: skip
    assert process.stdout is not None
    address = process.stdout.readline()
    yield int(address.split("http://127.0.0.1:")[1].split("/")[0]), process
    if process.poll() is None:
        process.kill()


@pytest.mark.parametrize("path", ESCAPES)
def test_no_path_leads_out_of_the_store_or_to_files_that_are_not_for_people(server, path):
    port, _ = server
    answer = ask(port, path)
    assert answer.startswith(b"HTTP/1.1 404")
    assert SECRET.encode() not in answer
    assert b"root:" not in answer


@pytest.mark.browser
def test_a_reader_goes_from_the_index_to_a_case_without_a_complaint(server):
    port, _ = server
    with browser() as launched:
        tab = new_tab(launched)
        page = tab.page
        page.goto(f"http://127.0.0.1:{port}/")
        page.click("text=kidneys")
        page.click("text=Report")
        assert page.title() != "ran"  # a script in a report is not run
        blocked, tab.said[:] = list(tab.said), []
        assert [line for line in blocked if "Content Security Policy" not in line] == []
        page.goto(f"http://127.0.0.1:{port}/studies/kidneys/report/cases/00.html")
        page.click("text=view")
        page.wait_for_selector("body[data-ready=yes]")
        assert page.evaluate("document.body.dataset.shown") == "p1_a|dice"
        page.click("#help-button")
        page.click("#help button")
        assert not page.is_visible("#help")
        assert tab.said == []
        own = f"http://127.0.0.1:{port}/"
        assert [url for url in tab.asked if not url.startswith((own, "data:", "blob:"))] == []


def test_the_server_listens_to_this_machine_alone_and_ends_quietly(server):
    port, process = server
    sockets = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    listening = [local for _, local, _, state, *_ in sockets if state == "0A" and local.endswith(f":{port:04X}")]
    assert listening == [f"0100007F:{port:04X}"]
    process.send_signal(signal.SIGINT)
    said, complained = process.communicate(timeout=30)
    assert (process.returncode, said, complained) == (0, "", "")


def test_a_taken_port_a_missing_folder_and_a_missing_extra_are_refused_in_one_line(tmp_path, monkeypatch):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(BadSpec, match=r"port \d+ cannot be had .* --port"):
            serve_run.serve(tmp_path, port=other.getsockname()[1], tell=print)
    with pytest.raises(BadData, match="is no folder"):
        serve_run.serve(tmp_path / "none", port=0, tell=print)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(BadSpec, match=r"serve needs uvicorn. Install steelyard\[serve\]."):
        serve_run.serve(tmp_path, port=0, tell=print)

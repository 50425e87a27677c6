"""Fetching weights from a server on this machine that behaves well and badly."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

import torchvision_stub
from steelyard.download import Patience
from steelyard.errors import BadData
from steelyard.networks.download import download
from steelyard.networks.resnet18 import ResNet18

CONTENT = bytes(range(256)) * 9000  # more than one piece
GOOD = f"net-{hashlib.sha256(CONTENT).hexdigest()[:8]}.pth"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    content = CONTENT
    requests = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        self.server.requests += 1
        if self.path.startswith("/missing"):
            self.send_error(404)
            return
        content = self.server.content
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if self.path.startswith("/broken") else content)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steelyard.networks.download.PATIENCE", Patience(attempts=2, pause_s=0.001))


@pytest.fixture
def server() -> Iterator[_Server]:
    server = _Server(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_file_with_the_right_hash_is_fetched_once_and_kept(server: _Server, tmp_path: Path):
    folder = tmp_path / "hub" / "checkpoints"
    path = download(f"{server.url}/{GOOD}", folder)
    assert path == folder / GOOD
    assert path.read_bytes() == CONTENT
    assert download(f"{server.url}/{GOOD}", folder) == path
    assert server.requests == 1
    assert list(folder.iterdir()) == [path]


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("net-00000000.pth", "not with 00000000"),
        (f"missing/{GOOD}", "404"),
    ],
)
def test_a_wrong_hash_and_a_missing_file_leave_nothing_behind(server: _Server, tmp_path: Path, address: str, said: str):
    with pytest.raises(BadData, match=said) as caught:
        download(f"{server.url}/{address}", tmp_path)
    assert "\n" not in str(caught.value)
    assert "as weights" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_broken_transfer_is_kept_for_the_next_call(server: _Server, tmp_path: Path):
    with pytest.raises(BadData, match=r"broken off after 1152000 of 2304000 bytes.* as weights"):
        download(f"{server.url}/broken/{GOOD}", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [f"{GOOD}.part"]
    assert download(f"{server.url}/{GOOD}", tmp_path).read_bytes() == CONTENT
    assert len(list(tmp_path.iterdir())) == 1


def test_without_a_network_the_line_says_to_give_a_path(tmp_path: Path):
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as closed:
        port = closed.server_address[1]
    with pytest.raises(BadData, match="or give its path as weights") as caught:
        download(f"http://127.0.0.1:{port}/{GOOD}", tmp_path)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_kept_file_that_was_damaged_since_is_refused(server: _Server, tmp_path: Path):
    path = download(f"{server.url}/{GOOD}", tmp_path)
    path.write_bytes(CONTENT[:-1] + b"?")
    with pytest.raises(BadData, match="Delete the file"):
        download(f"{server.url}/{GOOD}", tmp_path)


def test_imagenet_means_torchvisions_file_in_torchs_own_folder(
    server: _Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    torchvision_stub.install()
    from torchvision.models import ResNet18_Weights, VGG16_Weights, resnet18

    from steelyard.networks.vgg16 import VGG16

    assert ResNet18.imagenet_url == ResNet18_Weights.IMAGENET1K_V1.url
    assert VGG16.imagenet_url == VGG16_Weights.IMAGENET1K_V1.url

    model = resnet18()
    torch.save(model.state_dict(), tmp_path / "file")
    server.content = (tmp_path / "file").read_bytes()
    name = f"resnet18-{hashlib.sha256(server.content).hexdigest()[:8]}.pth"
    monkeypatch.setattr(ResNet18, "imagenet_url", f"{server.url}/{name}")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    encoder = ResNet18(3)
    encoder.start_from("imagenet")
    assert torch.equal(encoder.layer2[0].conv1.weight, model.layer2[0].conv1.weight)
    assert (tmp_path / "hub" / "checkpoints" / name).is_file()

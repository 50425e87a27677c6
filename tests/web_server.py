"""A web server on this machine that plays a script: each request gets the next answer, the last one again and again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Answers(BaseHTTPRequestHandler):
    server: WebServer

    def do_GET(self) -> None:
        count = len(self.server.ranges)
        self.server.ranges.append(self.headers.get("Range"))
        self.server.script[min(count, len(self.server.script) - 1)](self)

    def start(self, code: int, length: int | None, **headers: str) -> None:
        self.send_response(code)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


Answer = Callable[[Answers], None]


class WebServer(ThreadingHTTPServer):
    """`ranges` holds the Range header of every request so far."""

    daemon_threads = True

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.content = content
        self.script: list[Answer] = [ranged()]
        self.ranges: list[str | None] = []
        self.over = threading.Event()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away in the middle is part of the play."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def serving(content: bytes) -> Iterator[WebServer]:
    server = WebServer(content)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        thread.join()
        server.server_close()


def ranged(*, most: int | None = None, shift: int = 0, named_total: bool = True) -> Answer:
    """What was asked for; breaks off after `most` bytes; answers from `shift` bytes further on than it was asked."""

    def answer(to: Answers) -> None:
        content, asked = to.server.content, to.headers.get("Range")
        first = 0 if asked is None else int(asked.removeprefix("bytes=").removesuffix("-")) + shift
        if asked is not None and first >= len(content):
            to.start(416, 0, Content_Range=f"bytes */{len(content)}")
            return
        total = str(len(content)) if named_total else "*"
        span = {} if asked is None else {"Content_Range": f"bytes {first}-{len(content) - 1}/{total}"}
        to.start(200 if asked is None else 206, len(content) - first, **span)
        to.wfile.write(content[first:][:most])

    return answer


def rangeless(*, most: int | None = None, claims: int | None = None, silent: bool = False) -> Answer:
    """Everything from the start, whatever was asked; of the length that it claims, or `silent` about its length."""

    def answer(to: Answers) -> None:
        content = to.server.content
        to.start(200, None if silent else len(content) if claims is None else claims)
        to.wfile.write(content[:most])

    return answer


def says(code: int, body: bytes = b"", *, length: bool = True, **headers: str) -> Answer:
    def answer(to: Answers) -> None:
        to.start(code, len(body) if length else None, **headers)
        to.wfile.write(body)

    return answer


def stalls(*, after: int) -> Answer:
    """Sends `after` bytes, then nothing more until the server ends."""

    def answer(to: Answers) -> None:
        to.start(200, len(to.server.content))
        to.wfile.write(to.server.content[:after])
        to.wfile.flush()
        to.server.over.wait(20)

    return answer

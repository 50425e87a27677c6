"""What stands before every answer: reading only, asked by this machine's own name, under rules that browsers keep."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

ADDRESS = "127.0.0.1"
NAMES = (ADDRESS, "localhost")
ENCODED = (b"%2f", b"%5c", b"%00", b"%2e%2e")  # nobody's browser writes these into our paths
PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
VIEWER_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
RULES = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class Guard:
    """An ASGI app that lets through to another what a browser on this machine may ask of it."""

    def __init__(self, app: App, *, port: int | None = None) -> None:
        """`port` is the only one that the Host header may name; any when left out (in tests)."""
        self._app = app
        self._hosts = {name if port in (None, 80) else f"{name}:{port}" for name in NAMES}
        self._any_port = port is None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        refusal = self._refusal(scope)
        if refusal is not None:
            return await _answer(send, *refusal)
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = _ruled(message.get("headers", []))
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:  # one line for the reader, and no traceback for anyone
            if not started:
                await _answer(send, 500, f"this page could not be made ({type(error).__name__})")
        return None

    def _refusal(self, scope: Message) -> tuple[int, str] | None:
        if scope["method"] != "GET":
            return 405, "only reading is possible here"
        hosts = [value.decode("latin-1").lower() for name, value in scope["headers"] if name.lower() == b"host"]
        if len(hosts) != 1 or not self._is_own(hosts[0]):
            return 421, "this server answers on this machine only, by its own name"
        raw = scope.get("raw_path", scope["path"].encode()).lower()
        if any(code in raw for code in ENCODED):
            return 404, "there is no such page"
        return None

    def _is_own(self, host: str) -> bool:
        return host.rsplit(":", 1)[0] in self._hosts if self._any_port else host in self._hosts


def _ruled(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    there = {name.lower() for name, _ in headers}
    rules = RULES | {"content-security-policy": PAGE_POLICY}
    return [*headers, *((n.encode(), v.encode()) for n, v in rules.items() if n.encode() not in there)]


async def _answer(send: Send, status: int, line: str) -> None:
    headers = _ruled([(b"content-type", b"text/plain; charset=utf-8")])
    if status == 405:
        headers.append((b"allow", b"GET"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": (line + "\n").encode()})

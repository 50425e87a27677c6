"""One answer of a web server, appended to what is there already: only over HTTPS, only as many bytes as are wanted."""

from __future__ import annotations

import http.client
import os
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from http import HTTPStatus
from typing import IO, Any, BinaryIO, NoReturn
from urllib.parse import urlsplit

PIECE_BYTES = 1 << 18
MOST_BYTES = 8 << 30  # of a file whose size is not known: a server that never ends must not fill the disk
MOST_REDIRECTS = 5
TRY_AGAIN = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)  # and every 5xx
THIS_MACHINE = ("127.0.0.1", "localhost", "::1")
CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)$")


class Broken(Exception):
    """It may go better next time. `wait_s`: how long the server asks to be left alone."""

    def __init__(self, reason: str, *, wait_s: float | None = None) -> None:
        self.wait_s = wait_s
        super().__init__(reason)


class Refused(Exception):
    """It will not go better next time."""


def transfer(
    url: str,
    body: BinaryIO,
    *,
    size_bytes: int | None,
    silence_s: float,
    progress: Callable[[int, int | None], object],
) -> None:
    """Ask for the bytes that `body` lacks and append them; all are there when this returns.

    A server that knows no ranges sends everything, and `body` starts anew. Nothing is asked where `size_bytes` are at
    hand already.

    Errors: `Broken` and `Refused`; an `OSError` is the disk's.
    """
    have = body.seek(0, os.SEEK_END)
    if size_bytes is not None and have > size_bytes:
        have = body.truncate(0)
    if size_bytes is not None and have == size_bytes:
        return
    with _ask(url, have, silence_s) as answer:
        if answer.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            if _range(answer)[1] == have:
                return
            body.truncate(0)
            raise Broken(f"the server has no byte {have}")
        start, total = _offered(answer)
        if start not in (0, have):
            body.truncate(0)
            raise Broken(f"the server was asked for byte {have} and answered with byte {start}")
        _check_offer(answer, total, size_bytes)
        body.truncate(start)
        body.seek(0, os.SEEK_END)
        _receive(answer, body, start, total, size_bytes, progress)


def _receive(
    answer: http.client.HTTPResponse,
    body: BinaryIO,
    have: int,
    total: int | None,
    size_bytes: int | None,
    progress: Callable[[int, int | None], object],
) -> None:
    wanted = total if total is not None else size_bytes
    progress(have, wanted)
    while piece := _read(answer):
        have += len(piece)
        if have > (wanted or MOST_BYTES):
            body.truncate(0)
            raise Refused(f"the server sends more than {wanted or MOST_BYTES} bytes")
        body.write(piece)
        progress(have, wanted)
    if wanted is not None and have < wanted:
        if answer.chunked:  # then the server said that this was the end, or reading would have failed
            raise Refused(f"{have} bytes ({answer.headers.get_content_type()}) came where {wanted} were wanted")
        raise Broken(f"broken off after {have} of {wanted} bytes")


def _ask(url: str, have: int, silence_s: float) -> http.client.HTTPResponse:
    _check_address(url)
    headers = {"User-Agent": "steelyard", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        return _OPENER.open(urllib.request.Request(url, headers=headers), timeout=silence_s)
    except urllib.error.HTTPError as error:
        if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and have:
            return error  # type: ignore[return-value]  # it has status, headers and close, all that is used of it
        with error:
            _give_up(error)
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise Refused(f"the server's certificate is not trusted ({error.reason.verify_message})") from None
        raise Broken(_words(error.reason)) from None
    except (OSError, http.client.HTTPException) as error:
        raise Broken(_words(error)) from None


def _give_up(error: urllib.error.HTTPError) -> NoReturn:
    said = f"the server answers {error.code} {error.reason or ''}".strip().splitlines()[0]
    if error.code in TRY_AGAIN or error.code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        wait = str(error.headers.get("Retry-After", ""))
        raise Broken(said, wait_s=float(wait) if wait.isdecimal() else None)
    if error.code < HTTPStatus.BAD_REQUEST:
        if "not allowed" in said:  # so urllib says of other protocols
            raise Refused("it is redirected to no web address, and only https is followed")
        raise Refused(f"it is redirected more than {MOST_REDIRECTS} times, or in a circle")
    raise Refused(said)


def _read(answer: http.client.HTTPResponse) -> bytes:
    try:
        return answer.read1(PIECE_BYTES)  # what is there: a silence loses nothing
    except (OSError, http.client.HTTPException) as error:
        raise Broken(_words(error)) from None


def _check_offer(answer: http.client.HTTPResponse, total: int | None, size_bytes: int | None) -> None:
    kind = answer.headers.get_content_type()
    if kind == "text/html":
        raise Refused("a web page came in its place (text/html)")
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        raise Refused(f"it comes encoded as {answer.headers['Content-Encoding']}, which was not asked for")
    if size_bytes is not None and total is not None and total != size_bytes:
        raise Refused(f"the server offers {total} bytes ({kind}) where {size_bytes} were wanted: another file")


def _offered(answer: http.client.HTTPResponse) -> tuple[int, int | None]:
    """First byte and whole size of what comes."""
    length = _length(answer)
    if answer.status == HTTPStatus.OK:
        return 0, length
    if answer.status != HTTPStatus.PARTIAL_CONTENT:
        raise Refused(f"the server answers {answer.status} {answer.reason}")
    start, total = _range(answer)
    return start, start + length if total is None and length is not None else total


def _length(answer: http.client.HTTPResponse) -> int | None:
    said = answer.headers.get("Content-Length", "")
    return int(said) if said.isdecimal() else None


def _range(answer: http.client.HTTPResponse) -> tuple[int, int | None]:
    """First byte and whole size, as the server says."""
    found = CONTENT_RANGE.match(answer.headers.get("Content-Range", ""))
    if found is None:
        return -1, None
    start, total = found.groups()
    return -1 if start is None else int(start), None if total == "*" else int(total)


def _words(error: object) -> str:
    if isinstance(error, TimeoutError):
        return "the server is silent"
    return " ".join(str(error).split()) or type(error).__name__


def _check_address(url: str, *, came_from: str | None = None) -> None:
    address = urlsplit(url)
    here = address.scheme == "http" and address.hostname in THIS_MACHINE
    if address.scheme != "https" and (not here or (came_from is not None and came_from.startswith("https:"))):
        raise Refused(f"it leads to {address.scheme}://{address.hostname}, and only https is followed")


class _Redirects(urllib.request.HTTPRedirectHandler):
    max_redirections = MOST_REDIRECTS
    max_repeats = MOST_REDIRECTS

    def redirect_request(
        self, request: urllib.request.Request, answer: IO[bytes], code: int, message: str, headers: Any, url: str
    ) -> urllib.request.Request | None:
        try:
            _check_address(url, came_from=request.full_url)
        except Refused:
            answer.close()
            raise
        return super().redirect_request(request, answer, code, message, headers, url)


_OPENER = urllib.request.build_opener(_Redirects)

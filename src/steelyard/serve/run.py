"""Serve a run store to browsers of this machine, and to nobody else, until it is interrupted."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

from steelyard.errors import BadSpec
from steelyard.serve.guard import ADDRESS


def serve(root: Path, *, port: int, tell: Callable[[str], None]) -> None:
    """Answer on 127.0.0.1 until Ctrl-C; `tell` is given the address once it can be opened. Port 0 takes a free one.

    Raises:
        BadSpec: starlette or uvicorn is missing, or the port is taken.
        BadData: there is no such folder.
    """
    try:
        import starlette  # noqa: F401
        import uvicorn
    except ImportError as error:
        raise BadSpec(f"serve needs {error.name}. Install steelyard[serve].") from None
    from steelyard.serve.app import make_app
    from steelyard.serve.store import Store

    store = Store(root)
    with _listening(port) as listener:
        taken = listener.getsockname()[1]
        config = uvicorn.Config(
            make_app(store, port=taken), log_level="critical", access_log=False, server_header=False, lifespan="on"
        )
        tell(f"http://{ADDRESS}:{taken}/")
        try:
            uvicorn.Server(config).run(sockets=[listener])
        except KeyboardInterrupt:
            return  # the way to end it


def _listening(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((ADDRESS, port))
    except OSError as error:
        listener.close()
        raise BadSpec(f"port {port} cannot be had ({error.strerror}). Choose another with --port.") from None
    listener.listen(128)
    return listener

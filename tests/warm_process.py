"""Python processes that start in a blink: each is forked from one that has imported torch and Steelyard already.

They are processes of their own in every respect that tests ask about: own memory, signals, standard streams and exit
code. A fresh interpreter would spend seconds on imports, dozens of times. One server per test process; it ends with it.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import IO, Any

LARGEST_REQUEST = 1 << 17
# For processes that these start in their turn, too.
IMPORTABLE = os.pathsep.join(filter(None, (str(Path(__file__).parent), os.environ.get("PYTHONPATH"))))
OF_TESTS = {"PYTHONPATH": IMPORTABLE, "OMP_NUM_THREADS": "1"}


class WarmProcess:
    """Runs `code` with `arguments` in `sys.argv[1:]`; behaves as the part of `subprocess.Popen` that tests use."""

    def __init__(
        self,
        code: str,
        *arguments: object,
        stdout: IO[Any] | int = subprocess.PIPE,
        stderr: IO[Any] | int = subprocess.PIPE,
        environment: dict[str, str] | None = None,
        new_session: bool = False,
    ) -> None:
        self.returncode: int | None = None
        self.stdout, out = _stream(stdout)
        self.stderr, err = (None, out) if stderr == subprocess.STDOUT else _stream(stderr)
        self._connection, theirs = socket.socketpair()
        request = {
            "code": code,
            "arguments": [str(argument) for argument in arguments],
            "environment": {**os.environ, **OF_TESTS, **(environment or {})},
            "folder": str(Path.cwd()),
            "new_session": new_session,
        }
        socket.send_fds(_server(), [json.dumps(request).encode()], [theirs.fileno(), out, err])
        theirs.close()
        for stream, ours in ((stdout, out), (stderr, err)):
            if stream in (subprocess.PIPE, subprocess.DEVNULL):
                os.close(ours)
        self._said = self._connection.makefile("r")
        self.pid = int(self._said.readline())

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        return self._ended(0.0)

    def wait(self, timeout: float | None = None) -> int:
        """The exit code; minus the signal's number when one killed it."""
        code = self._ended(timeout)
        if code is None:
            raise subprocess.TimeoutExpired("a warm process", timeout or 0.0)
        return code

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Both streams to their ends, then the exit."""
        texts = ["", ""]

        def read(index: int, stream: IO[str] | None) -> None:
            if stream is not None:
                with stream:
                    texts[index] = stream.read()

        readers = [threading.Thread(target=read, args=pair) for pair in enumerate((self.stdout, self.stderr))]
        for reader in readers:
            reader.start()
        self.wait(timeout)
        for reader in readers:
            reader.join()
        return texts[0], texts[1]

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _ended(self, timeout: float | None) -> int | None:
        if self.returncode is None:
            self._connection.settimeout(None)
            if timeout is not None and not _readable(self._connection, timeout):
                return None
            self.returncode = os.waitstatus_to_exitcode(int(self._said.readline()))
            self._said.close()
            self._connection.close()
        return self.returncode


def run_warm(code: str, *arguments: object, timeout: float, **environment: str) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run` with captured text."""
    process = WarmProcess(code, *arguments, environment=environment)
    try:
        out, err = process.communicate(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return subprocess.CompletedProcess(list(arguments), process.wait(), out, err)


def _stream(wanted: IO[Any] | int) -> tuple[IO[str] | None, int]:
    """Our end, where there is one, and the descriptor that the process writes to."""
    if wanted == subprocess.PIPE:
        ours, theirs = os.pipe()
        return os.fdopen(ours, encoding="utf-8"), theirs
    if wanted == subprocess.DEVNULL:
        return None, os.open(os.devnull, os.O_WRONLY)
    assert not isinstance(wanted, int)
    return None, wanted.fileno()


def _readable(connection: socket.socket, timeout: float) -> bool:
    import select

    return bool(select.select([connection], [], [], timeout)[0])


@functools.cache
def _server() -> socket.socket:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server = subprocess.Popen(
        [sys.executable, "-c", "from warm_process import serve; serve()"],
        stdin=theirs,
        env=os.environ | OF_TESTS,
        start_new_session=True,
    )
    server.returncode = 0  # it ends by itself, when the tests' process does
    theirs.close()
    return ours


def serve() -> None:
    """Fork a process for each request on standard input, until its other end is closed."""
    import torch._dynamo  # noqa: F401  # which the first optimiser of a process would import

    import steelyard.calibrate
    import steelyard.cli.calibrate
    import steelyard.cli.studies
    import steelyard.study.engines.local
    import steelyard.study.run  # noqa: F401

    requests = socket.socket(fileno=os.dup(0))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        message, descriptors, _, _ = socket.recv_fds(requests, LARGEST_REQUEST, 3)
        if not message:
            return
        if os.fork() == 0:
            requests.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _start_and_watch(json.loads(message), *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _start_and_watch(request: dict[str, Any], connection: int, out: int, err: int) -> None:
    pid = os.fork()
    if pid == 0:
        os.close(connection)
        _become(request, out, err)
    os.close(out)
    if err != out:
        os.close(err)
    os.write(connection, f"{pid}\n".encode())
    status = os.waitpid(pid, 0)[1]
    try:
        os.write(connection, f"{status}\n".encode())
    finally:
        os._exit(0)


def _become(request: dict[str, Any], out: int, err: int) -> None:
    """Be the wanted process, to its end."""
    if request["new_session"]:
        os.setsid()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(out, 1)
    os.dup2(err, 2)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, encoding="utf-8") for number in (1, 2))
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    os.chdir(request["folder"])
    named = [entry for entry in request["environment"].get("PYTHONPATH", "").split(os.pathsep) if entry]
    sys.path[1:1] = [entry for entry in named if entry not in sys.path]
    sys.argv = ["-c", *request["arguments"]]
    code = 0
    try:
        exec(compile(request["code"], "<string>", "exec"), {"__name__": "__main__"})
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)

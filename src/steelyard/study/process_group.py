"""Processes that work on one thing together, on this machine: started, met, asked for their faults, and ended."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import torch
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from steelyard.errors import Interrupted

HOST = "127.0.0.1"  # nothing leaves this machine
SECONDS_BETWEEN_LOOKS = 0.02
SECONDS_TO_END = 20.0  # for a process that has nothing left to do, or has lost the others
LOST = ("peer", "Broken pipe", "imed out")  # torch's words for another process that is gone


@dataclasses.dataclass(frozen=True)
class Other:
    """A process beside this one, which is number 0."""

    number: int
    running: subprocess.Popen[bytes]
    said: IO[bytes]

    @property
    def fault(self) -> str | None:
        """Why it ended, in one line; None while it runs, and when it ended well."""
        if not self.running.poll():
            return None
        self.said.seek(0)
        lines = self.said.read().decode(errors="replace").strip().splitlines()
        ended = f"ended with code {self.running.returncode}"
        return f"process {self.number + 1}: {lines[-1] if lines else ended}"


@contextlib.contextmanager
def started(
    command: str, work: bytes, *, processes: int, stop: Callable[[], bool]
) -> Iterator[tuple[list[Other], TCPStore]]:
    """All processes but this one, each told its `work`, and the store at which all have met.

    `command` is Python that begins with `meet()`. It runs in an interpreter of its own, so that a script need not guard
    its main part, and in a session of its own, where no Ctrl-C reaches it. However this process ends, the others do.

    Raises:
        Interrupted: `stop` answered True while they started.
        RuntimeError: one of them ended before it came.
    """
    store = TCPStore(HOST, 0, is_master=True, wait_for_workers=False)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)}
    others: list[Other] = []
    try:
        for number in range(1, processes):
            said = tempfile.TemporaryFile()  # noqa: SIM115 closed below; a pipe nobody reads would fill up
            numbers = [str(value) for value in (number, processes, store.port)]
            running = subprocess.Popen(
                [sys.executable, "-c", command, *numbers],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=said,
                env=environment,
                start_new_session=True,
            )
            others.append(Other(number, running, said))
        for other in others:
            assert other.running.stdin is not None
            with contextlib.suppress(BrokenPipeError):  # it has ended, which is noticed where it is waited for
                other.running.stdin.write(work)
                other.running.stdin.flush()
        _wait_for(others, store, stop)
        yield others, store
        for other in others:
            with contextlib.suppress(subprocess.TimeoutExpired):
                other.running.wait(SECONDS_TO_END)
    finally:
        for other in others:
            other.running.kill()
            other.running.wait()
            with contextlib.suppress(BrokenPipeError):
                other.running.stdin.close()  # type: ignore[union-attr]
            other.said.close()


def meet() -> tuple[int, int, TCPStore]:
    """In another process, its work read from the standard input: its number, how many there are, and the store.

    From here on it ends when the first process does, however that ended.
    """
    number, processes, port = (int(value) for value in sys.argv[1:])
    threading.Thread(target=_end_with_the_first, daemon=True).start()
    store = TCPStore(HOST, port, is_master=False)
    store.set(_come(number), "")
    return number, processes, store


def fault_behind(error: RuntimeError, others: list[Other]) -> str | None:
    """The line of the process that failed first, where this one's error is only that it lost that one."""
    if not _is_lost(str(error)):
        return None
    until = time.monotonic() + SECONDS_TO_END
    while time.monotonic() < until:
        own = [other.fault for other in others if other.fault is not None and not _is_lost(other.fault)]
        if own:
            return own[0]
        if all(other.running.poll() is not None for other in others):
            break
        time.sleep(SECONDS_BETWEEN_LOOKS)
    return None


@contextlib.contextmanager
def threads_shared(processes: int) -> Iterator[None]:
    """This process's threads divided among all, and gloo kept to this machine; both put back afterwards."""
    before = torch.get_num_threads()
    threads = max(1, before // processes)
    wanted = {"OMP_NUM_THREADS": str(threads)}
    if loopback := next((name for _, name in socket.if_nameindex() if name.startswith("lo")), None):
        wanted["GLOO_SOCKET_IFNAME"] = loopback
    variables = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        for name, value in variables.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def one_line(error: BaseException) -> str:
    """Its type and the first line of what it says."""
    said = str(error).splitlines()
    return f"{type(error).__name__}: {said[0]}" if said else type(error).__name__


def _wait_for(others: list[Other], store: TCPStore, stop: Callable[[], bool]) -> None:
    """In torch's own meeting, a process that died on its way would be waited for in vain."""
    while not store.check([_come(other.number) for other in others]):
        if stop():
            raise Interrupted("stopped before the first step")
        for other in others:
            if other.fault is not None:
                raise RuntimeError(other.fault)
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _end_with_the_first() -> None:
    """Nothing more comes on this pipe but its end, when the first process ends: nobody is left over."""
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


def _come(number: int) -> str:
    return f"steelyard/{number}"


def _is_lost(line: str) -> bool:
    return any(words in line for words in LOST)

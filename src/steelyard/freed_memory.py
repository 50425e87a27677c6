"""Freed memory stays with the process while a network trains or predicts: the next step wants the same arrays again."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # glibc's names for them, in malloc.h
USUAL_MAPS = 65_536  # glibc's own default
USUAL_TRIM = 64 << 20  # bytes: where glibc's own rule ends once an array of 32 MiB has been freed
NEVER = 2**31 - 1


@contextlib.contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Inside, arrays that are freed are not returned to the system; at the end they all are.

    By itself glibc maps each large array anew and returns it when freed: a step then begins by asking for hundreds of
    MiB, page by page, each at the price of a fault (a tenth to a quarter of a step on a processor). Without glibc
    nothing changes.

    Source: mallopt(3) of the Linux man-pages.
    """
    try:
        libc = ctypes.CDLL(None)
        mallopt, trim = libc.mallopt, libc.malloc_trim
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        yield
        return
    mallopt(MMAP_MAX, 0)
    mallopt(TRIM_THRESHOLD, NEVER)
    try:
        yield
    finally:
        mallopt(MMAP_MAX, USUAL_MAPS)
        mallopt(TRIM_THRESHOLD, USUAL_TRIM)
        trim(0)

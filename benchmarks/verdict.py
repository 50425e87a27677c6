"""Whether a line reached what it was meant to, wish by wish."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.line import Line
from benchmarks.pair import Measured


@dataclass(frozen=True)
class Wish:
    """One thing that a line wants, as words, and whether it came true."""

    words: str
    reached: bool


def wishes(line: Line, measured: Measured) -> list[Wish]:
    """In the order of the line's fields. A wish about memory that was not measured is not reached."""
    found = []
    if line.wanted is not None:
        found.append(Wish(f"≥ {line.wanted:.3g} ×", measured.ratio >= line.wanted))
    if line.wanted_seconds is not None:
        found.append(Wish(f"≤ {line.wanted_seconds:g} s", measured.ours_seconds <= line.wanted_seconds))
    ours, peer = measured.ours_mib, measured.peer_mib
    if line.wanted_memory is not None:
        share = ours is not None and peer is not None and ours <= line.wanted_memory * peer
        found.append(Wish(f"≤ {line.wanted_memory:.2g} of the peer's memory", share))
    if line.wanted_mib is not None:
        found.append(Wish(f"≤ {line.wanted_mib:.0f} MiB", ours is not None and ours <= line.wanted_mib))
    return found

"""Which sequence a DICOM series is, by its names and its echo time, as a radiographer would tell it from a list."""

from __future__ import annotations

import re
from collections.abc import Sequence

from steelyard.io.dicom_folder import FoundSeries

KNOWN = ("t1_in", "t1_out", "t2_spir", "ct")
PAIR = (1.7, 2.3)  # in-phase over out-phase echo time: 2 at every field strength, rounded by the scanner
LONGEST_DUAL_MS = 7.0  # of a dual echo's first in-phase image: 4.6 ms at 1.5 T
LONGEST_T1_MS = 25.0
IN_PHASE_MS = (4.1, 5.3)  # a series alone: the first in-phase echo at 1.5 T, which is no out-phase echo elsewhere

IN_WORDS = re.compile(r"in ?phase|\bip\b|\bin$")
ALSO_IN = re.compile(r"\bin\b")  # as in `in/out phase`, the name of both echoes
OUT_WORDS = re.compile(r"(out|opp|opposed)( of)? ?phase|\b(oop|(?<!post )op|opp|out)\b")
WATER_OR_FAT = re.compile(r"\bwater\b|\bfat\b(?! ?(sat|sup))|\b[wf]$")  # made of both phases, with the echo time of one
FAT_SUPPRESSED = re.compile(r"spir|spair|\bfs\b|fat ?sat")


def sequence_of(series: FoundSeries, exam: Sequence[FoundSeries]) -> str | None:
    """`t1_in`, `t1_out`, `t2_spir` or `ct`; `other` for what is certainly none of these; None where nothing tells.

    Args:
        exam: all series of the same examination: the two echoes of a dual-echo series tell each other.
    """
    if series.modality not in ("CT", "MR", "") or series.plane != "axial":  # networks of these learned on axial slices
        return "other"
    if series.modality == "CT":
        return "ct"
    names = [
        " ".join(re.sub(r"[^a-z0-9]+", " ", said.lower()).split()) for said in (series.protocol, series.description)
    ]
    words = " ".join(names)
    echo = series.echo_time_ms
    if "t2" in words or (echo is not None and echo > LONGEST_T1_MS):
        return "t2_spir" if "t2" in words and FAT_SUPPRESSED.search(words) else "other"
    is_in, is_out = (any(kind.search(name) for name in names) for kind in (IN_WORDS, OUT_WORDS))
    if is_out and not is_in and not ALSO_IN.search(words):
        return "t1_out"
    if is_in and not is_out:
        return "t1_in"
    if not is_in and not is_out and any(WATER_OR_FAT.search(name) for name in names):
        return "other"
    return None if FAT_SUPPRESSED.search(words) else _by_echo(series, exam)


def matches(series: FoundSeries, phase: str, exam: Sequence[FoundSeries]) -> bool:
    """Whether a series is the named sequence; names that are not CHAOS's are looked for in the series' own names."""
    if phase.lower() in KNOWN:
        return sequence_of(series, exam) == phase.lower()
    wanted = re.sub(r"[^a-z0-9]+", "", phase.lower())
    return bool(wanted) and any(
        wanted in re.sub(r"[^a-z0-9]+", "", said.lower()) for said in (series.protocol, series.description)
    )


def is_unlike(series: FoundSeries, phase: str, exam: Sequence[FoundSeries]) -> bool:
    """Whether a series is certainly not the named sequence."""
    found = sequence_of(series, exam)
    if phase.lower() == "ct" and series.modality == "MR":
        return True
    return phase.lower() in KNOWN and found is not None and found != phase.lower()


def _by_echo(series: FoundSeries, exam: Sequence[FoundSeries]) -> str | None:
    """The longer of two echoes of one grid is in phase, when it takes twice the time of the shorter."""
    echo = series.echo_time_ms
    if echo is None or echo > LONGEST_DUAL_MS or echo <= 0:
        return None
    for other in exam:
        alike = (other.size, other.slices, other.plane) == (series.size, series.slices, series.plane)
        if other is series or not alike or not other.echo_time_ms or other.echo_time_ms > LONGEST_DUAL_MS:
            continue
        if PAIR[0] <= echo / other.echo_time_ms <= PAIR[1]:
            return "t1_in"
        if PAIR[0] <= other.echo_time_ms / echo <= PAIR[1]:
            return "t1_out"
    return "t1_in" if IN_PHASE_MS[0] <= echo <= IN_PHASE_MS[1] else None

"""The DICOM series of a folder, examination by examination, and the ones among them that a model was made for."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from steelyard.errors import BadData
from steelyard.inference.sequences import is_unlike, matches
from steelyard.io.dicom_folder import FoundSeries
from steelyard.io.dicom_header import ImageName, dataset, text

IDENTITY = ["StudyInstanceUID", "PatientID", "PatientName", "SeriesInstanceUID"]  # to tell series apart; never shown


@dataclass(frozen=True, eq=False)
class Exam:
    """The series of one examination of one patient, in the order of their numbers."""

    series: tuple[FoundSeries, ...]
    uids: tuple[str, ...]
    is_known: bool  # whether the headers say that these series, and no others, belong together
    patient: str  # a hash that is equal for examinations of one patient: whose they are is never kept

    @property
    def listed(self) -> list[str]:
        """A numbered line for each series."""
        return [f"{position}. {series.title}" for position, series in enumerate(self.series, 1)]


@dataclass(frozen=True, eq=False)
class Chosen:
    """The series of one case, one per channel of the model, and the sequence that they are."""

    sequence: str
    phases: tuple[FoundSeries, ...]
    note: str = ""


@dataclass(frozen=True)
class NotChosen:
    """Why no series of an examination was taken. `is_other`: all are certainly something else."""

    reason: str
    is_other: bool = False


def exams_of(series: Sequence[FoundSeries], top: Path) -> list[Exam]:
    """Series grouped by study and patient; where headers name no study, also by the first folder under `top`."""
    groups: dict[tuple[str, ...], list[tuple[FoundSeries, str]]] = defaultdict(list)
    for found in series:
        study, patient_id, patient_name, uid = _identity(found.files[0])
        inside = found.files[0].relative_to(top).parts
        first = "" if study or len(inside) < 2 else inside[0]
        groups[study, patient_id, patient_name, first].append((found, uid))
    return [
        Exam(tuple(found for found, _ in group), tuple(uid for _, uid in group), key[0] != "", _patient(key))
        for key, group in groups.items()
    ]


def choose(exam: Exam, sequences: Sequence[str], wanted: Sequence[str]) -> list[Chosen] | NotChosen:
    """The cases of an examination for a model trained on those sequences.

    Args:
        sequences: of the model; `a+b` takes two series as channels.
        wanted: what `--series` says: positions in the list, series numbers, words of a title or parts of a UID.
    """
    named = _named(exam, wanted)
    if isinstance(named, NotChosen):
        return named
    chosen, doubts = [], []
    for sequence in sequences:
        found = _of_sequence(exam, named, sequence)
        if isinstance(found, Chosen):
            chosen.append(found)
        elif found:
            doubts.append(found)
    if doubts:
        return NotChosen(f"{doubts[0]}: {'; '.join(exam.listed)}. Name one: --series N, or a word of its line.")
    if chosen:
        return chosen
    return _forced(exam, named, sequences, is_forced=bool(wanted))


def _named(exam: Exam, wanted: Sequence[str]) -> list[FoundSeries] | NotChosen:
    """The series that `--series` names, in the order of its words; all without it."""
    if not wanted:
        return list(exam.series)
    found: list[FoundSeries] = []
    for word in wanted:
        own = _by_word(exam, word)
        if _has_two_meanings(exam, word):
            return NotChosen(
                f"{word} is the position of one series and the number of another: {'; '.join(exam.listed)}. Name "
                f"another word of its line, such as 'series {word}:'."
            )
        if not own:
            return NotChosen(f"no series is {word!r}; there are {'; '.join(exam.listed)}. Name one of these.")
        found += [series for series in own if series not in found]
    return found


def _by_word(exam: Exam, word: str) -> list[FoundSeries]:
    if word.isdecimal():
        return _at(exam, word) or _numbered(exam, word)
    lowered = word.lower()
    return [
        series
        for series, uid in zip(exam.series, exam.uids, strict=True)
        if lowered in f"{series.title} {series.protocol}".lower() or ("." in word and word in uid)
    ]


def _has_two_meanings(exam: Exam, word: str) -> bool:
    if not word.isdecimal():
        return False
    at, numbered = _at(exam, word), _numbered(exam, word)
    return bool(at and numbered) and at[0] not in numbered


def _at(exam: Exam, word: str) -> list[FoundSeries]:
    return [exam.series[int(word) - 1]] if 1 <= int(word) <= len(exam.series) else []


def _numbered(exam: Exam, word: str) -> list[FoundSeries]:
    return [series for series in exam.series if series.number == int(word)]


def _of_sequence(exam: Exam, named: Sequence[FoundSeries], sequence: str) -> Chosen | str:
    """The series of one sequence; a doubt in words where several could be it; empty where none is."""
    phases = []
    for phase in sequence.split("+"):
        alike = [series for series in named if matches(series, phase, exam.series)]
        if len(alike) > 1:
            return f"{len(alike)} series could be {phase}"
        if not alike:
            return ""
        phases.append(alike[0])
    return Chosen(sequence, tuple(phases))


def _forced(
    exam: Exam, named: Sequence[FoundSeries], sequences: Sequence[str], *, is_forced: bool
) -> list[Chosen] | NotChosen:
    """What to do when no series is recognised: take what was named, or the only one if nothing speaks against it."""
    sequence = sequences[0]
    phases = sequence.split("+")
    unlike = [
        all(is_unlike(series, phase, exam.series) for s in sequences for phase in s.split("+")) for series in named
    ]
    if len(named) == len(phases) and (is_forced or (len(phases) == 1 and not unlike[0])):
        titles = " and ".join(series.title for series in named)
        return [Chosen(sequence, tuple(named), f"taken for {sequence}: {titles}")]
    if is_forced and len(named) != len(phases):
        return NotChosen(
            f"{sequence} takes {len(phases)} series, --series names {len(named)}: "
            f"{'; '.join(series.title for series in named)}. Name as many."
        )
    lines = "; ".join(exam.listed)
    if all(unlike):
        return NotChosen(f"none of its series is {' or '.join(sequences)}: {lines}. Use --series to insist.", True)
    return NotChosen(f"no series is recognised as {' or '.join(sequences)}: {lines}. Name one: --series N.")


def _patient(key: tuple[str, ...]) -> str:
    """Of the key of an examination: by its patient's name and number, else by all that it has."""
    return hashlib.sha256(repr(key[1:3] if any(key[1:3]) else key).encode("utf-8", "surrogatepass")).hexdigest()


def _identity(file: Path) -> tuple[str, str, str, str]:
    try:
        data = dataset(file, stop_before_pixels=True, tags=IDENTITY)
        study, patient_id, patient_name, uid = (text(data, keyword, ImageName(file)) for keyword in IDENTITY)
    except BadData:
        return "", "", "", ""
    return study, patient_id, patient_name, uid

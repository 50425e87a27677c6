"""Is a data set whole and plausible? Every case is read once; errors and warnings are collected, none hides another.

An error is a case that cannot be read as it should (broken series, masks that do not belong). A warning is a case that
can be read and used, but that somebody should look at.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy import ndimage

from steelyard.datasets import CaseKey, Dataset
from steelyard.datasets.fingerprint import CaseFingerprint, fingerprint_case
from steelyard.errors import BadData
from steelyard.volume import Case, LabelMap

STRAY_SHARE = 0.01  # of an organ's voxels: a smaller separate part is a slip of the pen (CHAOS has 2–4 voxels, < 0.1 %)
TOUCHING = np.ones((3, 3, 3), bool)  # voxels that share a face, an edge or a corner belong together
LAST_SENTENCE = re.compile(r"(?<=\.) +(?=[A-Z])")


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong or odd, with what to do about it."""

    severity: Literal["error", "warning"]
    patient_id: str
    sequence: str
    file: str | None
    message: str
    remedy: str


@dataclass(frozen=True)
class Findings:
    """All problems, errors first, and the fingerprints of the cases that could be read."""

    problems: tuple[Problem, ...]
    cases: tuple[CaseFingerprint, ...]

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if problem.severity == "error")

    @property
    def warnings(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if problem.severity == "warning")

    def raise_errors(self) -> None:
        """`BadData` with the first error and the number of others, when there are any."""
        if self.errors:
            first, *others = self.errors
            more = f" ({len(others)} more cases have errors.)" if len(others) > 1 else ""
            more = " (1 more case has an error.)" if len(others) == 1 else more
            raise BadData(f"{first.message} {first.remedy}{more}", file=Path(first.file) if first.file else None)

    def as_json(self) -> dict[str, Any]:
        """Plain lists, numbers and strings."""
        return {
            "problems": [asdict(problem) for problem in self.problems],
            "cases": [case.as_json() for case in self.cases],
        }


PROBLEM_COLUMNS = ("severity", "patient", "sequence", "problem", "remedy")
CASE_COLUMNS = ("case", "size", "spacing mm", "intensity 0.5 / 50 / 99.5 %", "organs: voxels, ml (slices with)")


def problem_rows(findings: Findings) -> tuple[tuple[str, ...], ...]:
    """The problems as text under `PROBLEM_COLUMNS`."""
    return tuple((p.severity, p.patient_id, p.sequence, p.message, p.remedy) for p in findings.problems)


def case_rows(findings: Findings) -> tuple[tuple[str, ...], ...]:
    """The fingerprints as text under `CASE_COLUMNS`; several channels one after another."""
    return tuple(
        (
            case.case_id,
            " × ".join(map(str, case.shape)),
            " × ".join(f"{mm:.3g}" for mm in case.spacing_mm),
            "; ".join(" / ".join(f"{value:.0f}" for value in channel) for channel in case.intensity_percentiles),
            "; ".join(f"{o.organ} {o.voxels}, {o.volume_ml:.1f} ({o.slices_with})" for o in case.organs)
            or "no reference",
        )
        for case in findings.cases
    )


def check(dataset: Dataset) -> Findings:
    """Reads every case of every sequence and reports all that is wrong or odd; raises nothing for a broken case."""
    problems: list[Problem] = []
    cases: list[CaseFingerprint] = []
    owners: dict[str, list[CaseKey]] = defaultdict(list)
    for key in dataset.keys(dataset.sequences):
        try:
            case = dataset.read(key)
        except BadData as error:
            problems.append(_broken(key, error))
            continue
        cases.append(fingerprint_case(case))
        owners[_pixel_hash(case)].append(key)
        if case.reference is not None:
            problems += _implausible(key, case.reference)
    for keys in owners.values():
        problems += _duplicates(keys)
    problems.sort(key=lambda problem: (problem.severity, problem.patient_id, problem.sequence))
    return Findings(tuple(problems), tuple(cases))


def _broken(key: CaseKey, error: BadData) -> Problem:
    *said, remedy = LAST_SENTENCE.split(str(error)) if LAST_SENTENCE.search(str(error)) else (str(error), "")
    file = str(error.file) if error.file else None
    return Problem("error", key.patient_id, key.sequence, file, " ".join(said), remedy)


def _implausible(key: CaseKey, reference: LabelMap) -> Iterator[Problem]:
    for organ in reference.label_set.organs:
        mask = reference.labels == organ.index
        if not mask.any():
            yield _warning(
                key,
                f"{organ.title} is wholly absent from the reference.",
                "Check whether the patient lacks it or the expert left it out.",
            )
            continue
        yield from _stray_islands(key, mask, organ.title)
    names = reference.label_set.class_names
    for name in names:
        if name.startswith("right_") and (left := "left_" + name.removeprefix("right_")) in names:
            yield from _sides(key, reference, name, left)


def _stray_islands(key: CaseKey, mask: np.ndarray, title: str) -> Iterator[Problem]:
    (box,) = ndimage.find_objects(mask.astype(np.uint8))  # most of a volume is background
    parts, count = ndimage.label(mask[box], TOUCHING)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    for part in np.flatnonzero(sizes < STRAY_SHARE * sizes.sum()):
        where = np.argwhere(parts == part + 1)[0] + [axis.start for axis in box]
        yield _warning(
            key,
            f"{title} has a stray island of {sizes[part]} voxels ({sizes[part] / sizes.sum():.2%} of it) "
            f"at slice {where[0]}, row {where[1]}, column {where[2]}, counted from 0.",
            "Look at it; erase it from the mask if it is a slip.",
        )


def _sides(key: CaseKey, reference: LabelMap, right: str, left: str) -> Iterator[Problem]:
    """LPS x grows to the patient's left, so the right organ must lie at the smaller x."""
    right_x, left_x = (_centroid_x_mm(reference, name) for name in (right, left))
    if right_x is not None and left_x is not None and right_x >= left_x:
        right, left = right.replace("_", " "), left.replace("_", " ")
        yield _warning(
            key,
            f"{right} and {left} are on the wrong sides: the {right} lies {right_x - left_x:.0f} mm to the patient's "
            f"left of the {left}.",
            "Check whether labels were swapped or the image was mirrored.",
        )


def _centroid_x_mm(reference: LabelMap, name: str) -> float | None:
    voxels = np.argwhere(reference.labels == reference.label_set.organ(name).index)
    if not len(voxels):
        return None
    return float(reference.geometry.affine[0] @ np.append(voxels.mean(axis=0), 1))


def _pixel_hash(case: Case) -> str:
    shape = str(case.image.intensities.shape).encode()
    return hashlib.sha256(shape + np.ascontiguousarray(case.image.intensities).tobytes()).hexdigest()


def _duplicates(keys: list[CaseKey]) -> Iterator[Problem]:
    first = keys[0]
    for key in keys[1:]:
        if key.patient_id != first.patient_id:
            yield _warning(
                key,
                f"has exactly the pixels of {first.patient_id}, {first.sequence}: one patient under two names.",
                "Remove one, or folds will put it on both sides.",
            )


def _warning(key: CaseKey, message: str, remedy: str) -> Problem:
    return Problem("warning", key.patient_id, key.sequence, None, message, remedy)

"""What is to be predicted: every scan in a file or folder, DICOM or NIfTI, named after its place and never its patient.

patient/…             a DICOM export, one series or many: the one that the model was trained on is taken
patients/<name>/…     any number of these, CHAOS's Train_Sets or Test_Sets among them
scan.nii.gz           one channel; several channels as scan_0000.nii.gz, scan_0001.nii.gz, … (nnU-Net's names)
scans/*.nii.gz        a folder of these
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from steelyard.errors import BadData, BadSpec
from steelyard.inference.broken_files import DICOM_SUFFIXES, broken_files
from steelyard.inference.exams import Chosen, NotChosen, choose, exams_of
from steelyard.io.dicom_folder import is_pipe, survey, walk
from steelyard.io.dicom_series import Series, read_headers, read_pixels
from steelyard.io.nifti import SUFFIXES, read_volume
from steelyard.io.nifti_placement import axial_pixel_mm, placement_doubt
from steelyard.study.model import Model
from steelyard.views.predicted_cases import is_prediction
from steelyard.volume import Volume

NOT_IN_NAMES = re.compile(r"[^\w.-]+")
LONGEST_NAME = 120  # bytes; file systems hold 255, and a file being written has a longer name
CHANNEL = re.compile(r"(.+)_(\d{4})$")
HASHED_AT_ONCE = 1 << 20  # bytes
LABELS = frozenset((0, 1, 2, 3, 4, 5, 6, 7, 63, 126, 189, 252))  # an image of these numbers alone is a label map
SAMPLED_EVERY = 97  # voxels; an image shows other numbers among these
MOST_UNEVEN = 2.5  # sides of an axial pixel: scanners make them nearly square, slices of other planes are thicker


@dataclass(frozen=True, eq=False)
class Scan:
    """An image as read. `source` is its DICOM series (the first of several channels), None for NIfTI."""

    image: Volume
    source: Series | None
    slice_names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class InputCase:
    """One scan to be predicted, not read yet.

    Attributes:
        name: unique and safe as a file name, made of the place in the input.
        place: of its files, relative to the input.
        channels: the files of each channel.
        problem: why it cannot be predicted, known without reading it.
        patient: equal for cases of one patient, and says nothing else of them; empty for NIfTI.
    """

    name: str
    place: str
    sequence: str
    channels: tuple[tuple[Path, ...], ...]
    is_dicom: bool
    note: str = ""
    problem: str = ""
    patient: str = ""

    def read(self) -> Scan:
        """The image with its channels on one grid; `BadData` where its files are broken."""
        if self.problem:
            raise BadData(self.problem)
        if not self.is_dicom:
            image = _finite(_joined([read_volume(files[0]) for files in self.channels], self.sequence))
            _check_no_label_map(image)
            return Scan(image, None, tuple(f"slice-{k + 1:03d}" for k in range(image.geometry.shape[0])))
        series = [read_headers(files) for files in self.channels]
        image = _finite(_joined([read_pixels(one) for one in series], self.sequence))
        return Scan(image, series[0], slice_names(series[0]))

    def sha256(self) -> str:
        """Of the contents of its files."""
        digest = hashlib.sha256()
        for file in (file for files in self.channels for file in files):
            with file.open("rb") as opened:
                while part := opened.read(HASHED_AT_ONCE):
                    digest.update(part)
        return digest.hexdigest()


@dataclass(frozen=True)
class Inputs:
    """The cases of an input, and sentences about what else is in it."""

    cases: tuple[InputCase, ...]
    notes: tuple[str, ...]


def find_inputs(path: Path, model: Model, *, series: Sequence[str] = ()) -> Inputs:
    """Every scan for the model in `path`, sorted by name. Broken ones are among them, with their `problem`.

    Args:
        path: a DICOM or NIfTI file, or a folder.
        series: which series of an examination, where that is not plain: see `choose`.

    Raises:
        BadData: there is no such path, or nothing in it to predict.
        BadSpec: it holds one examination, and which of its series is meant is not plain.
    """
    if not path.exists():
        raise BadData(f"there is no {path}. Name a DICOM folder, a NIfTI file or a folder of these.")
    if path.is_file():
        cases = _one_file(path, model)
        return Inputs(tuple(cases), ())
    cases = _nifti_cases(_nifti_files(path), path, model)
    dicom, notes = _dicom_cases(path, model, series)
    found = _with_unique_names([*cases, *dicom])
    if not found:
        said = " ".join(notes)
        raise BadData(
            f"{path} holds neither a DICOM series nor a NIfTI file to predict{f' ({said})' if said else ''}. "
            "Name another folder."
        )
    return Inputs(tuple(sorted(found, key=lambda case: case.name)), tuple(notes))


def slice_names(series: Series) -> tuple[str, ...]:
    """A name for each slice, in slice order, after its file; frames of one file are numbered."""
    if series.frame_numbers is not None:
        return tuple(f"{_stem(series.files[0])}-frame-{number:04d}" for number in series.frame_numbers)
    stems = [_stem(file) for file in series.files]
    if len(set(stems)) == len(stems):
        return tuple(stems)
    return tuple(f"{position:04d}-{stem}" for position, stem in enumerate(stems, 1))


def _one_file(path: Path, model: Model) -> list[InputCase]:
    if path.name.lower().endswith(SUFFIXES):
        match = CHANNEL.match(_stem(path))
        siblings = _nifti_files(path.parent) if model.phases > 1 and match else [path]
        base = match[1] if match else _stem(path)
        same = [file for file in siblings if file.parent == path.parent and _case_of(file, model) == base]
        return _nifti_cases(same or [path], path.parent, model)
    if model.phases > 1:
        raise BadData(f"{model.sequences[0]} takes {model.phases} series; {path} is one file. Name their folder.")
    return [
        InputCase(
            _safe(_stem(path)), path.name, model.sequences[0], ((path,),), True, f"taken for {model.sequences[0]}"
        )
    ]


def _nifti_files(folder: Path) -> list[Path]:
    """All below a folder, but for what an earlier prediction wrote there."""
    found: list[Path] = []
    for parent, folders, files in walk(folder):
        if is_prediction(parent):
            folders.clear()
            continue
        named = [file for file in files if file.name.lower().endswith(SUFFIXES) and not file.name.startswith(".")]
        found += [file for file in named if not is_pipe(file)]
    return found


def _nifti_cases(files: Sequence[Path], top: Path, model: Model) -> list[InputCase]:
    """One case per file; for several channels one per group of `<case>_0000`, `<case>_0001`, …"""
    groups: dict[Path, list[Path]] = defaultdict(list)
    for file in files:
        groups[file.parent / _case_of(file, model)].append(file)
    cases = []
    for group, own in groups.items():
        problem = ""
        if model.phases > 1:
            wanted = [f"{group.name}_{channel:04d}" for channel in range(model.phases)]
            if [_stem(file) for file in own] != wanted:
                problem = (
                    f"{model.sequences[0]} takes {model.phases} files, {wanted[0]}.nii.gz to {wanted[-1]}.nii.gz; "
                    f"came {', '.join(file.name for file in own)}. Name the channels so."
                )
        place = group.relative_to(top)
        channels = tuple((file,) for file in own)
        shown = str(place) if len(own) > 1 else str(own[0].relative_to(top))
        note = "" if problem else _doubts(own[0], model)
        cases.append(InputCase(_safe("_".join(place.parts)), shown, model.sequences[0], channels, False, note, problem))
    return cases


def _case_of(file: Path, model: Model) -> str:
    match = CHANNEL.match(_stem(file)) if model.phases > 1 else None
    return match[1] if match else _stem(file)


def _doubts(file: Path, model: Model) -> str:
    """What a reader should know of a NIfTI file before its result is believed; a broken one is told when it is read."""
    doubts = [placement_doubt(file)]
    sides = axial_pixel_mm(file) if model.is_axial else None
    if sides is not None and sides[1] > MOST_UNEVEN * sides[0]:
        doubts.append(f"its axial pixels are {sides[0]:.3g} × {sides[1]:.3g} mm, as of a scan in another plane")
    return "; ".join(doubt for doubt in doubts if doubt)


def _dicom_cases(top: Path, model: Model, wanted: Sequence[str]) -> tuple[list[InputCase], list[str]]:
    """The cases of every examination below `top`, and sentences about what is left out."""
    found = survey(top)
    exams = exams_of(found.series, top)
    broken = broken_files(top, {file for series in found.series for file in series.files})
    cases: list[InputCase] = []
    passed_over: list[str] = []
    for exam in exams:
        chosen = choose(exam, model.sequences, wanted)
        folder = _folder([file for series in exam.series for file in series.files])
        if isinstance(chosen, NotChosen):
            if len(exams) == 1:
                raise BadSpec(f"{_shown(folder, top)}: {chosen.reason}")
            if chosen.is_other and not exam.is_known:
                passed_over.append(_shown(folder, top))
            else:
                cases.append(_failed(folder, top, model.sequences[0], chosen.reason))
            continue
        cases += [replace(_chosen_case(one, top, broken), patient=exam.patient) for one in chosen]
    used = {file.parent for case in cases for files in case.channels for file in files}
    known = {file.parent for series in found.series for file in series.files}
    for folder, reasons in broken.items():
        if folder not in used | known:
            more = f" and {len(reasons) - 1} more such files" if len(reasons) > 1 else ""
            cases.append(_failed(folder, top, model.sequences[0], f"{reasons[0]}{more}"))
    line = found.left_out_line
    notes = [f"{line[:1].upper()}{line[1:]}."] if exams and _is_worth_a_note(found.left_out) else []
    if exams and not model.is_axial:
        notes.append(
            f"{model.name} learned from files in their own voxel order, and sees DICOM slices as they are. Compare the "
            "preview with an image of its training: one turned another way is not recognised."
        )
    if passed_over:
        notes.append(f"Passed over, of another sequence: {', '.join(sorted(passed_over))}.")
    return cases, notes


def _chosen_case(chosen: Chosen, top: Path, broken: dict[Path, list[str]]) -> InputCase:
    files = [file for series in chosen.phases for file in series.files]
    folder = _folder(files)
    problem = next((broken[place][0] for place in sorted({file.parent for file in files}) if place in broken), "")
    return InputCase(
        name=_name(folder, top),
        place=_shown(folder, top),
        sequence=chosen.sequence,
        channels=tuple(series.files for series in chosen.phases),
        is_dicom=True,
        note=chosen.note,
        problem=problem,
    )


def _failed(folder: Path, top: Path, sequence: str, problem: str) -> InputCase:
    return InputCase(_name(folder, top), _shown(folder, top), sequence, (), True, problem=problem)


def _is_worth_a_note(left_out: dict[str, int]) -> bool:
    return any(kind not in ("not DICOM", "localizer image") for kind in left_out)


def _joined(volumes: Sequence[Volume], sequence: str) -> Volume:
    first = volumes[0]
    if len(volumes) == 1:
        return first
    for volume in volumes[1:]:
        if not volume.geometry.same_grid(first.geometry):
            raise BadData(f"the channels of {sequence} lie on different grids. Register and resample them first.")
    return Volume(np.stack([volume.intensities for volume in volumes]), first.geometry)


def _finite(image: Volume) -> Volume:
    odd = image.intensities.size - int(np.count_nonzero(np.isfinite(image.intensities)))
    if odd:
        raise BadData(f"{odd} of its voxels are NaN or infinite, where numbers are wanted. Mend the image.")
    return image


def _check_no_label_map(image: Volume) -> None:
    """Masks lie beside images in many data sets; organs found in them would be numbers like any other."""
    if not set(np.unique(image.intensities.ravel()[::SAMPLED_EVERY]).tolist()) <= LABELS:
        return
    values = np.unique(image.intensities).tolist()
    if len(values) > 1 and LABELS.issuperset(values):
        raise BadData(
            f"it holds the numbers {', '.join(f'{value:g}' for value in values)} and no other, as label maps do. "
            "Name images alone, or move label maps elsewhere."
        )


def _folder(files: Sequence[Path]) -> Path:
    """The nearest folder that holds all those files."""
    return Path(os.path.commonpath([file.parent for file in files]))


def _shown(folder: Path, top: Path) -> str:
    inside = folder.relative_to(top)
    return str(inside) if inside.parts else top.resolve().name


def _name(folder: Path, top: Path) -> str:
    inside = folder.relative_to(top)
    return _safe("_".join(inside.parts) if inside.parts else top.resolve().name)


def _safe(name: str) -> str:
    """A name for files: letters, digits, `_`, `.` and `-`; the end of a long one, with a checksum of the whole."""
    cleaned = NOT_IN_NAMES.sub("-", name).strip(".-") or "scan"
    if len(cleaned.encode()) <= LONGEST_NAME:
        return cleaned
    end = cleaned.encode()[-LONGEST_NAME:].decode("utf-8", "ignore").lstrip(".-")
    return f"{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}-{end}"


def _with_unique_names(cases: Sequence[InputCase]) -> list[InputCase]:
    """Equal names get their sequence, then numbers."""
    cases = sorted(cases, key=lambda case: (case.name, case.sequence, case.channels))
    counts = Counter(case.name for case in cases)
    named = [
        replace(case, name=_safe(f"{case.name}_{case.sequence}")) if counts[case.name] > 1 else case for case in cases
    ]
    used: set[str] = set()
    unique = []
    for case in named:
        name, number = case.name, 1
        while name.lower() in used:  # file systems may not tell capitals
            number += 1
            name = f"{case.name}-{number}"
        used.add(name.lower())
        unique.append(replace(case, name=name))
    return unique


def _stem(file: Path) -> str:
    """The name without an ending that only says the format; numbers at the end of a name are no ending."""
    for suffix in (".nii.gz", ".nii", *DICOM_SUFFIXES):
        if file.name.lower().endswith(suffix):
            return file.name[: -len(suffix)]
    return file.name

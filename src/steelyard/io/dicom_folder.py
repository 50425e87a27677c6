"""Which series of images lie in a folder, whatever its layout: one entry for each that could be a volume.

Slices belong together that share SeriesInstanceUID, echo time, orientation and size. In-phase and out-of-phase images
often share one SeriesInstanceUID; the echo time tells them apart. Where slices then still lie at the same places, they
are parted by what parts them all: image type, temporal position, acquisition, or folder. A multi-frame file is one
series. Nothing is left out silently: `survey` counts it.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pydicom

from steelyard.errors import BadData
from steelyard.io.dicom_header import (
    GREY,
    NOT_SCANS,
    ORIENTATION_TOLERANCE,
    PER_FRAME,
    SHARED,
    Groups,
    ImageName,
    dataset,
    described,
    directions,
    echo_groups,
    echo_time_ms,
    frame_count,
    frame_groups,
    image_size,
    numbers,
    text,
)

TAGS = [  # all that is read of a file
    *("ImageType", "SOPClassUID", "Modality", "SeriesDescription", "ProtocolName", "EchoTime"),
    *("PatientID", "PatientName", "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber"),
    *("TemporalPositionIdentifier", "AcquisitionNumber"),
    *("ImagePositionPatient", "ImageOrientationPatient", "Rows", "Columns"),
    *("SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames", PER_FRAME, SHARED),
]
PARTED_BY = ("image type", "temporal position", "acquisition", "folder")  # in this order, where places repeat
PLANES = ("sagittal", "coronal", "axial")  # by the axis of LPS that the normal is nearest to
SHORTEST_NAME = 3  # characters of a patient's name or number that are looked for in descriptions


@dataclass(frozen=True, eq=False)
class FoundSeries:
    """One series that could be a volume; `files` go to `read_headers`, which checks whether it is one."""

    files: tuple[Path, ...]
    description: str
    protocol: str
    modality: str
    number: int | None
    echo_time_ms: float | None
    slices: int
    plane: str
    size: tuple[int, int]
    part: str = ""

    @property
    def title(self) -> str:
        """One line for a list: `series 801: T1DUAL_InPhase, MR, axial, 35 slices of 256 × 256, echo time 4.6 ms`."""
        number = "series" if self.number is None else f"series {self.number}"
        said = self.description or self.protocol or "no description"
        parts = [f"{number}: {said}", self.modality or "no modality", self.plane]
        parts.append(f"{self.slices} slices of {self.size[0]} × {self.size[1]}")
        if self.echo_time_ms is not None:
            parts.append(f"echo time {self.echo_time_ms:.3g} ms")
        parts += [self.part] if self.part else []
        return ", ".join(parts)


@dataclass(frozen=True, eq=False)
class Survey:
    """What a folder holds: series of images, and how many files of which other kind."""

    series: tuple[FoundSeries, ...]
    left_out: dict[str, int]

    @cached_property
    def left_out_line(self) -> str:
        """`left out: 3 × not DICOM, 1 × SEG`; empty when all files are images of a series."""
        parts = [f"{count} × {kind}" for kind, count in sorted(self.left_out.items())]
        return f"left out: {', '.join(parts)}" if parts else ""


def find_series(folder: Path) -> list[FoundSeries]:
    """The series of images in a folder and all folders below, sorted by series number and echo time.

    Localizers, single images, colour images and objects that are no images (SEG, RTSTRUCT, SR, PR) are left out;
    `survey` counts them. Pixels are not read. A folder that cannot be read is `BadData`.
    """
    return list(survey(folder).series)


def walk(
    top: Path, *, onerror: Callable[[OSError], object] | None = None
) -> Iterator[tuple[Path, list[str], list[Path]]]:
    """Each folder, its subfolders' names, from which a caller may remove, and its files; sorted.

    Links to folders are followed, since collections are often made of them; a folder is entered once.
    """
    entered = set()
    for parent, folders, names in os.walk(top, onerror=onerror, followlinks=True):
        place = os.path.realpath(parent)
        if place in entered:
            folders.clear()
            continue
        entered.add(place)
        folders.sort()
        yield Path(parent), folders, [Path(parent, name) for name in sorted(names)]


def is_pipe(file: Path) -> bool:
    """Whether something is there that is no file, a pipe or device, for whose content a reader would wait."""
    return file.exists() and not file.is_file()


def survey(folder: Path) -> Survey:
    """The series in a folder and all folders below, and a count of what was left out."""
    left_out: Counter[str] = Counter()
    alike: dict[tuple, list[_Image]] = defaultdict(list)
    for file in _files(folder):
        image = _image(file)
        if isinstance(image, str):
            left_out[image] += 1
        else:
            alike[image.key].append(image)
    series = []
    for group in alike.values():
        for images in _split(group):
            if sum(image.slices for image in images) < 2:
                left_out["single image"] += 1
            else:
                series += [_found(part, told) for told, part in _parts(images)]
    series.sort(key=lambda found: (found.number or 0, found.echo_time_ms or 0, found.part, found.files))
    return Survey(tuple(series), dict(left_out))


@dataclass(frozen=True, eq=False)
class _Image:
    file: Path
    key: tuple
    orientation: np.ndarray
    description: str
    protocol: str
    modality: str
    number: int | None
    echo_time_ms: float | None
    slices: int
    size: tuple[int, int]
    place: tuple[float, ...]
    parts: tuple[str, ...]  # by PARTED_BY


def _files(folder: Path) -> Iterator[Path]:
    def unreadable(error: OSError) -> None:
        raise BadData(
            f"the folder {error.filename} cannot be read ({error.strerror}). Check the name and its permissions."
        )

    for _, _, files in walk(folder, onerror=unreadable):
        yield from files


def _image(file: Path) -> _Image | str:
    """What is needed of one file, or the kind under which it is left out."""
    name = ImageName(file)
    if not file.is_file():  # a pipe would be waited for, and a link may point nowhere
        return "not DICOM"
    try:
        data = dataset(file, stop_before_pixels=True, tags=TAGS)
    except BadData as error:
        return "not DICOM" if "is not a DICOM file" in str(error) else "damaged"
    try:
        modality = text(data, "Modality", name)
        if modality in NOT_SCANS:
            return modality
        if "LOCALIZER" in text(data, "ImageType", name).upper():
            return "localizer image"
        if "Rows" not in data:
            return f"{_one_line(modality)} without image" if _one_line(modality) else "no image"
        if (
            text(data, "SamplesPerPixel", name) not in ("", "1")
            or text(data, "PhotometricInterpretation", name) not in GREY
        ):
            return "colour image"
        frames = frame_count(data, name)
        if frames > 1 and PER_FRAME not in data:
            return "multi-frame without places"
        return _placed(data, name, frames)
    except BadData:
        return "image without its place in the patient"


def _placed(data: pydicom.Dataset, name: ImageName, frames: int) -> _Image:
    groups = next(iter(frame_groups(data, name)), None)  # of the first frame
    place = described(data, groups, "PlaneOrientationSequence", "ImageOrientationPatient", name)
    orientation = numbers(place, "ImageOrientationPatient", name, 6)
    rows, columns = image_size(data, name)
    patient = (text(data, "PatientID", name), text(data, "PatientName", name))
    series = text(data, "SeriesInstanceUID", name) or str(name.file.parent)
    own = str(name.file) if frames > 1 else ""  # a multi-frame file is a series of its own
    number = text(data, "SeriesNumber", name)
    return _Image(
        file=name.file,
        key=(series, text(data, "StudyInstanceUID", name), patient, rows, columns, own),
        orientation=orientation,
        description=_without_patient(text(data, "SeriesDescription", name), patient),
        protocol=_without_patient(text(data, "ProtocolName", name), patient),
        modality=_one_line(text(data, "Modality", name)),
        number=int(number) if number.lstrip("-").isdecimal() else None,
        echo_time_ms=echo_time_ms(data, name, groups),
        slices=frames,
        size=(rows, columns),
        place=_place(data, groups, name),
        parts=(
            _one_line(text(data, "ImageType", name)),
            _one_line(text(data, "TemporalPositionIdentifier", name)),
            _one_line(text(data, "AcquisitionNumber", name)),
            str(name.file.parent),
        ),
    )


def _place(data: pydicom.Dataset, groups: Groups | None, name: ImageName) -> tuple[float, ...]:
    keyword = "ImagePositionPatient"
    place = described(data, groups, "PlanePositionSequence", keyword, name)
    return tuple(np.round(numbers(place, keyword, name, 3), 2).tolist())


def _split(images: Sequence[_Image]) -> list[list[_Image]]:
    """Apart by echo time, then by orientation: an image joins the first group whose first image is turned like it."""
    groups: dict[tuple[int, int], list[_Image]] = defaultdict(list)
    for echo, image in zip(echo_groups([image.echo_time_ms for image in images]), images, strict=True):
        turned = 0
        while (echo, turned) in groups:
            first = groups[echo, turned][0]
            if np.abs(first.orientation - image.orientation).max() <= ORIENTATION_TOLERANCE:
                break
            turned += 1
        groups[echo, turned].append(image)
    return list(groups.values())


def _parts(images: Sequence[_Image]) -> list[tuple[str, list[_Image]]]:
    """Images that lie at the same places, parted where one thing parts them all; else as they are, to be refused."""
    if images[0].slices > 1:
        return [(f"file {images[0].file.name}", list(images))]
    if _once(images):
        return [("", list(images))]
    for k, what in enumerate(PARTED_BY):
        parts: dict[str, list[_Image]] = defaultdict(list)
        for image in images:
            parts[image.parts[k]].append(image)
        if all(len(part) > 1 and _once(part) for part in parts.values()):
            shared = os.path.commonpath(parts) if what == "folder" else ""
            return [(f"{what} {os.path.relpath(v, shared) if shared else v or 'none'}", p) for v, p in parts.items()]
    return [("", list(images))]


def _once(images: Sequence[_Image]) -> bool:
    return len({image.place for image in images}) == len(images)


def _found(images: Sequence[_Image], part: str) -> FoundSeries:
    first = images[0]
    return FoundSeries(
        files=tuple(image.file for image in images),
        description=first.description,
        protocol=first.protocol,
        modality=first.modality,
        number=first.number,
        echo_time_ms=first.echo_time_ms,
        slices=sum(image.slices for image in images),
        plane=PLANES[int(np.abs(directions(first.orientation)[2]).argmax())],
        size=first.size,
        part=part,
    )


def _without_patient(said: str, patient: Sequence[str]) -> str:
    """A description on one line, dropped when it holds the patient's name or number."""
    parts = [part for who in patient for part in who.replace("^", " ").replace("=", " ").split()]
    if any(len(part) >= SHORTEST_NAME and part.lower() in said.lower() for part in parts):
        return ""
    return _one_line(said)


def _one_line(said: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in said).split())

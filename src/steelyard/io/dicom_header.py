"""What the header of one slice says: where it lies, how large it is, what it was acquired with.

A slice is a file, or a frame of a multi-frame file; then the frame's functional groups say what else the file says.

Source: DICOM PS3.3, C.7.6.2 (Image Plane module) and C.7.6.16 (Multi-frame Functional Groups module).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
import pydicom
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.errors import InvalidDicomError
from pydicom.valuerep import PersonName

from steelyard.errors import BadData
from steelyard.io.dicom_file import Header, parse, parse_header, parse_rest

ORIENTATION_TOLERANCE = 1e-3  # in direction cosines, 0.06°: writers round them to four or more decimals
SAME_ECHO_MS = 0.1  # headers round echo times to 1 µs; in-phase and out-of-phase differ by more than 1 ms, also at 3 T
MOST_PIXELS = 1 << 26  # of a slice, 8192 × 8192: a few bytes may claim more, and would take the memory
MANY_CHARACTERS = 40  # of a broken header value are enough to recognise it
NOT_SCANS = frozenset(  # modalities of objects that are drawn on scans, or say something of them
    ("SEG", "RTSTRUCT", "RTDOSE", "RTPLAN", "RTIMAGE", "RTRECORD", "SR", "PR", "KO", "REG", "RWV", "DOC")
)
GREY = ("", "MONOCHROME1", "MONOCHROME2")
PER_FRAME, SHARED = "PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"
UNASSIGNED = ("UnassignedPerFrameConvertedAttributesSequence", "UnassignedSharedConvertedAttributesSequence")
KINDS = (  # of frames that are no slices of one volume when they differ
    ("stacks", "FrameContentSequence", "StackID"),
    ("temporal positions", "FrameContentSequence", "TemporalPositionIndex"),
    ("frame types", "MRImageFrameTypeSequence", "FrameType"),
    ("frame types", "CTImageFrameTypeSequence", "FrameType"),
    ("signal parts", "MRImageFrameTypeSequence", "ComplexImageComponent"),
    ("b-values", "MRDiffusionSequence", "DiffusionBValue"),
    ("inversion times", "MRModifierSequence", "InversionTimes"),
)

PLAIN = frozenset(("AE", "AS", "CS", "DA", "DS", "IS", "LO", "SH", "TM", "UI"))  # kinds of value that are their text
ESCAPE = b"\x1b"  # changes the character set

T = TypeVar("T")
Groups: TypeAlias = tuple[pydicom.Dataset, ...]  # the functional groups of one frame: its own, then the shared ones
AGAIN = "Extract or copy the series again."


@dataclass(frozen=True)
class ImageName:
    """A slice as messages name it: `a.dcm`, or `frame 3 of a.dcm`. Frames count from 1, as in DICOM."""

    file: Path
    frame: int | None = None

    def __str__(self) -> str:
        return self.file.name if self.frame is None else f"frame {self.frame} of {self.file.name}"


@dataclass(frozen=True, eq=False)
class SliceHeader:
    """What one slice says of itself. `kinds` are the values by which frames of several volumes differ."""

    name: ImageName
    size: tuple[int, int]
    orientation: np.ndarray
    position: np.ndarray
    pixel_spacing: np.ndarray
    echo_time_ms: float | None
    kinds: tuple[tuple[str, str], ...]
    protocol: str
    modality: str
    series: tuple[str, ...]
    patient: tuple[str, ...]
    parsed: Header


def slice_headers(file: Path) -> list[SliceHeader]:
    """The headers of all slices in a file: one, or one a frame. `BadData` names the field that is missing or wrong."""
    parsed = _parsed(file, lambda: parse_header(file))
    data, whole = parsed.data, ImageName(file)
    _check_scan(data, whole)
    frames = frame_count(data, whole)
    groups = frame_groups(data, whole)
    if not groups and frames == 1:
        return [_slice_header(parsed, whole, None)]
    if not groups:
        raise BadData(
            f"{file.name} is multi-frame ({frames} frames) and does not say where each frame lies. Export its series "
            "as enhanced multi-frame DICOM, or as single slices.",
            file=file,
        )
    if len(groups) != frames:
        raise BadData(f"{file.name} has {frames} frames but describes {len(groups)}. {AGAIN}", file=file)
    names = [ImageName(file, k + 1) for k in range(frames)] if frames > 1 else [whole]
    return [_slice_header(parsed, name, own) for name, own in zip(names, groups, strict=True)]


def frame_count(data: pydicom.Dataset, name: ImageName) -> int:
    """NumberOfFrames as a positive whole number; 1 where there is none."""
    if text(data, "NumberOfFrames", name) == "":
        return 1
    count = float(numbers(data, "NumberOfFrames", name, 1)[0])
    if count < 1 or count != int(count):
        raise BadData(f"{name}: NumberOfFrames is {count:g} where a count is wanted. {AGAIN}", file=name.file)
    return int(count)


def frame_groups(data: pydicom.Dataset, name: ImageName) -> list[Groups]:
    """For each frame its own functional groups, then the shared ones; empty for a file without functional groups."""
    shared = items(data, SHARED, name)[:1]
    return [(own, *shared) for own in items(data, PER_FRAME, name)]


def described(
    data: pydicom.Dataset, groups: Groups | None, macro: str, keyword: str, name: ImageName
) -> pydicom.Dataset | None:
    """The data set that holds a field of a slice: a macro of its functional groups, or the header of its own file.

    None where no functional group holds it; `groups` is None for a file without them.
    """
    if groups is None:
        return data
    for group in groups:
        for item in items(group, macro, name)[:1]:
            if keyword in item:
                return item
    return None


def items(data: pydicom.Dataset, keyword: str, name: ImageName) -> list[pydicom.Dataset]:
    """The items of a sequence; none where it is absent. `BadData` where something else stands in its place."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = [] if keyword not in data else list(data[keyword].value or ())
    except Exception:  # pydicom converts on access and raises whatever it meets in damaged bytes
        found = [None]
    if not all(isinstance(item, pydicom.Dataset) for item in found):
        raise BadData(f"{name}: {keyword} cannot be read. {AGAIN}", file=name.file)
    return found


def dataset(file: Path, *, stop_before_pixels: bool, tags: list[str] | None = None) -> pydicom.Dataset:
    """A DICOM file, parsed (`tags` alone when given), or one line that says why it cannot be."""
    return _parsed(file, lambda: parse(file, stop_before_pixels=stop_before_pixels, tags=tags))


def with_pixels(file: Path, header: Header) -> pydicom.Dataset:
    """The whole of a file whose header was parsed, or one line that says why it cannot be."""
    return _parsed(file, lambda: parse_rest(file, header))


def _parsed(file: Path, parse_it: Callable[[], T]) -> T:
    try:
        return parse_it()
    except BadData:
        raise
    except InvalidDicomError:
        raise BadData(f"{file.name} is not a DICOM file. Remove it, or {AGAIN.lower()}", file=file) from None
    except OSError as error:
        raise BadData(f"{file.name} cannot be read ({error.strerror or 'input error'}). {AGAIN}", file=file) from None
    except Exception:  # the parser raises whatever it meets in damaged bytes
        raise BadData(f"{file.name} is truncated or damaged. {AGAIN}", file=file) from None


def numbers(data: pydicom.Dataset | None, keyword: str, name: ImageName, count: int) -> np.ndarray:
    """A header field as finite float64 numbers, or one line that says what stood there."""
    found = "" if data is None else text(data, keyword, name)
    if not found:
        raise BadData(f"{name} has no {keyword}. {AGAIN}", file=name.file)
    try:
        values = np.array([float(part) for part in found.split("\\")])
    except ValueError:
        values = np.array([])
    if len(values) != count or not np.isfinite(values).all():
        raise BadData(
            f"{name}: {keyword} is {found[:MANY_CHARACTERS]!r} where {count} numbers are wanted. {AGAIN}",
            file=name.file,
        )
    return values


def text(data: pydicom.Dataset | None, keyword: str, name: ImageName) -> str:
    """A header field as DICOM writes it, values joined by a backslash; empty when absent."""
    if data is None:
        return ""
    try:
        if (written := _written(data, keyword)) is not None:
            return written
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = _value(data, keyword)
            if value is None:
                return ""
            if isinstance(value, str | PersonName) or not isinstance(value, Iterable):
                return str(value).strip()
            return "\\".join(str(part) for part in value)
    except Exception:  # pydicom converts on access and raises whatever it meets in damaged bytes
        raise BadData(f"{name}: {keyword} cannot be read. {AGAIN}", file=name.file) from None


def _written(data: pydicom.Dataset, keyword: str) -> str | None:
    """What `text` gives, straight from the bytes of numbers and plain ASCII, which is faster; None for others."""
    tag = tag_for_keyword(keyword)
    if tag is None:
        return None
    element = data.get_item(tag)
    if element is None:
        return ""
    if not isinstance(element, RawDataElement) or not isinstance(element.value, bytes):
        return None
    if element.VR == "US" and len(element.value) == 2:
        return str(int.from_bytes(element.value, "little" if element.is_little_endian else "big"))
    if element.VR not in PLAIN or not element.value.isascii() or ESCAPE in element.value:
        return None
    return element.value.decode("ascii").rstrip(" \0").strip()


def directions(orientation: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors along a row, along a column and along the normal of a slice."""
    along = orientation.reshape(2, 3) / np.linalg.norm(orientation.reshape(2, 3), axis=1, keepdims=True)
    return along[0], along[1], np.cross(along[0], along[1])


def echo_groups(echo_times_ms: Sequence[float | None]) -> list[int]:
    """Which echo each slice belongs to: neighbours within `SAME_ECHO_MS` are one; slices without echo time are one."""
    known = sorted({echo for echo in echo_times_ms if echo is not None})
    starts = [k for k, echo in enumerate(known) if k == 0 or echo - known[k - 1] > SAME_ECHO_MS]
    group = {echo: int(np.searchsorted(starts, k, side="right")) for k, echo in enumerate(known)}
    return [0 if echo is None else group[echo] for echo in echo_times_ms]


def _check_scan(data: pydicom.Dataset, name: ImageName) -> None:
    modality = text(data, "Modality", name)
    if modality in NOT_SCANS:
        raise BadData(f"{name} is a {modality} object, not a scan. Choose the images.", file=name.file)
    samples = text(data, "SamplesPerPixel", name)
    if samples not in ("", "1"):
        raise BadData(
            f"{name} has {samples[:MANY_CHARACTERS]!r} colours per pixel, not 1. Choose the grey series.",
            file=name.file,
        )
    shown = text(data, "PhotometricInterpretation", name)
    if shown not in GREY:
        raise BadData(
            f"{name} holds {shown[:MANY_CHARACTERS]!r} pixels, not grey ones. Choose the grey series.", file=name.file
        )
    if shown == "MONOCHROME1" and modality != "CT":  # Hounsfield units stay what they are, however they are shown
        raise BadData(
            f"{name} stores what is bright as low values (MONOCHROME1). Export the series as MONOCHROME2.",
            file=name.file,
        )


def _slice_header(parsed: Header, name: ImageName, groups: Groups | None) -> SliceHeader:
    data = parsed.data
    return SliceHeader(
        name=name,
        size=image_size(data, name),
        orientation=_orientation(data, name, groups),
        position=numbers(
            described(data, groups, "PlanePositionSequence", "ImagePositionPatient", name),
            "ImagePositionPatient",
            name,
            3,
        ),
        pixel_spacing=_pixel_spacing(data, name, groups),
        echo_time_ms=echo_time_ms(data, name, groups),
        kinds=_kinds(data, name, groups),
        protocol=text(data, "ProtocolName", name),
        modality=text(data, "Modality", name),
        series=(text(data, "SeriesInstanceUID", name), text(data, "SeriesNumber", name)),
        patient=(text(data, "PatientID", name), text(data, "PatientName", name)),
        parsed=parsed,
    )


def image_size(data: pydicom.Dataset, name: ImageName) -> tuple[int, int]:
    """Rows and columns. `BadData` for a slice without pixels, or of more than `MOST_PIXELS`."""
    rows, columns = (int(numbers(data, keyword, name, 1)[0]) for keyword in ("Rows", "Columns"))
    if not 1 <= rows * columns <= MOST_PIXELS or rows < 0:
        raise BadData(
            f"{name} has {rows} × {columns} pixels where 1 to {MOST_PIXELS} are read. {AGAIN}", file=name.file
        )
    return rows, columns


def _orientation(data: pydicom.Dataset, name: ImageName, groups: Groups | None) -> np.ndarray:
    keyword = "ImageOrientationPatient"
    orientation = numbers(described(data, groups, "PlaneOrientationSequence", keyword, name), keyword, name, 6)
    products = orientation.reshape(2, 3) @ orientation.reshape(2, 3).T
    if np.abs(products - np.eye(2)).max() > 2 * ORIENTATION_TOLERANCE:
        raise BadData(f"{name}: {keyword} {orientation.tolist()} is no pair of directions. {AGAIN}", file=name.file)
    return orientation


def _pixel_spacing(data: pydicom.Dataset, name: ImageName, groups: Groups | None) -> np.ndarray:
    keyword = "PixelSpacing"
    spacing = numbers(described(data, groups, "PixelMeasuresSequence", keyword, name), keyword, name, 2)
    if spacing.min() <= 0:
        raise BadData(
            f"{name}: PixelSpacing is {shown_mm(spacing)} mm where positive values are wanted. {AGAIN}", file=name.file
        )
    return spacing


def echo_time_ms(data: pydicom.Dataset, name: ImageName, groups: Groups | None) -> float | None:
    """The echo time of a slice; converted files keep it among the unassigned attributes, or in the file's header."""
    places = [(described(data, groups, "MREchoSequence", "EffectiveEchoTime", name), "EffectiveEchoTime")]
    places += [(described(data, groups, macro, "EchoTime", name), "EchoTime") for macro in UNASSIGNED]
    places += [(data, "EchoTime")]
    for place, keyword in places:
        if text(place, keyword, name):
            return float(numbers(place, keyword, name, 1)[0])
    return None


def _kinds(data: pydicom.Dataset, name: ImageName, groups: Groups | None) -> tuple[tuple[str, str], ...]:
    if groups is None:
        return ()
    return tuple((kind, text(described(data, groups, macro, key, name), key, name)) for kind, macro, key in KINDS)


def shown_mm(values: np.ndarray) -> str:
    """`2 × 1`, as messages show lengths."""
    return " × ".join(f"{value:g}" for value in values)


def _value(data: pydicom.Dataset, keyword: str) -> Any:
    """The value as pydicom converts it, or else its bytes as text, so that a message can show them."""
    try:
        return data.get(keyword)
    except ValueError:
        raw = data.get_item(keyword).value
        return raw.decode("ascii", "replace") if isinstance(raw, bytes) else raw

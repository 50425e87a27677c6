"""One DICOM series as a volume: slices in the order of their positions in the patient, on a grid in millimetres.

Positions rule. File names, InstanceNumber, SliceThickness and SpacingBetweenSlices are not asked, because they often
disagree with where the slices lie. What cannot be one regular stack is refused in one line and never repaired silently.

Source: DICOM PS3.3, C.7.6.2 (Image Plane module) and C.11.1 (Modality LUT).
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.errors import InvalidDicomError

from steelyard.errors import BadData
from steelyard.volume import Geometry, Volume

SPACING_TOLERANCE = 1e-2  # relative: DICOM decimal strings are rounded
PIXEL_SPACING_TOLERANCE = 1e-3  # relative, between the slices of one series: they come from one protocol
ORIENTATION_TOLERANCE = 1e-3  # in direction cosines, 0.06°: writers round them to four or more decimals
SHEAR_TOLERANCE = 1e-2  # sideways step per step along the normal, 0.6°: below it distances change by less than 1e-4
SIDEWAYS_TOLERANCE_MM = 0.1  # a slice off the line through the stack: well under a pixel, well over rounding
SAME_PLACE_MM = 1e-2  # two slices closer than this are one position: no scanner images every 10 µm
SAME_ECHO_MS = 0.1  # headers round echo times to 1 µs; in-phase and out-of-phase differ by more than 1 ms, also at 3 T
NOT_IMAGES = frozenset({"thumbs.db", "desktop.ini", "dicomdir"})  # left by file managers and by CD writers
MANY_CHARACTERS = 40  # of a broken header value are enough to recognise it

AGAIN = "Extract or copy the series again."


@dataclass(frozen=True, eq=False)
class Series:
    """What the headers of a series say; pixels are not read yet. `files` are in slice order."""

    files: tuple[Path, ...]
    geometry: Geometry
    modality: str
    protocol: str
    echo_time_ms: float | None


def read_series(files_or_folder: Path | Sequence[Path]) -> Volume:
    """The volume of one single-frame series: intensities float32 (rescaled where the header says so), LPS grid.

    Raises `BadData` in one line for whatever is not one regular stack of slices of one acquisition.
    """
    return read_pixels(read_headers(files_or_folder))


def read_headers(files_or_folder: Path | Sequence[Path]) -> Series:
    """Order, grid and acquisition of a series, checked: size, orientation, spacing, step, echo, series, patient.

    The affine maps (slice, row, column) to LPS mm: a step in row goes along the second triple of
    ImageOrientationPatient by PixelSpacing[0], a step in column along the first by PixelSpacing[1], a step in slice is
    the step between positions. A stack whose positions leave the normal (gantry tilt) is refused, because distances
    computed from the spacing would be wrong in it.
    """
    if isinstance(files_or_folder, Path):
        try:
            return _headers(image_files(files_or_folder))
        except BadData as error:
            raise BadData(f"{files_or_folder}: {error}", file=error.file) from None
    return _headers(files_or_folder)


def read_pixels(series: Series) -> Volume:
    """The intensities of a series whose headers were read, float32, after RescaleSlope and RescaleIntercept."""
    return Volume(np.stack([_slice(file) for file in series.files]), series.geometry)


def image_files(folder: Path) -> tuple[Path, ...]:
    """What lies in a folder, sorted by name, without the litter of file managers. A missing folder is `BadData`."""
    try:
        found = sorted(file for file in folder.iterdir() if not is_litter(file))
    except OSError as error:
        raise BadData(f"the folder {folder} cannot be read ({error.strerror}). {AGAIN}", file=folder) from None
    if not found:
        raise BadData(f"the folder {folder} is empty. {AGAIN}", file=folder)
    return tuple(found)


def is_litter(file: Path) -> bool:
    """Whether a file was left by a file manager or CD writer: `.DS_Store`, `._name`, `Thumbs.db`, `DICOMDIR`."""
    return file.name.startswith(".") or file.name.lower() in NOT_IMAGES


@dataclass(frozen=True, eq=False)
class _Header:
    file: Path
    size: tuple[int, int]
    orientation: np.ndarray
    position: np.ndarray
    pixel_spacing: np.ndarray
    echo_time_ms: float | None
    protocol: str
    modality: str
    series: tuple[str, ...]
    patient: tuple[str, ...]


def _headers(files: Iterable[Path]) -> Series:
    headers = [_header(file) for file in files]
    if len(headers) < 2:
        raise BadData(f"a volume needs two slices or more; came {len(headers)}. {AGAIN}")
    _same_acquisition(headers)
    directions = headers[0].orientation.reshape(2, 3)
    directions = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    normal = np.cross(directions[0], directions[1])
    headers.sort(key=lambda header: float(header.position @ normal))
    step = _even_step(headers, normal)
    affine = np.eye(4)
    affine[:3, 0] = step
    affine[:3, 1] = directions[1] * headers[0].pixel_spacing[0]  # PixelSpacing[0] lies between rows
    affine[:3, 2] = directions[0] * headers[0].pixel_spacing[1]
    affine[:3, 3] = headers[0].position
    return Series(
        files=tuple(header.file for header in headers),
        geometry=Geometry((len(headers), *headers[0].size), affine),
        modality=headers[0].modality,
        protocol=headers[0].protocol,
        echo_time_ms=headers[0].echo_time_ms,
    )


def _same_acquisition(headers: Sequence[_Header]) -> None:
    """Every slice must agree with the most frequent value; the first that does not is named."""
    odd = _first_odd([header.patient for header in headers])
    if odd is not None:  # names of patients never enter messages
        raise BadData(
            f"{headers[odd].file.name} belongs to another patient than the other images. {AGAIN}",
            file=headers[odd].file,
        )
    odd = _first_odd([header.size for header in headers])
    if odd is not None:
        size, usual = headers[odd].size, Counter(header.size for header in headers).most_common(1)[0][0]
        raise BadData(
            f"{headers[odd].file.name} has {size[0]} × {size[1]} pixels where the others have "
            f"{usual[0]} × {usual[1]}. {AGAIN}",
            file=headers[odd].file,
        )
    # Medians, not means: one odd slice must not move what the others are held against.
    orientations = np.array([header.orientation for header in headers])
    far = np.abs(orientations - np.median(orientations, axis=0)).max(axis=1)
    if far.max() > ORIENTATION_TOLERANCE:
        raise BadData(
            f"{headers[int(far.argmax())].file.name} is oriented unlike the other images. {AGAIN}",
            file=headers[int(far.argmax())].file,
        )
    spacings = np.array([header.pixel_spacing for header in headers])
    usual_spacing = np.median(spacings, axis=0)
    far = np.abs(spacings / usual_spacing - 1).max(axis=1)
    if far.max() > PIXEL_SPACING_TOLERANCE:
        worst = int(far.argmax())
        raise BadData(
            f"{headers[worst].file.name} has pixel spacing {_mm(spacings[worst])} mm where the others have "
            f"{_mm(usual_spacing)} mm. {AGAIN}",
            file=headers[worst].file,
        )
    _same_echo(headers)
    odd = _first_odd([(header.modality, header.protocol, *header.series) for header in headers])
    if odd is not None:
        raise BadData(
            f"{headers[odd].file.name} belongs to another series than the other images (modality, protocol or series "
            f"number differ). Keep one series in a folder.",
            file=headers[odd].file,
        )


def _same_echo(headers: Sequence[_Header]) -> None:
    echoes = np.array([np.inf if header.echo_time_ms is None else header.echo_time_ms for header in headers])
    usual = float(np.sort(echoes)[(len(echoes) - 1) // 2])  # a value that is there, unlike the median of two
    for header, echo in zip(headers, echoes, strict=True):
        if echo != usual and not abs(echo - usual) <= SAME_ECHO_MS:
            shown = [f"{value:g} ms" if np.isfinite(value) else "none" for value in (echo, usual)]
            raise BadData(
                f"{header.file.name} has echo time {shown[0]} where the others have {shown[1]}: mixed echoes. "
                f"Keep one echo in a folder.",
                file=header.file,
            )


def _even_step(headers: Sequence[_Header], normal: np.ndarray) -> np.ndarray:
    """The vector from slice to slice, after checking that it is the same everywhere and along the normal."""
    positions = np.array([header.position for header in headers])
    gaps = np.diff(positions @ normal)
    names = [header.file.name for header in headers]
    for k in np.flatnonzero(gaps < SAME_PLACE_MM).tolist():
        raise BadData(
            f"{names[k]} and {names[k + 1]} lie at the same place. Remove the duplicate, or {AGAIN.lower()}",
            file=headers[k].file,
        )
    usual = float(np.sort(gaps)[(len(gaps) - 1) // 2])  # the lower median: missing slices only widen gaps
    for k in np.flatnonzero(np.abs(gaps / usual - 1) > SPACING_TOLERANCE).tolist():
        where = f"{gaps[k]:.4g} mm from {names[k]} to {names[k + 1]} where the step is {usual:.4g} mm"
        missing = round(gaps[k] / usual) - 1
        if missing > 0 and abs(gaps[k] / usual - missing - 1) <= SPACING_TOLERANCE * (missing + 1):
            slices = "1 slice is" if missing == 1 else f"{missing} slices are"
            raise BadData(f"{slices} missing: {where}. {AGAIN}", file=headers[k].file)
        raise BadData(
            f"slices are unevenly spaced: {where}. Resample the series to even steps, or {AGAIN.lower()}",
            file=headers[k].file,
        )
    step: np.ndarray = (positions[-1] - positions[0]) / (len(positions) - 1)
    off_line = positions - positions[0] - np.arange(len(positions))[:, None] * step
    sideways = np.linalg.norm(off_line - np.outer(off_line @ normal, normal), axis=1)
    if sideways.max() > SIDEWAYS_TOLERANCE_MM:
        worst = int(sideways.argmax())
        raise BadData(
            f"{names[worst]} lies {sideways[worst]:.2f} mm beside the line through the stack. {AGAIN}",
            file=headers[worst].file,
        )
    along = float(step @ normal)
    shear = float(np.linalg.norm(step - along * normal)) / along
    if shear > SHEAR_TOLERANCE:
        raise BadData(
            f"the stack is sheared by {np.degrees(np.arctan(shear)):.1f}° (gantry tilt): its positions leave the "
            f"normal of the slices. Resample it to a straight grid first."
        )
    return step


def _header(file: Path) -> _Header:
    header = _dataset(file, stop_before_pixels=True)
    frames = _text(header, file, "NumberOfFrames")
    if frames not in ("", "1"):
        raise BadData(
            f"{file.name} is multi-frame (NumberOfFrames is {frames[:MANY_CHARACTERS]!r}). Split it into slices first.",
            file=file,
        )
    samples = _text(header, file, "SamplesPerPixel")
    if samples not in ("", "1"):
        raise BadData(
            f"{file.name} has {samples[:MANY_CHARACTERS]!r} colours per pixel, not 1. Choose the grey series.",
            file=file,
        )
    rows, columns = (_numbers(header, file, name, 1)[0] for name in ("Rows", "Columns"))
    orientation = _numbers(header, file, "ImageOrientationPatient", 6)
    products = orientation.reshape(2, 3) @ orientation.reshape(2, 3).T
    if np.abs(products - np.eye(2)).max() > 2 * ORIENTATION_TOLERANCE:
        raise BadData(
            f"{file.name}: ImageOrientationPatient {orientation.tolist()} is no pair of directions. {AGAIN}", file=file
        )
    pixel_spacing = _numbers(header, file, "PixelSpacing", 2)
    if pixel_spacing.min() <= 0:
        raise BadData(
            f"{file.name}: PixelSpacing is {_mm(pixel_spacing)} mm where positive values are wanted. {AGAIN}", file=file
        )
    has_echo = _text(header, file, "EchoTime") != ""
    return _Header(
        file=file,
        size=(int(rows), int(columns)),
        orientation=orientation,
        position=_numbers(header, file, "ImagePositionPatient", 3),
        pixel_spacing=pixel_spacing,
        echo_time_ms=float(_numbers(header, file, "EchoTime", 1)[0]) if has_echo else None,
        protocol=_text(header, file, "ProtocolName"),
        modality=_text(header, file, "Modality"),
        series=(_text(header, file, "SeriesInstanceUID"), _text(header, file, "SeriesNumber")),
        patient=(_text(header, file, "PatientID"), _text(header, file, "PatientName")),
    )


def _slice(file: Path) -> np.ndarray:
    data = _dataset(file, stop_before_pixels=False)
    if "PixelData" not in data:
        raise BadData(f"{file.name} holds no pixels. {AGAIN}", file=file)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pixels = _decode(data, file)
    except BadData:
        raise
    except Exception as error:  # decoders raise whatever they meet in damaged bytes
        if "missing dependencies" in str(error):
            raise BadData(
                f"{file.name} is compressed as {data.file_meta.TransferSyntaxUID.name}, for which no decoder is "
                "installed. Install python-gdcm, or decompress the series.",
                file=file,
            ) from None
        raise BadData(f"{file.name}: the pixels cannot be decoded. {AGAIN}", file=file) from None
    slope = _numbers(data, file, "RescaleSlope", 1)[0] if _text(data, file, "RescaleSlope") else 1.0
    intercept = _numbers(data, file, "RescaleIntercept", 1)[0] if _text(data, file, "RescaleIntercept") else 0.0
    return (pixels * slope + intercept).astype(np.float32)


def _decode(data: pydicom.Dataset, file: Path) -> np.ndarray:
    syntax = data.file_meta.get("TransferSyntaxUID")
    if syntax is not None and syntax.is_transfer_syntax and not syntax.is_compressed:
        wanted = int(data.Rows) * int(data.Columns) * int(data.BitsAllocated) // 8
        if len(data.PixelData) not in (wanted, wanted + wanted % 2):  # an odd length is padded to an even one
            raise BadData(
                f"{file.name} is truncated or damaged: {len(data.PixelData)} of {wanted} bytes. {AGAIN}", file=file
            )
    pixels: np.ndarray = data.pixel_array
    return pixels


def _dataset(file: Path, *, stop_before_pixels: bool) -> pydicom.Dataset:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return pydicom.dcmread(file, stop_before_pixels=stop_before_pixels)
    except InvalidDicomError:
        raise BadData(f"{file.name} is not a DICOM file. Remove it, or {AGAIN.lower()}", file=file) from None
    except OSError as error:
        raise BadData(f"{file.name} cannot be read ({error.strerror or 'input error'}). {AGAIN}", file=file) from None
    except Exception:  # the parser raises whatever it meets in damaged bytes
        raise BadData(f"{file.name} is truncated or damaged. {AGAIN}", file=file) from None


def _numbers(header: pydicom.Dataset, file: Path, keyword: str, count: int) -> np.ndarray:
    """A header field as finite float64 numbers, or one line that says what stood there."""
    text = _text(header, file, keyword)
    if not text:
        raise BadData(f"{file.name} has no {keyword}. {AGAIN}", file=file)
    try:
        values = np.array([float(part) for part in text.split("\\")])
    except ValueError:
        values = np.array([])
    if len(values) != count or not np.isfinite(values).all():
        raise BadData(
            f"{file.name}: {keyword} is {text[:MANY_CHARACTERS]!r} where {count} numbers are wanted. {AGAIN}", file=file
        )
    return values


def _text(header: pydicom.Dataset, file: Path, keyword: str) -> str:
    """A header field as DICOM writes it, values joined by a backslash; empty when absent."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = _value(header, keyword)
            if value is None:
                return ""
            if isinstance(value, str) or not isinstance(value, Iterable):
                return str(value).strip()
            return "\\".join(str(part) for part in value)
    except Exception:  # pydicom converts on access and raises whatever it meets in damaged bytes
        raise BadData(f"{file.name}: {keyword} cannot be read. {AGAIN}", file=file) from None


def _value(header: pydicom.Dataset, keyword: str) -> Any:
    """The value as pydicom converts it, or else its bytes as text, so that a message can show them."""
    try:
        return header.get(keyword)
    except ValueError:
        raw = header.get_item(keyword).value
        return raw.decode("ascii", "replace") if isinstance(raw, bytes) else raw


def _first_odd(values: Sequence[Hashable]) -> int | None:
    """The index of the first value that differs from the most frequent one; None when all agree."""
    usual = Counter(values).most_common(1)[0][0]
    return next((index for index, value in enumerate(values) if value != usual), None)


def _mm(values: np.ndarray) -> str:
    return " × ".join(f"{value:g}" for value in values)

"""One DICOM series as a volume: slices in the order of their positions in the patient, on a grid in millimetres.

Positions rule. File names, InstanceNumber, stack positions of frames, SliceThickness and SpacingBetweenSlices are not
asked, because they often disagree with where the slices lie. What cannot be one regular stack is refused in one line
and never repaired silently.

Source: DICOM PS3.3, C.7.6.2 (Image Plane module).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from steelyard.errors import BadData
from steelyard.io.dicom_decode import intensities
from steelyard.io.dicom_file import Header
from steelyard.io.dicom_folder import find_series
from steelyard.io.dicom_header import (
    AGAIN,
    ORIENTATION_TOLERANCE,
    SAME_ECHO_MS,
    SliceHeader,
    directions,
    echo_groups,
    shown_mm,
    slice_headers,
)
from steelyard.volume import Geometry, Volume, check_voxel_count

SPACING_TOLERANCE = 1e-2  # relative: DICOM decimal strings are rounded
PIXEL_SPACING_TOLERANCE = 1e-3  # relative, between the slices of one series: they come from one protocol
SHEAR_TOLERANCE = 1e-2  # sideways step per step along the normal, 0.6°: below it distances change by less than 1e-4
SIDEWAYS_TOLERANCE_MM = 0.1  # a slice off the line through the stack: well under a pixel, well over rounding
SAME_PLACE_MM = 1e-2  # two slices closer than this are one position: no scanner images every 10 µm
FEW_VALUES, MANY_TITLES = 3, 12  # in an error line
NOT_IMAGES = frozenset({"thumbs.db", "desktop.ini", "dicomdir"})  # left by file managers and by CD writers


@dataclass(frozen=True, eq=False)
class Series:
    """What the headers of a series say; pixels are not read yet.

    `files` are in slice order. A multi-frame series has one file, and `frame_numbers` (from 1) are in slice order.
    `parsed` are the files' headers, so that pixels are read without parsing them again.
    """

    files: tuple[Path, ...]
    parsed: tuple[Header, ...]
    geometry: Geometry
    modality: str
    protocol: str
    echo_time_ms: float | None
    frame_numbers: tuple[int, ...] | None = None


def read_series(files_or_folder: Path | Sequence[Path]) -> Volume:
    """The volume of one series: intensities float32 (rescaled where the header says so), LPS grid.

    Raises `BadData` in one line for whatever is not one regular stack of slices of one acquisition.
    """
    return read_pixels(read_headers(files_or_folder))


def read_headers(files_or_folder: Path | Sequence[Path]) -> Series:
    """Order, grid and acquisition of a series, checked: size, orientation, spacing, step, echo, series, patient.

    Takes the files of a series, their folder, or the one multi-frame file that holds it. The affine maps (slice, row,
    column) to LPS mm: a step in row goes along the second triple of ImageOrientationPatient by PixelSpacing[0], a step
    in column along the first by PixelSpacing[1], a step in slice is the step between positions. A stack whose positions
    leave the normal (gantry tilt) is refused, because distances computed from the spacing would be wrong in it.
    """
    if not isinstance(files_or_folder, Path):
        return _headers(files_or_folder)
    try:
        return _headers([files_or_folder] if files_or_folder.is_file() else image_files(files_or_folder))
    except BadData as error:
        several = _several(files_or_folder) if files_or_folder.is_dir() else ""
        raise BadData(several or f"{files_or_folder}: {error}", file=error.file) from None


def read_pixels(series: Series) -> Volume:
    """The intensities of a series whose headers were read, float32, after RescaleSlope and RescaleIntercept."""
    if series.frame_numbers is not None:
        return Volume(intensities(series.files[0], series.parsed[0], series.frame_numbers), series.geometry)
    slices = np.empty(series.geometry.shape, np.float32)
    for place, file, header in zip(slices, series.files, series.parsed, strict=True):
        place[...] = intensities(file, header)[0]
    return Volume(slices, series.geometry)


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


def _several(folder: Path) -> str:
    """The line for a folder that holds several series: each by its title. Empty where it does not."""
    found = find_series(folder)
    if len(found) < 2:
        return ""
    titles = [f"({k + 1}) {series.title}" for k, series in enumerate(found[:MANY_TITLES])]
    titles += [f"and {len(found) - MANY_TITLES} more"] * (len(found) > MANY_TITLES)
    return (
        f"{folder} holds {len(found)} series where one is wanted: {'; '.join(titles)}. Choose one: give its files, or "
        "a folder that holds it alone."
    )


def _headers(files: Sequence[Path]) -> Series:
    headers = [header for file in files for header in slice_headers(file)]
    framed = [header.name.frame is not None for header in headers]
    if any(framed) and len(files) > 1:
        first = headers[framed.index(True)].name.file
        raise BadData(
            f"{first.name} is multi-frame and holds a volume of its own. Choose it, or the other images.", file=first
        )
    if len(headers) < 2:
        raise BadData(f"a volume needs two slices or more; came {len(headers)}. {AGAIN}")
    if all(framed):
        _one_volume(headers)
    _same_acquisition(headers)
    check_voxel_count((len(headers), *headers[0].size))
    along_row, along_column, normal = directions(headers[0].orientation)
    headers.sort(key=lambda header: float(header.position @ normal))
    affine = np.eye(4)
    affine[:3, 0] = _even_step(headers, normal)
    affine[:3, 1] = along_column * headers[0].pixel_spacing[0]  # PixelSpacing[0] lies between rows
    affine[:3, 2] = along_row * headers[0].pixel_spacing[1]
    affine[:3, 3] = headers[0].position
    frames = tuple(header.name.frame for header in headers if header.name.frame is not None)
    return Series(
        files=tuple(files) if frames else tuple(header.name.file for header in headers),
        parsed=(headers[0].parsed,) if frames else tuple(header.parsed for header in headers),
        geometry=Geometry((len(headers), *headers[0].size), affine),
        modality=headers[0].modality,
        protocol=headers[0].protocol,
        echo_time_ms=headers[0].echo_time_ms,
        frame_numbers=frames or None,
    )


def _one_volume(headers: Sequence[SliceHeader]) -> None:
    """The frames of one file must not be slices of several volumes; the line says by what these differ."""
    echoes = echo_groups([header.echo_time_ms for header in headers])
    first = {echo: header.echo_time_ms for echo, header in reversed(list(zip(echoes, headers, strict=True)))}
    shown = {echo: "none" if time is None else f"{time:g} ms" for echo, time in first.items()}
    aspects = [("echo times", [shown[echo] for echo in echoes])]
    for k, (kind, _) in enumerate(headers[0].kinds):
        aspects.append((kind, [header.kinds[k][1] or "none" for header in headers]))
    for kind, values in aspects:
        counts = Counter(values)
        if len(counts) > 1:
            shares = [f"{value} ({n} frame{'s' * (n > 1)})" for value, n in counts.most_common(FEW_VALUES)]
            told = ", ".join(shares)
            told += f" and {len(counts) - FEW_VALUES} more" * (len(counts) > FEW_VALUES)
            file = headers[0].name.file
            raise BadData(
                f"{file.name} holds several volumes, which differ in {kind}: {told}. Export each volume as a series of "
                "its own.",
                file=file,
            )


def _same_acquisition(headers: Sequence[SliceHeader]) -> None:
    """Every slice must agree with the most frequent value; the first that does not is named."""
    odd = _first_odd([header.patient for header in headers])
    if odd is not None:  # names of patients never enter messages
        raise BadData(
            f"{headers[odd].name} belongs to another patient than the other images. {AGAIN}",
            file=headers[odd].name.file,
        )
    odd = _first_odd([header.size for header in headers])
    if odd is not None:
        size, usual = headers[odd].size, Counter(header.size for header in headers).most_common(1)[0][0]
        raise BadData(
            f"{headers[odd].name} has {size[0]} × {size[1]} pixels where the others have "
            f"{usual[0]} × {usual[1]}. {AGAIN}",
            file=headers[odd].name.file,
        )
    # Medians, not means: one odd slice must not move what the others are held against.
    orientations = np.array([header.orientation for header in headers])
    far = np.abs(orientations - np.median(orientations, axis=0)).max(axis=1)
    if far.max() > ORIENTATION_TOLERANCE:
        raise BadData(
            f"{headers[int(far.argmax())].name} is oriented unlike the other images. {AGAIN}",
            file=headers[int(far.argmax())].name.file,
        )
    spacings = np.array([header.pixel_spacing for header in headers])
    usual_spacing = np.median(spacings, axis=0)
    far = np.abs(spacings / usual_spacing - 1).max(axis=1)
    if far.max() > PIXEL_SPACING_TOLERANCE:
        worst = int(far.argmax())
        raise BadData(
            f"{headers[worst].name} has pixel spacing {shown_mm(spacings[worst])} mm where the others have "
            f"{shown_mm(usual_spacing)} mm. {AGAIN}",
            file=headers[worst].name.file,
        )
    _same_echo(headers)
    odd = _first_odd([(header.modality, header.protocol, *header.series) for header in headers])
    if odd is not None:
        raise BadData(
            f"{headers[odd].name} belongs to another series than the other images (modality, protocol or series "
            f"number differ). Keep one series in a folder.",
            file=headers[odd].name.file,
        )


def _same_echo(headers: Sequence[SliceHeader]) -> None:
    echoes = np.array([np.inf if header.echo_time_ms is None else header.echo_time_ms for header in headers])
    usual = float(np.sort(echoes)[(len(echoes) - 1) // 2])  # a value that is there, unlike the median of two
    for header, echo in zip(headers, echoes, strict=True):
        if echo != usual and not abs(echo - usual) <= SAME_ECHO_MS:
            shown = [f"{value:g} ms" if np.isfinite(value) else "none" for value in (echo, usual)]
            raise BadData(
                f"{header.name} has echo time {shown[0]} where the others have {shown[1]}: mixed echoes. "
                f"Keep one echo in a folder.",
                file=header.name.file,
            )


def _even_step(headers: Sequence[SliceHeader], normal: np.ndarray) -> np.ndarray:
    """The vector from slice to slice, after checking that it is the same everywhere and along the normal."""
    positions = np.array([header.position for header in headers])
    gaps = np.diff(positions @ normal)
    names = [header.name for header in headers]
    for k in np.flatnonzero(gaps < SAME_PLACE_MM).tolist():
        raise BadData(
            f"{names[k]} and {names[k + 1]} lie at the same place. Remove the duplicate, or {AGAIN.lower()}",
            file=headers[k].name.file,
        )
    usual = float(np.sort(gaps)[(len(gaps) - 1) // 2])  # the lower median: missing slices only widen gaps
    for k in np.flatnonzero(np.abs(gaps / usual - 1) > SPACING_TOLERANCE).tolist():
        where = f"{gaps[k]:.4g} mm from {names[k]} to {names[k + 1]} where the step is {usual:.4g} mm"
        missing = round(gaps[k] / usual) - 1
        if missing > 0 and abs(gaps[k] / usual - missing - 1) <= SPACING_TOLERANCE * (missing + 1):
            slices = "1 slice is" if missing == 1 else f"{missing} slices are"
            raise BadData(f"{slices} missing: {where}. {AGAIN}", file=headers[k].name.file)
        raise BadData(
            f"slices are unevenly spaced: {where}. Resample the series to even steps, or {AGAIN.lower()}",
            file=headers[k].name.file,
        )
    step: np.ndarray = (positions[-1] - positions[0]) / (len(positions) - 1)
    off_line = positions - positions[0] - np.arange(len(positions))[:, None] * step
    sideways = np.linalg.norm(off_line - np.outer(off_line @ normal, normal), axis=1)
    if sideways.max() > SIDEWAYS_TOLERANCE_MM:
        worst = int(sideways.argmax())
        raise BadData(
            f"{names[worst]} lies {sideways[worst]:.2f} mm beside the line through the stack. {AGAIN}",
            file=headers[worst].name.file,
        )
    along = float(step @ normal)
    shear = float(np.linalg.norm(step - along * normal)) / along
    if shear > SHEAR_TOLERANCE:
        raise BadData(
            f"the stack is sheared by {np.degrees(np.arctan(shear)):.1f}° (gantry tilt): its positions leave the "
            f"normal of the slices. Resample it to a straight grid first."
        )
    return step


def _first_odd(values: Sequence[Hashable]) -> int | None:
    """The index of the first value that differs from the most frequent one; None when all agree."""
    usual = Counter(values).most_common(1)[0][0]
    return next((index for index, value in enumerate(values) if value != usual), None)

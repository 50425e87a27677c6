"""The headers of a scan as objects made from it need them: patient, study, and a reference to the image of every slice.

What a writer of DICOM objects would trip over in real headers is evened out in these copies: values that must be there
but may be empty are added empty, and position, orientation and spacing of every slice are those of the series' grid,
also where a multi-frame file keeps them in frames, or headers are rounded unlike each other. The images themselves are
never modified.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedMRImageStorage, MRImageStorage, generate_uid
from pydicom.valuerep import DA, TM, format_number_as_ds

from steelyard.errors import BadData
from steelyard.io.dicom_header import AGAIN, PER_FRAME, SHARED, dataset
from steelyard.io.dicom_series import Series
from steelyard.io.pseudonym import pseudonymised
from steelyard.volume import Geometry, LabelMap

NEEDED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
MAY_BE_EMPTY = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
)
READABLE: dict[
    str, Callable[[str], object]
] = {  # what must be well-formed, or it is left empty: a scan is not refused for the form of a date
    "PatientBirthDate": DA,
    "StudyDate": DA,
    "StudyTime": TM,
    "PatientSex": lambda sex: {"M": sex, "F": sex, "O": sex}[sex],
}
UTF_8 = "ISO_IR 192"


@dataclass(frozen=True, eq=False)
class SliceReference:
    """The image of one slice: an instance, and the number of its frame where it is multi-frame."""

    class_uid: str
    instance_uid: str
    frame_number: int | None


@dataclass(frozen=True, eq=False)
class SourceHeaders:
    """`images`: one per slice, or one multi-frame header with its frames in slice order. `slices`: in slice order.

    The headers are of class MR or enhanced MR whatever the images are, because libraries decide by the class what else
    they look for; the class of the images stands in `slices`.
    """

    images: tuple[Dataset, ...]
    slices: tuple[SliceReference, ...]


def source_headers(series: Series, *, pseudonym: str | None) -> SourceHeaders:
    """Headers without pixels and private fields; with a pseudonym they hold no other identity.

    A series without a frame of reference gets one that follows from its SeriesInstanceUID, so that all objects made
    from it share it. `BadData` in one line when a UID is missing that references need.
    """
    headers = [_header(file) for file in series.files]
    if pseudonym is not None:
        headers = [pseudonymised(header, pseudonym) for header in headers]
    for header in headers:
        header.SpecificCharacterSet = UTF_8
        for keyword in MAY_BE_EMPTY:
            if keyword not in header or not _is_readable(header[keyword].value, keyword):
                header.pop(keyword, None)
                setattr(header, keyword, "")
        if not header.get("FrameOfReferenceUID"):
            header.FrameOfReferenceUID = generate_uid(entropy_srcs=["frame of reference", header.SeriesInstanceUID])
    if series.frame_numbers is None:
        for k, header in enumerate(headers):
            _place(header, series.geometry, k)
        slices = [SliceReference(header.SOPClassUID, header.SOPInstanceUID, None) for header in headers]
        headers_class = MRImageStorage
    else:
        _place_frames(headers[0], series.geometry)
        slices = [SliceReference(headers[0].SOPClassUID, headers[0].SOPInstanceUID, n) for n in series.frame_numbers]
        headers_class = EnhancedMRImageStorage
    for header in headers:
        header.SOPClassUID = headers_class
    return SourceHeaders(tuple(headers), tuple(slices))


def check_same_grid(label_map: LabelMap, series: Series) -> None:
    """`BadData` unless every voxel of the label map lies where the series has one."""
    if not label_map.geometry.same_grid(series.geometry):
        shapes = f"{_size(series.geometry.shape)} voxels; came {_size(label_map.geometry.shape)}"
        if label_map.geometry.shape == series.geometry.shape:
            shapes = f"{_size(series.geometry.shape)} voxels; came as many, at other places"
        raise BadData(f"labels on the scan's own grid were wanted, {shapes}. Map them back to the scan first.")


def image_orientation(geometry: Geometry) -> list[str]:
    """ImageOrientationPatient: the direction of growing column numbers, then that of growing row numbers."""
    columns, rows = geometry.affine[:3, 2], geometry.affine[:3, 1]
    return _decimals([*(columns / np.linalg.norm(columns)), *(rows / np.linalg.norm(rows))])


def _header(file: Path) -> Dataset:
    header = dataset(file, stop_before_pixels=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header.decode()  # texts of any character set; they are written in one that holds them all
            header.remove_private_tags()
            plain = Dataset({element.tag: element for element in header})  # without the encodings that the file had
            for keyword in ("PatientName", "ReferringPhysicianName"):
                if keyword in plain:
                    setattr(plain, keyword, str(header[keyword].value or ""))
            missing = [keyword for keyword in NEEDED if not plain.get(keyword)]
    except Exception:  # pydicom converts on access and raises whatever it meets in damaged bytes
        raise BadData(f"{file.name} is truncated or damaged. {AGAIN}", file=file) from None
    if missing:
        raise BadData(
            f"{file.name} has no {', '.join(missing)}: an object made from it could not refer to it. Write NIfTI "
            "instead, or use the scanner's own files.",
            file=file,
        )
    return plain


def _is_readable(value: object, keyword: str) -> bool:
    try:
        return value is None or str(value) == "" or READABLE.get(keyword, str)(str(value)) is not None
    except (ValueError, KeyError):
        return False


def _place(header: Dataset, geometry: Geometry, k: int) -> None:
    for keyword in ("NumberOfFrames", SHARED, PER_FRAME):  # of files with a single frame
        header.pop(keyword, None)
    header.ImagePositionPatient = _position(geometry, k)
    header.ImageOrientationPatient = image_orientation(geometry)
    header.PixelSpacing = _decimals(geometry.spacing_mm[1:])
    header.SpacingBetweenSlices = _decimals(geometry.spacing_mm[:1])[0]
    header.SliceThickness = _thickness(header.get("SliceThickness"), geometry)


def _place_frames(header: Dataset, geometry: Geometry) -> None:
    """Functional groups with nothing but the grid."""
    measures = Dataset()
    measures.PixelSpacing = _decimals(geometry.spacing_mm[1:])
    measures.SpacingBetweenSlices = _decimals(geometry.spacing_mm[:1])[0]
    measures.SliceThickness = _thickness(None, geometry)
    orientation = Dataset()
    orientation.ImageOrientationPatient = image_orientation(geometry)
    shared = Dataset()
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    frames = []
    for k in range(geometry.shape[0]):
        place, frame = Dataset(), Dataset()
        place.ImagePositionPatient = _position(geometry, k)
        frame.PlanePositionSequence = [place]
        frames.append(frame)
    header.SharedFunctionalGroupsSequence, header.PerFrameFunctionalGroupsSequence = [shared], frames
    header.NumberOfFrames = len(frames)


def _position(geometry: Geometry, k: int) -> list[str]:
    return _decimals((geometry.affine @ [k, 0, 0, 1])[:3])


def _thickness(stated: object, geometry: Geometry) -> str:
    try:
        if stated is not None and float(str(stated)) > 0:
            return str(stated)
    except ValueError:
        pass
    return _decimals(geometry.spacing_mm[:1])[0]


def _decimals(values: object) -> list[str]:
    """DICOM's decimal strings: at most 16 characters."""
    return [format_number_as_ds(float(value)) for value in np.asarray(values, float)]


def _size(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))

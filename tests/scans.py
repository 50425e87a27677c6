"""Scans as DICOM files with the identity that those of hospitals have, on straight, oblique and flipped grids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedMRImageStorage

from phantoms import FIRST_POSITION, write_series
from steelyard.io.dicom_series import Series, read_headers

UIDS = {"StudyInstanceUID": "1.2.826.77.1", "SeriesInstanceUID": "1.2.826.77.2", "FrameOfReferenceUID": "1.2.826.77.3"}
IDENTITY = {  # every text that must not be found in a pseudonymised file
    "PatientName": "Ödegård^Åse",
    "PatientID": "4711-secret",
    "PatientBirthDate": "19480229",
    "PatientAddress": "Hidden Street 5",
    "PatientAge": "077Y",
    "OtherPatientIDs": "other-secret",
    "PatientComments": "comment-secret",
    "Occupation": "keeper-secret",
    "AccessionNumber": "accsecret",
    "StudyID": "studysecret",
    "StudyDate": "20260102",
    "StudyTime": "030405.678912",
    "StudyDescription": "study-secret",
    "InstitutionName": "Hospital-secret",
    "InstitutionAddress": "Address-secret",
    "ReferringPhysicianName": "Referrer^Secret",
    "OperatorsName": "Operator^Secret",
    "StationName": "stationsecret",
    "DeviceSerialNumber": "serial-secret",
}


@dataclass(frozen=True)
class Layout:
    """How the slices of a scan lie: rows × columns, direction cosines, spacing between rows and between columns."""

    shape: tuple[int, int, int]
    orientation: tuple[float, ...]
    pixel_spacing: tuple[float, float]
    step_mm: float

    def places_mm(self, indices: np.ndarray) -> np.ndarray:
        """LPS mm of voxels (voxel, [slice, row, column]), as DICOM PS3.3 C.7.6.2.1.1 has it."""
        along_row, along_column = np.array(self.orientation).reshape(2, 3)
        normal = np.cross(along_row, along_column)
        k, row, column = np.asarray(indices, float).T[:, :, None]
        return (
            np.array(FIRST_POSITION)
            + k * self.step_mm * normal
            + row * self.pixel_spacing[0] * along_column
            + column * self.pixel_spacing[1] * along_row
        )


THIRDS = tuple(round(value / 3, 12) for value in (2, 2, 1, -2, 1, 2))  # no axis of the patient in sight
LAYOUTS = {
    "axial": Layout((6, 24, 20), (1, 0, 0, 0, 1, 0), (2.0, 1.25), 3.0),
    "oblique": Layout((6, 24, 20), THIRDS, (0.75, 1.1), 4.5),
    "flipped": Layout((6, 24, 20), (-1, 0, 0, 0, 1, 0), (1.5, 0.7), 2.5),  # columns to the right, slices to the feet
    "upside down": Layout((6, 24, 20), (1, 0, 0, 0, -0.8, -0.6), (1.3, 0.9), 3.5),
    "square": Layout((5, 22, 22), THIRDS, (1.7, 1.7), 2.2),
}


def write_scan(folder: Path, layout: Layout = LAYOUTS["axial"], **tags: Any) -> Series:
    """Single-frame files, in an order of names that is not the order of slices, and what their headers say."""
    count, (rows, columns) = layout.shape[0], layout.shape[1:]
    pixels = np.arange(count * rows * columns, dtype=np.uint16).reshape(layout.shape)
    names = [f"{(5 * k) % 7}.dcm" for k in range(count)]
    write_series(
        folder,
        pixels,
        names=names,
        orientation=layout.orientation,
        pixel_spacing=layout.pixel_spacing,
        step_mm=layout.step_mm,
        **{**UIDS, **IDENTITY, "PatientSex": "F", "SpecificCharacterSet": "ISO_IR 100", **tags},
    )
    return read_headers(folder)


def write_multi_frame_scan(file: Path, frames: Sequence[int], layout: Layout = LAYOUTS["oblique"]) -> Series:
    """One enhanced file; its frame n (from 1) is the slice `frames[n - 1]` of the layout."""
    folder = file.parent / "frames apart"
    write_scan(folder, layout)
    content = pydicom.dcmread(folder / "0.dcm")
    content.file_meta.MediaStorageSOPClassUID = content.SOPClassUID = EnhancedMRImageStorage
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"):
        del content[keyword]
    groups = []
    for k in frames:
        place, orientation, measures, group = Dataset(), Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = [f"{value:.10g}" for value in layout.places_mm(np.array([[k, 0, 0]]))[0]]
        orientation.ImageOrientationPatient = list(layout.orientation)
        measures.PixelSpacing, measures.SliceThickness = list(layout.pixel_spacing), "2.5"
        group.PlanePositionSequence, group.PlaneOrientationSequence = [place], [orientation]
        group.PixelMeasuresSequence = [measures]
        groups.append(group)
    content.PerFrameFunctionalGroupsSequence = groups
    content.NumberOfFrames = len(frames)
    content.PixelData = b"".join(np.full(layout.shape[1:], k, "<u2").tobytes() for k in frames)
    content.save_as(file, enforce_file_format=True)
    return read_headers(file)


def knotty_labels(shape: tuple[int, int, int]) -> np.ndarray:
    """Four organs (class indices) with all that outlines can stumble over; no slice is like another, nor like itself
    turned or mirrored. Class 4 is empty.
    """
    labels = np.zeros(shape, np.uint8)
    labels[1, 2:13, 3:15] = 1
    labels[1, 4:11, 5:13] = 0  # a hole,
    labels[1, 6:9, 7:11] = 1  # an island in it,
    labels[1, 7, 8:10] = 0  # and a hole in the island
    labels[1, 5, 6] = 2  # another organ in the hole
    labels[2, 0:5, 0:4] = 1  # in the corner of the image
    labels[2, 5:8, 4:9] = 1  # touching at a corner
    labels[2, 2, 2] = 0  # a hole of one voxel
    labels[2, 15:, 10:] = 2  # to the far edges
    labels[2, 17:20, 12:15] = labels[2, 17:20, 16:18] = 0  # two holes side by side
    labels[3, 9, 9] = 3  # one voxel
    labels[3, 11, 2:17] = 3  # one row
    labels[3, 12:20, 4] = 3
    noise = np.random.default_rng(5).random(shape[1:]) < 0.5
    labels[4][noise] = 1  # a hundred islands, holes and corners
    labels[4][~noise & (np.arange(shape[2]) > 12)] = 2
    return labels

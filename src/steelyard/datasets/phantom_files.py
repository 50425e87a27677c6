"""Phantom scans as files: DICOM slices and PNG masks, laid out and named as in the CHAOS archive."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid
from pydicom.valuerep import format_number_as_ds

from steelyard.labels import CHAOS_MR


@dataclass(frozen=True)
class Sequence:
    """What tells one sequence from another in CHAOS: folder, protocol, times in ms and the numbers of its files."""

    folder: str
    protocol: str
    echo_time_ms: str
    echo_number: int
    repetition_time_ms: str
    flip_angle: int
    series: int
    file_series: int
    first: int
    step: int


IN_PHASE = Sequence("T1DUAL/DICOM_anon/InPhase", "T1DUAL_InPhase", "4.604", 2, "120", 80, 801, 4, 2, 2)
OUT_PHASE = Sequence("T1DUAL/DICOM_anon/OutPhase", "T1DUAL_OutPhase", "2.302", 1, "120", 80, 801, 4, 1, 2)
T2_SPIR = Sequence("T2SPIR/DICOM_anon", "T2SPIR", "70", 1, "1900", 90, 501, 2, 1, 1)


@dataclass(frozen=True, eq=False)
class Placement:
    """Where a stack lies: LPS position of its first pixel, unit vectors along a row, a column and the stack, steps."""

    origin_mm: np.ndarray
    along_row: np.ndarray
    along_column: np.ndarray
    pixel_mm: float
    step_mm: float
    thickness_mm: float

    def position_mm(self, index: int) -> np.ndarray:
        """ImagePositionPatient of a slice: the stack grows along the normal, row × column, towards the head."""
        return self.origin_mm + index * self.step_mm * np.cross(self.along_row, self.along_column)


def write_images(
    folder: Path, number: int, sequence: Sequence, images: np.ndarray, placement: Placement, *, identity: list[str]
) -> None:
    """A series (slice, row, column), uint16, as DICOM files; `identity` is what its UIDs are derived from."""
    target = folder / sequence.folder
    target.mkdir(parents=True)
    for index, image in enumerate(images):
        instance = sequence.first + index * sequence.step
        data = _header(number, sequence, placement, instance, index, identity)
        data.Rows, data.Columns = image.shape
        data.SmallestImagePixelValue, data.LargestImagePixelValue = int(image.min()), int(image.max())
        data.PixelData = np.ascontiguousarray(image, "<u2").tobytes()
        data.save_as(target / f"{_stem(sequence, instance)}.dcm", enforce_file_format=True)


def write_masks(folder: Path, sequence: Sequence, labels: np.ndarray) -> None:
    """Class indices (slice, row, column) as grey PNG masks, named as the images of `sequence`."""
    target = folder / sequence.folder.split("/")[0] / "Ground"
    target.mkdir(parents=True)
    for index, mask in enumerate(CHAOS_MR.source_from_classes(labels)):
        Image.fromarray(mask).save(target / f"{_stem(sequence, sequence.first + index * sequence.step)}.png")


def _stem(sequence: Sequence, instance: int) -> str:
    return f"IMG-{sequence.file_series:04d}-{instance:05d}"


def _header(
    number: int, sequence: Sequence, placement: Placement, instance: int, index: int, identity: list[str]
) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.MediaStorageSOPInstanceUID = _uid(identity, sequence.series, instance)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset("", Dataset(), file_meta=meta, preamble=bytes(128))
    data.SpecificCharacterSet = "ISO_IR 100"
    data.ImageType = ["DERIVED", "PRIMARY"]
    data.SOPClassUID, data.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
    data.StudyDate = data.StudyTime = data.AccessionNumber = data.ReferringPhysicianName = ""
    data.Modality = "MR"
    data.Manufacturer = "Steelyard phantom"
    data.PatientName = f"PHANTOM^{number}"
    data.PatientID = data.PatientBirthDate = data.PatientSex = ""
    data.ScanningSequence = "SE" if sequence is T2_SPIR else "GR"
    data.SequenceVariant = "OSP" if sequence is T2_SPIR else "SS"
    data.ScanOptions = "FS" if sequence is T2_SPIR else "SP"
    data.MRAcquisitionType = "2D"
    data.SliceThickness = _decimal(placement.thickness_mm)
    data.RepetitionTime, data.EchoTime = sequence.repetition_time_ms, sequence.echo_time_ms
    data.EchoNumbers = sequence.echo_number
    data.EchoTrainLength = 2 if sequence.series == IN_PHASE.series else 24
    data.MagneticFieldStrength = "1.5"
    data.SpacingBetweenSlices = _decimal(placement.step_mm)
    data.ProtocolName = sequence.protocol
    data.FlipAngle = sequence.flip_angle
    data.PatientPosition = "HFS"
    data.StudyInstanceUID, data.SeriesInstanceUID = _uid(identity), _uid(identity, sequence.series)
    data.FrameOfReferenceUID = _uid(identity, "frame")
    data.StudyID, data.SeriesNumber = "1", sequence.series
    data.AcquisitionNumber, data.InstanceNumber = sequence.series // 100, instance
    data.ImagePositionPatient = [_decimal(value) for value in placement.position_mm(index)]
    data.ImageOrientationPatient = [_decimal(value) for value in (*placement.along_row, *placement.along_column)]
    data.PositionReferenceIndicator = ""
    data.SliceLocation = _decimal(index * placement.step_mm)
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.PixelSpacing = [_decimal(placement.pixel_mm)] * 2
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
    return data


def _uid(identity: list[str], *parts: object) -> str:
    return generate_uid(entropy_srcs=[*identity, *map(str, parts)])


def _decimal(value: float) -> str:
    """A DICOM decimal string: at most 16 characters."""
    return format_number_as_ds(float(value))

"""Multi-frame DICOM files, written by hand with pydicom: one file holds the volume, each frame says where it lies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, generate_uid

from phantoms import AXIAL, FIRST_POSITION


def write_multiframe(
    file: Path,
    pixels: np.ndarray,
    *,
    positions: Sequence[Sequence[float]] | None = None,
    orientation: Sequence[float] = AXIAL,
    step_mm: float = 3.0,
    pixel_spacing: Sequence[float] = (2.0, 1.0),
    frames: Sequence[dict[str, dict[str, Any]]] | None = None,
    shared: dict[str, dict[str, Any]] | None = None,
    **tags: Any,
) -> Path:
    """Frames of uint16 `pixels` along the normal, in order, or at `positions`.

    `frames` and `shared` add functional groups, {macro: {keyword: value}}; `tags` are fields of the file itself.
    """
    normal = np.cross(orientation[:3], orientation[3:])
    if positions is None:
        positions = [np.add(FIRST_POSITION, k * step_mm * normal).tolist() for k in range(len(pixels))]
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(file)])
    data = FileDataset(str(file), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = EnhancedMRImageStorage, meta.MediaStorageSOPInstanceUID
    data.Modality, data.PatientName, data.PatientID, data.SeriesInstanceUID = "MR", "CHAOS^MR_SET_1", "", "1.2.3"
    data.Rows, data.Columns = pixels.shape[1:]
    data.NumberOfFrames = len(pixels)
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation = 15, 0
    data.PixelData = pixels.astype("<u2").tobytes()
    data.SharedFunctionalGroupsSequence = [
        _groups(
            {
                "PlaneOrientationSequence": {"ImageOrientationPatient": list(orientation)},
                "PixelMeasuresSequence": {"PixelSpacing": list(pixel_spacing), "SliceThickness": 2.5},
                **(shared or {}),
            }
        )
    ]
    own = frames if frames is not None else [{}] * len(positions)
    data.PerFrameFunctionalGroupsSequence = [
        _groups({"PlanePositionSequence": {"ImagePositionPatient": list(position)}, **more})
        for position, more in zip(positions, own, strict=True)
    ]
    for keyword, value in tags.items():
        setattr(data, keyword, value)
    file.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(file, enforce_file_format=True)
    return file


def _groups(macros: dict[str, dict[str, Any]]) -> Dataset:
    group = Dataset()
    for macro, fields in macros.items():
        item = Dataset()
        for keyword, value in fields.items():
            setattr(item, keyword, value)
        setattr(group, macro, [item])
    return group

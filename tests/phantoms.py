"""Small patients in the CHAOS layout, as DICOM and PNG files: boxes for organs, every number unlike the others.

T1: 6 slices of 24 × 20 pixels, 3 mm between slices, 2 mm between rows, 1 mm between columns; T2: 5 slices and
4 × 1.5 × 1.25 mm. SliceThickness (2.5 mm) never equals the step. Columns grow to the patient's left, so the liver lies
at small columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from steelyard.labels import CHAOS_MR

SHAPE = (6, 24, 20)
T2_SHAPE = (5, 24, 20)
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
FIRST_POSITION = (-10.0, -20.0, -30.0)

# (slices, rows, columns) of each organ, and by hand the voxels that they hold in T1
ORGAN_BOXES = {
    "liver": (slice(1, 5), slice(4, 12), slice(2, 8)),  # 4 × 8 × 6 = 192
    "right_kidney": (slice(1, 4), slice(14, 18), slice(3, 6)),  # 3 × 4 × 3 = 36
    "left_kidney": (slice(2, 5), slice(14, 19), slice(13, 16)),  # 3 × 5 × 3 = 45
    "spleen": (slice(2, 4), slice(5, 11), slice(14, 18)),  # 2 × 6 × 4 = 48
}
ORGAN_VOXELS = {"liver": 192, "right_kidney": 36, "left_kidney": 45, "spleen": 48}

IN_PHASE = {"ProtocolName": "T1DUAL_InPhase", "EchoTime": "4.604", "SeriesNumber": "801"}
OUT_PHASE = {"ProtocolName": "T1DUAL_OutPhase", "EchoTime": "2.302", "SeriesNumber": "801"}
T2_SPIR = {"ProtocolName": "T2SPIR", "EchoTime": "70", "SeriesNumber": "501"}


def organ_labels(shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """Class indices of the boxes."""
    labels = np.zeros(shape, np.uint8)
    for name, box in ORGAN_BOXES.items():
        labels[box] = CHAOS_MR.organ(name).index
    return labels


def ct_liver() -> np.ndarray:
    """True in a liver that is lower on one side, so that no flip of the slices leaves it as it is: 192 + 36 voxels."""
    return np.isin(organ_labels(), (1, 2))


def pixels_like(labels: np.ndarray, *, seed: int) -> np.ndarray:
    """Noise on top of one grey value per class, uint16."""
    noise = np.random.default_rng(seed).integers(0, 20, labels.shape)
    return (100 + 50 * labels.astype(int) + noise).astype(np.uint16)


def write_series(
    folder: Path,
    pixels: np.ndarray,
    *,
    names: Sequence[str],
    orientation: Sequence[float] = AXIAL,
    positions: Sequence[Sequence[float]] | None = None,
    step_mm: float = 3.0,
    pixel_spacing: Sequence[float] = (2.0, 1.0),
    **tags: Any,
) -> list[Path]:
    """One DICOM file per slice of uint16 `pixels`; positions follow the normal unless they are given."""
    folder.mkdir(parents=True, exist_ok=True)
    normal = np.cross(orientation[:3], orientation[3:])
    if positions is None:
        positions = [np.add(FIRST_POSITION, k * step_mm * normal).tolist() for k in range(len(pixels))]
    files = []
    for k, (name, image, position) in enumerate(zip(names, pixels, positions, strict=True)):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = MRImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(folder), name])
        header = FileDataset(str(folder / name), {}, file_meta=meta, preamble=b"\0" * 128)
        header.SOPClassUID, header.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
        header.Modality, header.SliceThickness, header.InstanceNumber = "MR", "2.5", k + 1
        header.SeriesInstanceUID, header.PatientID, header.PatientName = "", "", "CHAOS^MR_SET_1"
        header.ImagePositionPatient, header.ImageOrientationPatient = list(position), list(orientation)
        header.PixelSpacing = list(pixel_spacing)
        header.Rows, header.Columns = image.shape
        header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
        header.BitsAllocated = header.BitsStored = 16
        header.HighBit, header.PixelRepresentation = 15, 0
        header.PixelData = image.astype("<u2").tobytes()
        for keyword, value in tags.items():
            setattr(header, keyword, value)
        header.save_as(folder / name, enforce_file_format=True)
        files.append(folder / name)
    return files


def write_chaos_patient(mr_folder: Path, number: int, *, ground: bool = True) -> Path:
    """One MR patient with T1DUAL (both phases) and T2SPIR under `mr_folder`/`number`; pixels differ by number."""
    patient = mr_folder / str(number)
    who = {"PatientName": f"CHAOS^MR_SET_{number}"}
    t1, t2 = organ_labels(SHAPE), organ_labels(T2_SHAPE)
    in_names = [f"IMG-0004-{2 * k + 2:05d}" for k in range(SHAPE[0])]
    out_names = [f"IMG-0004-{2 * k + 1:05d}" for k in range(SHAPE[0])]
    t2_names = [f"IMG-0002-{k + 1:05d}" for k in range(T2_SHAPE[0])]
    phases = patient / "T1DUAL" / "DICOM_anon"
    for folder, labels, names, seed, tags in (
        (phases / "InPhase", t1, in_names, 1, IN_PHASE),
        (phases / "OutPhase", t1, out_names, 2, OUT_PHASE),
    ):
        write_series(folder, pixels_like(labels, seed=10 * number + seed), names=_dcm(names), **tags, **who)
    write_series(
        patient / "T2SPIR" / "DICOM_anon",
        pixels_like(t2, seed=10 * number + 3),
        names=_dcm(t2_names),
        step_mm=4.0,
        pixel_spacing=(1.5, 1.25),
        **T2_SPIR,
        **who,
    )
    if ground:
        write_masks_by_hand(patient / "T1DUAL" / "Ground", in_names, CHAOS_MR.source_from_classes(t1))
        write_masks_by_hand(patient / "T2SPIR" / "Ground", t2_names, CHAOS_MR.source_from_classes(t2))
    return patient


def write_chaos_ct_patient(ct_folder: Path, number: int, *, against_z: bool, mask_value: int = 255) -> Path:
    """One CT patient: `i0000,0000b.dcm` …, liver_GT_000.png …; `against_z` names the slices from the head down."""
    patient = ct_folder / str(number)
    liver = ct_liver()
    pixels = pixels_like(liver, seed=number)
    normal = np.array([0.0, 0.0, 3.0])
    positions = [(np.array(FIRST_POSITION) + k * normal).tolist() for k in range(len(pixels))]
    order = slice(None, None, -1) if against_z else slice(None)
    names = [f"i{k:04d},0000b.dcm" for k in range(len(pixels))]
    rescale = {"RescaleSlope": "2", "RescaleIntercept": "-1000"}
    write_series(
        patient / "DICOM_anon", pixels[order], names=names, positions=positions[order], Modality="CT", **rescale
    )
    masks = (liver * mask_value).astype(np.uint8)[order]
    write_masks_by_hand(patient / "Ground", [f"liver_GT_{k:03d}" for k in range(len(masks))], masks)
    return patient


def write_masks_by_hand(folder: Path, names: Sequence[str], source: np.ndarray) -> None:
    """Grey-scale PNGs, written without the package's own writer."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, mask in zip(names, source, strict=True):
        Image.fromarray(mask.astype(np.uint8)).save(folder / f"{name}.png")


def _dcm(names: Sequence[str]) -> list[str]:
    return [f"{name}.dcm" for name in names]

"""Label maps as DICOM structure sets (RTSTRUCT): the outlines of organs, which radiotherapy planning reads.

One ROI per organ, its contours CLOSED_PLANAR in patient coordinates, each in the plane of its slice and with a
reference to the slice's image. `contours.py` says where a contour runs, and that holes are joined to it by keyholes. An
empty organ is there as an ROI whose contour sequence is empty.

Source: DICOM PS3.3, A.19 (RT structure set), C.8.8.5 (structure set), C.8.8.6 (ROI contour), C.8.8.8 (observations).
"""

from __future__ import annotations

import datetime
import warnings
from pathlib import Path

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian, RTStructureSetStorage

from steelyard.errors import BadData
from steelyard.io.contours import outlines
from steelyard.io.dicom_seg import DESCRIPTION, MANUFACTURER, SERIES_NUMBER, VERSION, algorithm, organ_code
from steelyard.io.dicom_series import Series
from steelyard.io.source_headers import UTF_8, SliceReference, SourceHeaders, check_same_grid, source_headers
from steelyard.labels import Organ
from steelyard.runstore import write_atomically, writing_to
from steelyard.volume import LabelMap

STUDY_MANAGEMENT = "1.2.840.10008.3.1.2.3.1"  # what RTReferencedStudySequence calls a study; retired, and still used
LONGEST_LABEL = 16  # characters of a SH
DECIMALS = 6  # of mm: 1 nm, and with six digits before the point within the 16 characters of a decimal string
FARTHEST_MM = 999_999


def write_rtstruct(path: Path, label_map: LabelMap, source: Series, *, pseudonym: str | None = None) -> None:
    """Writes the organs' outlines as one structure set that refers to the source's images, whole or not at all.

    Args:
        path: the file to write; missing folders are made.
        label_map: on the source's own grid; an organ, or all of them, may be empty.
        source: the series that the labels belong to, single-frame files or one multi-frame file.
        pseudonym: stands for the patient's name and number, and all else that might identify the patient is left out;
            without it patient and study are the source's. UIDs of the source stay in either case.

    `BadData` in one line for labels on another grid, and for a source that lacks the UIDs that references need.
    """
    check_same_grid(label_map, source)
    headers = source_headers(source, pseudonym=pseudonym)
    content = _structure_set(label_map, headers)
    with writing_to(path):
        write_atomically(path, lambda temporary: content.save_as(temporary, enforce_file_format=True))


def _structure_set(label_map: LabelMap, headers: SourceHeaders) -> Dataset:
    content = _empty_object(headers.images[0])
    organs = label_map.label_set.organs
    reference = headers.images[0].FrameOfReferenceUID
    content.ReferencedFrameOfReferenceSequence = [_referenced_frame(headers)]
    content.StructureSetROISequence = [_region(organ, reference) for organ in organs]
    content.ROIContourSequence = [_contours(organ, label_map, headers.slices) for organ in organs]
    content.RTROIObservationsSequence = [_observation(organ) for organ in organs]
    content.ApprovalStatus = "UNAPPROVED"
    return content


def _empty_object(image: Dataset) -> hd.base.SOPClass:
    now = datetime.datetime.now()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about oddities of the source's patient and study fields
            content = hd.base.SOPClass(
                study_instance_uid=image.StudyInstanceUID,
                series_instance_uid=hd.UID(),
                series_number=SERIES_NUMBER + 1,
                sop_instance_uid=hd.UID(),
                sop_class_uid=RTStructureSetStorage,
                instance_number=1,
                modality="RTSTRUCT",
                manufacturer=MANUFACTURER,
                manufacturer_model_name="steelyard",
                software_versions=VERSION,
                transfer_syntax_uid=ImplicitVRLittleEndian,  # explicit VR has no room for a contour of 64 kB
                series_description=DESCRIPTION,
                specific_character_set=UTF_8,
            )
            content.copy_patient_and_study_information(image)
    except Exception as error:  # headers of real scans hold what no library foresees; its message may hold a name
        raise BadData(
            f"a structure set cannot be made from the headers of this series ({type(error).__name__}). "
            "Write NIfTI instead."
        ) from error
    content.OperatorsName = ""
    content.FrameOfReferenceUID = image.FrameOfReferenceUID
    content.PositionReferenceIndicator = ""
    content.StructureSetLabel = "Steelyard"
    content.StructureSetName = DESCRIPTION
    content.StructureSetDate, content.StructureSetTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    return content


def _referenced_frame(headers: SourceHeaders) -> Dataset:
    image = headers.images[0]
    series, study, frame = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID = image.SeriesInstanceUID
    if headers.slices[0].frame_number is None:
        series.ContourImageSequence = [_image(place) for place in headers.slices]
    else:
        whole = _image(headers.slices[0])
        whole.ReferencedFrameNumber = [place.frame_number for place in headers.slices]
        series.ContourImageSequence = [whole]
    study.ReferencedSOPClassUID, study.ReferencedSOPInstanceUID = STUDY_MANAGEMENT, image.StudyInstanceUID
    study.RTReferencedSeriesSequence = [series]
    frame.FrameOfReferenceUID = image.FrameOfReferenceUID
    frame.RTReferencedStudySequence = [study]
    return frame


def _region(organ: Organ, frame_of_reference: str) -> Dataset:
    region = Dataset()
    region.ROINumber = organ.index
    region.ReferencedFrameOfReferenceUID = frame_of_reference
    region.ROIName = organ.title[:64]
    region.ROIGenerationAlgorithm = "AUTOMATIC"
    region.ROIGenerationDescription = f"steelyard {VERSION}"
    region.ROIDerivationAlgorithmIdentificationSequence = algorithm()
    return region


def _contours(organ: Organ, label_map: LabelMap, slices: tuple[SliceReference, ...]) -> Dataset:
    region = Dataset()
    region.ROIDisplayColor = list(organ.colour)
    region.ReferencedROINumber = organ.index
    contours: list[Dataset] = []
    for k, reference in enumerate(slices):
        for outline in outlines(label_map.labels[k] == organ.index):
            contour = Dataset()
            contour.ContourNumber = len(contours) + 1
            contour.ContourImageSequence = [_image(reference)]
            contour.ContourGeometricType = "CLOSED_PLANAR"
            contour.NumberOfContourPoints = len(outline)
            contour.ContourData = _millimetres(outline, k, label_map.geometry.affine)
            contours.append(contour)
    region.ContourSequence = contours
    return region


def _observation(organ: Organ) -> Dataset:
    observation = Dataset()
    observation.ObservationNumber = observation.ReferencedROINumber = organ.index
    observation.ROIObservationLabel = organ.title[:LONGEST_LABEL]
    observation.RTROIIdentificationCodeSequence = [hd.sr.CodedConcept.from_code(organ_code(organ))]
    observation.RTROIInterpretedType = "ORGAN"
    observation.ROIInterpreter = ""
    return observation


def _image(reference: SliceReference) -> Dataset:
    image = Dataset()
    image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = reference.class_uid, reference.instance_uid
    if reference.frame_number is not None:
        image.ReferencedFrameNumber = reference.frame_number
    return image


def _millimetres(outline: np.ndarray, k: int, affine: np.ndarray) -> list[str]:
    """x, y, z of each point (row, column) of slice k, as decimal strings."""
    places = outline @ affine[:3, 1:3].T + affine[:3, 0] * k + affine[:3, 3]
    if np.abs(places).max() > FARTHEST_MM:
        raise BadData(f"a slice lies {np.abs(places).max() / 1000:.0f} m from the origin. Check the scan's positions.")
    return [f"{value:.{DECIMALS}f}" for value in places.ravel().tolist()]

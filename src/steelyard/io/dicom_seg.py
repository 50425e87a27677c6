"""Label maps as DICOM segmentations (SEG), which viewers and archives keep beside the images that they belong to.

BINARY, one segment per organ, and a frame for every slice of every segment, also where it is empty, so that readers
find the whole grid of the scan. An organ without a coded concept is coded in the private scheme 99STEELYARD by its
name, and read back without one.

Source: DICOM PS3.3, A.51 (Segmentation IOD) and C.8.20 (segmentation image).
"""

from __future__ import annotations

import hashlib
import warnings
from importlib.metadata import version
from pathlib import Path

import highdicom as hd
from highdicom.color import CIELabColor
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian
from skimage.color import rgb2lab

from steelyard.errors import BadData
from steelyard.io.dicom_series import Series
from steelyard.io.seg_reader import PRIVATE_SCHEME, read_seg
from steelyard.io.source_headers import UTF_8, SourceHeaders, check_same_grid, source_headers
from steelyard.labels import Organ
from steelyard.runstore import write_atomically, writing_to
from steelyard.volume import LabelMap

__all__ = ["read_seg", "write_seg"]

VERSION = version("steelyard")
SERIES_NUMBER = 9001  # behind a scanner's own series in a study's list
DESCRIPTION = "Steelyard segmentation"
MANUFACTURER = "Steelyard"
LONGEST_LABEL = 64  # characters of a LO
LONGEST_CODE = 16  # characters of a SH


def write_seg(path: Path, label_map: LabelMap, source: Series, *, pseudonym: str | None = None) -> None:
    """Writes the organs as one SEG object that refers to the source's images, whole or not at all.

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
    content = _segmentation(label_map, headers)
    with writing_to(path):
        write_atomically(path, lambda temporary: content.save_as(temporary, enforce_file_format=True))


def organ_code(organ: Organ) -> Code:
    """The organ's coded concept; where it has none, its name in the private scheme (shortened, with a checksum)."""
    if organ.concept is not None:
        return Code(organ.concept.value, organ.concept.scheme, organ.concept.meaning)
    value = organ.name
    if len(value.encode()) > LONGEST_CODE or not value.isascii():
        value = hashlib.sha256(value.encode()).hexdigest()[:LONGEST_CODE]
    return Code(value, PRIVATE_SCHEME, organ.title[:LONGEST_LABEL])


def algorithm() -> hd.AlgorithmIdentificationSequence:
    """Who drew the organs."""
    return hd.AlgorithmIdentificationSequence(
        name="steelyard", family=codes.DCM.ArtificialIntelligence, version=VERSION
    )


def _segmentation(label_map: LabelMap, headers: SourceHeaders) -> hd.seg.Segmentation:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about oddities of the source's patient and study fields
            content = hd.seg.Segmentation(
                source_images=list(headers.images),
                pixel_array=label_map.labels,
                segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
                segment_descriptions=[_segment(organ) for organ in label_map.label_set.organs],
                series_instance_uid=hd.UID(),
                series_number=SERIES_NUMBER,
                sop_instance_uid=hd.UID(),
                instance_number=1,
                manufacturer=MANUFACTURER,
                manufacturer_model_name="steelyard",
                software_versions=VERSION,
                device_serial_number="none",
                transfer_syntax_uid=ExplicitVRLittleEndian,
                omit_empty_frames=False,
                content_label="SEGMENTATION",
                content_description=DESCRIPTION,
                series_description=DESCRIPTION,
                specific_character_set=UTF_8,
            )
    except Exception as error:  # headers of real scans hold what no library foresees; its message may hold a name
        raise BadData(
            f"a SEG object cannot be made from the headers of this series ({type(error).__name__}). "
            "Write NIfTI instead."
        ) from error
    _refer_to_source(content, headers)
    return content


def _segment(organ: Organ) -> hd.seg.SegmentDescription:
    lightness = rgb2lab([[[part / 255 for part in organ.colour]]])[0, 0]
    return hd.seg.SegmentDescription(
        segment_number=organ.index,
        segment_label=organ.title[:LONGEST_LABEL],
        segmented_property_category=codes.SCT.AnatomicalStructure,
        segmented_property_type=organ_code(organ),
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm(),
        tracking_uid=hd.UID(),
        tracking_id=f"steelyard {organ.title}"[:LONGEST_LABEL],
        display_color=CIELabColor(*(float(part) for part in lightness)),
    )


def _refer_to_source(content: Dataset, headers: SourceHeaders) -> None:
    """References name the class of the images, and number the frames as their file does, not as the slices run."""
    classes = {place.instance_uid: place.class_uid for place in headers.slices}
    numbers = [place.frame_number for place in headers.slices]

    corrected = set()

    def correct(item: Dataset, element: DataElement) -> None:
        if id(element) in corrected:  # the frames of several segments share one reference to their slice
            return
        corrected.add(id(element))
        if element.keyword == "ReferencedSOPClassUID" and item.ReferencedSOPInstanceUID in classes:
            element.value = classes[item.ReferencedSOPInstanceUID]
        elif element.keyword == "ReferencedFrameNumber":
            element.value = numbers[int(element.value) - 1]

    content.walk(correct)

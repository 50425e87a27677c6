"""A pseudonym in place of a patient's identity, in what is written of a scan as DICOM.

Nothing that might name someone is sought out and blanked: only what is known to be harmless is kept (`KEPT`), so a
field that nobody thought of is gone, too. What stays: UIDs, because the objects must point to the images that they
belong to, the patient's sex, and the grid. UIDs may hold dates and serial numbers of scanners: they are no secret
among those who hold the images, and should not leave them. To unlink the two, replace the UIDs of both together.

Source: DICOM PS3.15, annex E (attribute confidentiality profiles); the UIDs stay as in its option "Retain UIDs".
"""

from __future__ import annotations

import re
import warnings

from pydicom.dataset import Dataset

from steelyard.errors import BadSpec

LONGEST = 64  # characters of a PatientID and of a component of PatientName
UNFIT = re.compile(r"[\\^=\x00-\x1f\x7f]")  # separators of values and of the parts of a name, control characters

KEPT = frozenset(
    {
        "SOPClassUID",
        "SOPInstanceUID",
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "FrameOfReferenceUID",
        "Modality",
        "PatientSex",
        "Rows",
        "Columns",
        "NumberOfFrames",
        "ImageOrientationPatient",
        "ImagePositionPatient",
        "PixelSpacing",
        "SliceThickness",
        "SpacingBetweenSlices",
        "LossyImageCompression",
        "LossyImageCompressionRatio",
        "LossyImageCompressionMethod",
    }
)


def check_pseudonym(pseudonym: str) -> str:
    """The pseudonym, or `BadSpec` in one line where it cannot stand for a patient's name and number in DICOM."""
    if not pseudonym.strip() or len(pseudonym) > LONGEST or UNFIT.search(pseudonym):
        raise BadSpec(
            f"a pseudonym of 1 to {LONGEST} characters without ^, = and backslash was wanted; came "
            f"{pseudonym[:LONGEST]!r}. Choose another."
        )
    return pseudonym


def pseudonymised(header: Dataset, pseudonym: str) -> Dataset:
    """A new header with the pseudonym as PatientName and PatientID; of the rest only what `KEPT` names."""
    check_pseudonym(pseudonym)
    kept = Dataset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for element in header:
            if element.keyword in KEPT:
                kept[element.tag] = element
    kept.PatientName = kept.PatientID = pseudonym
    kept.PatientIdentityRemoved = "YES"
    kept.DeidentificationMethod = "Pseudonym for name and ID; UIDs and sex kept, all else left out"
    return kept

"""With a pseudonym nothing else of the patient's identity is in a DICOM file that was made from a scan."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest

from scans import IDENTITY, LAYOUTS, knotty_labels, write_multi_frame_scan, write_scan
from steelyard.errors import BadSpec
from steelyard.io.dicom_seg import write_seg
from steelyard.io.dicom_series import Series
from steelyard.io.pseudonym import check_pseudonym
from steelyard.io.rtstruct import write_rtstruct
from steelyard.labels import CHAOS_MR
from steelyard.volume import LabelMap


def single_frame(folder: Path) -> Series:
    return write_scan(folder / "scan")


def multi_frame(folder: Path) -> Series:
    return write_multi_frame_scan(folder / "scan.dcm", range(6))


@pytest.mark.parametrize("scan", [single_frame, multi_frame])
@pytest.mark.parametrize("write", [write_seg, write_rtstruct])
def test_no_text_of_the_identity_is_left(write: Callable[..., None], scan: Callable[[Path], Series], tmp_path: Path):
    series = scan(tmp_path)
    label_map = LabelMap(knotty_labels(LAYOUTS["axial"].shape), series.geometry, CHAOS_MR)
    write(tmp_path / "open.dcm", label_map, series)
    write(tmp_path / "closed.dcm", label_map, series, pseudonym="P-07 Zoë")
    revealing, content = (tmp_path / "open.dcm").read_bytes(), (tmp_path / "closed.dcm").read_bytes()
    assert "Ödegård".encode() in revealing
    texts = {part for value in IDENTITY.values() for part in value.split("^")}
    for text in texts:
        assert text.encode("utf-8") not in content, text
        assert text.encode("latin-1") not in content, text
    header = pydicom.dcmread(tmp_path / "closed.dcm")
    assert (header.PatientName, header.PatientID, header.PatientSex) == ("P-07 Zoë", "P-07 Zoë", "F")
    assert (header.PatientBirthDate, header.StudyDate, header.AccessionNumber) == ("", "", "")
    assert header.PatientIdentityRemoved == "YES"


@pytest.mark.parametrize("write", [write_seg, write_rtstruct])
def test_references_to_the_scan_stay(write: Callable[..., None], tmp_path: Path):
    series = single_frame(tmp_path)
    label_map = LabelMap(knotty_labels(LAYOUTS["axial"].shape), series.geometry, CHAOS_MR)
    write(tmp_path / "closed.dcm", label_map, series, pseudonym="P07")
    header, content = pydicom.dcmread(tmp_path / "closed.dcm"), (tmp_path / "closed.dcm").read_bytes()
    assert (header.StudyInstanceUID, header.FrameOfReferenceUID) == ("1.2.826.77.1", "1.2.826.77.3")
    for file in series.files:
        assert pydicom.dcmread(file).SOPInstanceUID.encode() in content
    assert pydicom.dcmread(series.files[0]).PatientName == "Ödegård^Åse"  # the images are as they were


@pytest.mark.parametrize("pseudonym", ["", "  ", "a" * 65, "a^b", "a\\b", "a=b", "a\nb"])
def test_a_pseudonym_that_dicom_would_take_apart_is_refused(pseudonym: str):
    with pytest.raises(BadSpec, match="a pseudonym of 1 to 64 characters"):
        check_pseudonym(pseudonym)


def test_a_plain_pseudonym_is_taken_as_it_is():
    assert check_pseudonym("Patient 7 (left)") == "Patient 7 (left)"

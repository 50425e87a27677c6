"""Parsing in two steps, and reading fields from their bytes, give what pydicom gives, on all its own test files."""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.datadict import keyword_for_tag

from steelyard.errors import BadData
from steelyard.io import dicom_file, dicom_header
from steelyard.io.dicom_file import parse, parse_header, parse_rest
from steelyard.io.dicom_header import ImageName

SHIPPED = Path(get_testdata_file("MR_small.dcm")).parent  # big endian, implicit, deflated, compressed, broken


def read_by_pydicom(file: Path) -> pydicom.Dataset | None:
    """None where pydicom itself refuses."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return pydicom.dcmread(file)
    except Exception:
        return None


FILES = sorted(file.name for file in SHIPPED.glob("*.dcm") if read_by_pydicom(file) is not None)


@pytest.mark.parametrize("memory", ["small", "large"])
@pytest.mark.parametrize("name", FILES)
def test_header_and_rest_are_the_whole(monkeypatch: pytest.MonkeyPatch, name: str, memory: str):
    """`large`: as files are read that are not taken into memory whole."""
    if memory == "large":
        monkeypatch.setattr(dicom_file, "SMALL", -1)
    whole = read_by_pydicom(SHIPPED / name)
    assert whole is not None
    found = parse_rest(SHIPPED / name, parse_header(SHIPPED / name))
    assert list(found.keys()) == list(whole.keys())
    for tag in whole.keys():  # noqa: SIM118 - a data set's own iteration converts
        assert found.get_item(tag).value == whole.get_item(tag).value, tag


def test_a_header_is_left_as_it_was_when_the_rest_is_read():
    header = parse_header(SHIPPED / "MR_small.dcm")
    assert "PixelData" in parse_rest(SHIPPED / "MR_small.dcm", header)
    assert "PixelData" not in header.data


def test_a_file_that_changed_since_its_header_was_read_is_parsed_anew(tmp_path: Path):
    file = tmp_path / "a.dcm"
    file.write_bytes((SHIPPED / "MR_small.dcm").read_bytes())
    header = parse_header(file)
    file.write_bytes((SHIPPED / "CT_small.dcm").read_bytes())
    os.utime(file, ns=(0, 0))
    assert parse_rest(file, header).Modality == "CT"


@pytest.mark.parametrize("name", FILES)
def test_a_field_read_from_its_bytes_is_what_pydicom_makes_of_it(monkeypatch: pytest.MonkeyPatch, name: str):
    fast, slow = parse(SHIPPED / name), parse(SHIPPED / name)
    keywords = [keyword for tag in fast.keys() if (keyword := keyword_for_tag(tag))]  # noqa: SIM118
    who = ImageName(SHIPPED / name)
    quick = {keyword: dicom_header._written(fast, keyword) for keyword in keywords}
    monkeypatch.setattr(dicom_header, "_written", lambda data, keyword: None)
    for keyword, found in quick.items():
        if found is None:
            continue
        try:
            wanted = dicom_header.text(slow, keyword, who)
        except BadData:  # pydicom refuses some values that are text all the same
            continue
        assert found == wanted, keyword
    assert dicom_header.text(slow, "ProtocolName", who) == (fast.get("ProtocolName") or "")


def test_most_fields_of_a_slice_are_read_from_their_bytes():
    data = parse(SHIPPED / "MR_small.dcm", stop_before_pixels=True)
    read = (
        "Rows",
        "Columns",
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "PixelSpacing",
        "EchoTime",
        "Modality",
    )
    assert all(dicom_header._written(data, keyword) for keyword in read)
    assert dicom_header._written(data, "Rows") == "64"
    assert dicom_header._written(data, "RescaleSlope") == ""
    assert dicom_header._written(data, "PatientName") is None


def test_text_in_another_character_set_is_left_to_pydicom():
    """ISO 2022 puts characters of two bytes between escape sequences, all of them below 128."""
    data = pydicom.Dataset()
    data.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
    written = io.BytesIO()
    data.ProtocolName = "山田"
    pydicom.dcmwrite(written, data, implicit_vr=False, little_endian=True)
    data = pydicom.dcmread(io.BytesIO(written.getvalue()), force=True)
    assert data.get_item("ProtocolName").value.isascii()
    assert dicom_header._written(data, "ProtocolName") is None
    assert dicom_header.text(data, "ProtocolName", ImageName(Path("a.dcm"))) == "山田"

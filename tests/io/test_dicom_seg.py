"""A SEG file says which organ lies where in which image, as DICOM wants it said; what it cannot say is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from pydicom.uid import UID

from scans import LAYOUTS, knotty_labels, write_multi_frame_scan, write_scan
from steelyard.errors import BadData
from steelyard.io.dicom_seg import read_seg, write_seg
from steelyard.io.dicom_series import Series
from steelyard.io.rtstruct import write_rtstruct
from steelyard.labels import CHAOS_MR, LIVER, CodedConcept, LabelSet, Organ
from steelyard.volume import Geometry, LabelMap

SHAPE = LAYOUTS["axial"].shape


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Series:
    return write_scan(tmp_path_factory.mktemp("scan"))


@pytest.fixture(scope="module")
def written(scan: Series, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("seg") / "new" / "seg.dcm"
    write_seg(path, LabelMap(knotty_labels(SHAPE), scan.geometry, CHAOS_MR), scan)
    return path


def test_what_is_written_is_read_back_on_the_scans_grid(scan: Series, written: Path):
    label_map = read_seg(written)
    assert_array_equal(label_map.labels, knotty_labels(SHAPE))
    assert label_map.labels.dtype == np.uint8
    assert label_map.geometry.same_grid(scan.geometry, tolerance_mm=1e-6)
    for organ, wanted in zip(label_map.label_set.organs, CHAOS_MR.organs, strict=True):
        assert (organ.name, organ.index, organ.concept) == (wanted.name, wanted.index, wanted.concept)
        assert organ.source_value == wanted.index  # the segment's number
        assert_allclose(organ.colour, wanted.colour, atol=1)


def test_every_slice_of_every_organ_has_a_frame(written: Path):
    content = pydicom.dcmread(written)
    assert content.NumberOfFrames == 6 * 4
    assert content.SegmentsOverlap == "NO"
    numbers = [frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber for frame in frames_of(content)]
    assert sorted(numbers) == sorted([1, 2, 3, 4] * 6)


def test_segments_are_coded_organs_drawn_by_an_algorithm(written: Path):
    content = pydicom.dcmread(written)
    assert (content.Modality, content.SegmentationType) == ("SEG", "BINARY")
    kidney = content.SegmentSequence[1]
    assert (kidney.SegmentNumber, kidney.SegmentLabel) == (2, "right kidney")
    category, kind = kidney.SegmentedPropertyCategoryCodeSequence[0], kidney.SegmentedPropertyTypeCodeSequence[0]
    assert (category.CodeValue, category.CodingSchemeDesignator) == ("91723000", "SCT")  # CID 7150
    assert (kind.CodeValue, kind.CodingSchemeDesignator, kind.CodeMeaning) == ("9846003", "SCT", "Right kidney")
    assert kidney.SegmentAlgorithmType == "AUTOMATIC"
    algorithm = kidney.SegmentationAlgorithmIdentificationSequence[0]
    assert algorithm.AlgorithmName == "steelyard"
    assert algorithm.AlgorithmFamilyCodeSequence[0].CodeMeaning == "Artificial Intelligence"
    assert len({segment.TrackingUID for segment in content.SegmentSequence}) == 4


def test_colours_are_cielab_as_dicom_scales_it(scan: Series, tmp_path: Path):
    # pure red is L* 53.24, a* 80.09, b* 67.20 (CIE, D65): 65535 × L* / 100, and 65535 × (a* + 128) / 255
    organs = LabelSet((Organ("liver", 1, 1, (255, 0, 0)),))
    write_seg(tmp_path / "seg.dcm", LabelMap(np.zeros(SHAPE, np.uint8), scan.geometry, organs), scan)
    stored = pydicom.dcmread(tmp_path / "seg.dcm").SegmentSequence[0].RecommendedDisplayCIELabValue
    assert_allclose(stored, [34890, 53480, 50170], atol=20)
    assert read_seg(tmp_path / "seg.dcm").label_set.organs[0].colour == (255, 0, 0)


def test_each_frame_refers_to_the_image_that_lies_where_it_lies(scan: Series, written: Path):
    places = {}
    for file in scan.files:
        image = pydicom.dcmread(file)
        places[image.SOPInstanceUID] = image.ImagePositionPatient
    content = pydicom.dcmread(written)
    for frame in frames_of(content):
        (source,) = frame.DerivationImageSequence[0].SourceImageSequence
        assert_allclose(frame.PlanePositionSequence[0].ImagePositionPatient, places[source.ReferencedSOPInstanceUID])
    series = content.ReferencedSeriesSequence[0]
    assert series.SeriesInstanceUID == "1.2.826.77.2"
    assert {item.ReferencedSOPInstanceUID for item in series.ReferencedInstanceSequence} == set(places)


def test_it_belongs_to_the_patient_and_study_of_the_scan(written: Path):
    content = pydicom.dcmread(written)
    assert (content.PatientName, content.PatientID, content.PatientSex) == ("Ödegård^Åse", "4711-secret", "F")
    assert content.PatientBirthDate == "19480229"
    assert content.StudyInstanceUID == "1.2.826.77.1"
    assert content.FrameOfReferenceUID == "1.2.826.77.3"
    assert content.SpecificCharacterSet == "ISO_IR 192"


def test_its_own_uids_are_new_and_valid(scan: Series, written: Path, tmp_path: Path):
    write_seg(tmp_path / "again.dcm", read_seg(written), scan)
    first, second = pydicom.dcmread(written), pydicom.dcmread(tmp_path / "again.dcm")
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
        assert UID(first[keyword].value).is_valid
        assert len({first[keyword].value, second[keyword].value, "1.2.826.77.2"}) == 3


@pytest.mark.parametrize("frames", [(3, 1, 5, 2, 0, 4), (5, 4, 3, 2, 1, 0)])
def test_of_a_multi_frame_scan_the_frames_numbers_in_its_file_are_named(frames: tuple[int, ...], tmp_path: Path):
    series = write_multi_frame_scan(tmp_path / "scan.dcm", frames)
    labels = knotty_labels(SHAPE)
    write_seg(tmp_path / "seg.dcm", LabelMap(labels, series.geometry, CHAOS_MR), series)
    assert_array_equal(read_seg(tmp_path / "seg.dcm", on=series.geometry).labels, labels)
    for frame in frames_of(pydicom.dcmread(tmp_path / "seg.dcm")):
        (source,) = frame.DerivationImageSequence[0].SourceImageSequence
        assert source.ReferencedSOPClassUID == "1.2.840.10008.5.1.4.1.1.4.1"  # enhanced MR
        k = frames[int(source.ReferencedFrameNumber) - 1]
        place = LAYOUTS["oblique"].places_mm(np.array([[k, 0, 0]]))[0]
        assert_allclose(frame.PlanePositionSequence[0].ImagePositionPatient, place, atol=1e-6)


def test_a_ct_scan_is_referred_to_as_ct(tmp_path: Path):
    series = write_scan(tmp_path / "scan", SOPClassUID="1.2.840.10008.5.1.4.1.1.2", Modality="CT")
    write_seg(tmp_path / "seg.dcm", LabelMap(knotty_labels(SHAPE), series.geometry, CHAOS_MR), series)
    content = pydicom.dcmread(tmp_path / "seg.dcm")
    source = frames_of(content)[0].DerivationImageSequence[0].SourceImageSequence[0]
    listed = content.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0]
    assert source.ReferencedSOPClassUID == listed.ReferencedSOPClassUID == "1.2.840.10008.5.1.4.1.1.2"


def test_an_empty_map_is_written_with_all_its_slices(scan: Series, tmp_path: Path):
    write_seg(tmp_path / "seg.dcm", LabelMap(np.zeros(SHAPE, np.uint8), scan.geometry, CHAOS_MR), scan)
    label_map = read_seg(tmp_path / "seg.dcm")
    assert label_map.geometry.same_grid(scan.geometry)
    assert not label_map.labels.any()
    assert len(label_map.label_set.organs) == 4


def test_an_organ_without_a_concept_has_a_private_code_and_is_read_without(scan: Series, tmp_path: Path):
    long = Organ("a_rather_long_name_of_an_örgan", 2, 7, (1, 2, 3))
    coded = Organ("cyst", 3, 9, (90, 80, 70), CodedConcept("12345", "99OTHER", "Cyst"))
    organs = LabelSet((Organ("tumour", 1, 5, (200, 10, 30)), long, coded))
    write_seg(tmp_path / "seg.dcm", LabelMap(knotty_labels(SHAPE) % 4, scan.geometry, organs), scan)
    codes = [
        segment.SegmentedPropertyTypeCodeSequence[0]
        for segment in pydicom.dcmread(tmp_path / "seg.dcm").SegmentSequence
    ]
    assert (codes[0].CodeValue, codes[0].CodingSchemeDesignator) == ("tumour", "99STEELYARD")
    assert len(codes[1].CodeValue) == 16
    found = read_seg(tmp_path / "seg.dcm").label_set
    assert [organ.name for organ in found.organs] == ["tumour", "a_rather_long_name_of_an_örgan", "cyst"]
    assert [organ.concept for organ in found.organs] == [None, None, coded.concept]


def test_headers_that_lack_what_may_be_empty_are_no_obstacle(tmp_path: Path):
    series = write_scan(tmp_path / "scan")
    for file in series.files:
        image = pydicom.dcmread(file)
        for keyword in ("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID", "AccessionNumber"):
            del image[keyword]
        for keyword in ("ReferringPhysicianName", "PatientName", "PatientID", "SliceThickness", "FrameOfReferenceUID"):
            del image[keyword]
        image.save_as(file)
    write_seg(tmp_path / "seg.dcm", LabelMap(knotty_labels(SHAPE), series.geometry, CHAOS_MR), series)
    assert read_seg(tmp_path / "seg.dcm").geometry.same_grid(series.geometry)
    assert UID(pydicom.dcmread(tmp_path / "seg.dcm").FrameOfReferenceUID).is_valid


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PatientBirthDate", "unknown"),
        ("PatientSex", "female"),
        ("StudyDate", "2026-01-02"),
        ("StudyTime", "25:00"),
        ("PatientAge", "0Y"),
        ("SpecificCharacterSet", "NONSENSE"),
        ("SOPClassUID", "1.2.3.4.5"),
        ("SliceThickness", "0"),
    ],
)
def test_values_that_dicom_does_not_allow_are_no_obstacle(
    keyword: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for side in ("reading", "writing"):
        monkeypatch.setattr(pydicom.config.settings, f"{side}_validation_mode", pydicom.config.IGNORE)
    series = write_scan(tmp_path / "scan", **{"PatientName": "Doe^Jane", keyword: value})
    monkeypatch.undo()
    label_map = LabelMap(knotty_labels(SHAPE), series.geometry, CHAOS_MR)
    write_seg(tmp_path / "seg.dcm", label_map, series)
    write_rtstruct(tmp_path / "rtstruct.dcm", label_map, series)
    assert_array_equal(read_seg(tmp_path / "seg.dcm").labels, label_map.labels)
    assert pydicom.dcmread(tmp_path / "rtstruct.dcm").PatientName == "Doe^Jane"


def test_directions_rounded_unlike_each_other_are_evened_out(tmp_path: Path):
    series = write_scan(tmp_path / "scan", LAYOUTS["oblique"])
    image = pydicom.dcmread(series.files[2])
    image.ImageOrientationPatient = [round(value, 4) for value in LAYOUTS["oblique"].orientation]
    image.save_as(series.files[2])
    write_seg(tmp_path / "seg.dcm", LabelMap(knotty_labels(SHAPE), series.geometry, CHAOS_MR), series)
    assert read_seg(tmp_path / "seg.dcm").geometry.same_grid(series.geometry)


@pytest.mark.parametrize(
    "affine",
    [np.diag([3, 1.25, 2, 1]), np.diag([3, 2, 1.25, 1])],
    ids=["rows for columns", "elsewhere"],
)
def test_labels_on_another_grid_are_refused(scan: Series, affine: np.ndarray, tmp_path: Path):
    elsewhere = LabelMap(np.zeros(SHAPE, np.uint8), Geometry(SHAPE, affine.astype(float)), CHAOS_MR)
    with pytest.raises(BadData, match=r"grid were wanted, 6 × 24 × 20 voxels; came as many, at other places\."):
        write_seg(tmp_path / "seg.dcm", elsewhere, scan)
    small = LabelMap(np.zeros((6, 20, 24), np.uint8), Geometry((6, 20, 24), scan.geometry.affine), CHAOS_MR)
    with pytest.raises(BadData, match="6 × 24 × 20 voxels; came 6 × 20 × 24"):
        write_seg(tmp_path / "seg.dcm", small, scan)
    assert not list(tmp_path.iterdir())


def test_a_scan_without_the_uids_of_references_is_refused_in_one_line(tmp_path: Path):
    series = write_scan(tmp_path / "scan", StudyInstanceUID="", SeriesInstanceUID="")
    label_map = LabelMap(np.zeros(SHAPE, np.uint8), series.geometry, LabelSet((LIVER,)))
    with pytest.raises(BadData, match=r"^0\.dcm has no StudyInstanceUID, SeriesInstanceUID: [^\n]+$"):
        write_seg(tmp_path / "seg.dcm", label_map, series)


def test_a_place_that_cannot_be_written_to_is_named(scan: Series, written: Path, tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BadData, match=r"file/seg\.dcm cannot be written \([^\n]+\)\. Choose another place\.$"):
        write_seg(tmp_path / "file" / "seg.dcm", read_seg(written), scan)


def frames_of(content: pydicom.Dataset) -> list[pydicom.Dataset]:
    return list(content.PerFrameFunctionalGroupsSequence)

"""A structure set names organs, slices and frame of reference as DICOM wants them, in numbers that fit its fields."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.testing import assert_allclose
from pydicom.uid import UID

from scans import LAYOUTS, knotty_labels, write_multi_frame_scan, write_scan
from steelyard.errors import BadData
from steelyard.io.dicom_series import Series
from steelyard.io.rtstruct import write_rtstruct
from steelyard.io.seg_reader import read_seg
from steelyard.labels import CHAOS_MR, LabelSet, Organ
from steelyard.volume import Geometry, LabelMap

LAYOUT = LAYOUTS["axial"]  # 2 mm between rows, 1.25 mm between columns


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Series:
    return write_scan(tmp_path_factory.mktemp("scan"), PatientName="Doe^Jane", SpecificCharacterSet="")


@pytest.fixture(scope="module")
def written(scan: Series, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rtstruct") / "new" / "rtstruct.dcm"
    write_rtstruct(path, LabelMap(knotty_labels(LAYOUT.shape), scan.geometry, CHAOS_MR), scan)
    return path


def test_organs_are_regions_with_names_colours_and_codes(written: Path):
    content = pydicom.dcmread(written)
    assert (content.Modality, content.SOPClassUID) == ("RTSTRUCT", "1.2.840.10008.5.1.4.1.1.481.3")
    regions, contours = content.StructureSetROISequence, content.ROIContourSequence
    assert [region.ROIName for region in regions] == ["liver", "right kidney", "left kidney", "spleen"]
    assert [region.ROINumber for region in regions] == [1, 2, 3, 4]
    assert [item.ReferencedROINumber for item in contours] == [1, 2, 3, 4]
    assert list(contours[1].ROIDisplayColor) == [240, 228, 66]
    for item in content.RTROIObservationsSequence:
        assert item.RTROIInterpretedType == "ORGAN"
    kidney = content.RTROIObservationsSequence[1]
    assert kidney.ReferencedROINumber == 2
    assert kidney.RTROIIdentificationCodeSequence[0].CodeValue == "9846003"
    assert regions[0].ROIGenerationAlgorithm == "AUTOMATIC"
    assert regions[0].ReferencedFrameOfReferenceUID == content.FrameOfReferenceUID == "1.2.826.77.3"


def test_it_lists_every_image_of_the_scan_in_the_order_of_slices(scan: Series, written: Path):
    frame = pydicom.dcmread(written).ReferencedFrameOfReferenceSequence[0]
    study = frame.RTReferencedStudySequence[0]
    series = study.RTReferencedSeriesSequence[0]
    assert (study.ReferencedSOPInstanceUID, series.SeriesInstanceUID) == ("1.2.826.77.1", "1.2.826.77.2")
    images = [pydicom.dcmread(file).SOPInstanceUID for file in scan.files]
    assert [item.ReferencedSOPInstanceUID for item in series.ContourImageSequence] == images


def test_a_contour_of_more_than_64_kilobytes_is_stored_as_numbers(tmp_path: Path):
    layout = replace(LAYOUT, shape=(2, 120, 120))
    scan = write_scan(tmp_path / "scan", layout)
    labels = np.zeros(layout.shape, np.uint8)
    labels[0, 1:-1, 1:-1] = 1
    labels[0, 3:-3:3, 3:-3:3] = 0  # a sieve: every hole is joined to the one outline
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # pydicom warns of numbers that it stores as bytes of unknown kind
        write_rtstruct(tmp_path / "rt.dcm", LabelMap(labels, scan.geometry, CHAOS_MR), scan)
    (contour,) = pydicom.dcmread(tmp_path / "rt.dcm").ROIContourSequence[0].ContourSequence
    assert len("\\".join(map(str, contour.ContourData))) > 65_536
    assert len(contour.ContourData) == 3 * contour.NumberOfContourPoints


def test_a_voxel_is_outlined_where_it_lies(scan: Series, tmp_path: Path):
    labels = np.zeros(LAYOUT.shape, np.uint8)
    labels[4, 9, 7] = 3  # x = −10 + 7 × 1.25, y = −20 + 9 × 2, z = −30 + 4 × 3
    write_rtstruct(tmp_path / "rt.dcm", LabelMap(labels, scan.geometry, CHAOS_MR), scan)
    regions = pydicom.dcmread(tmp_path / "rt.dcm").ROIContourSequence
    assert [len(region.ContourSequence) for region in regions] == [0, 0, 1, 0]  # an empty organ is there
    (contour,) = regions[2].ContourSequence
    assert contour.ContourGeometricType == "CLOSED_PLANAR"
    assert contour.NumberOfContourPoints == 4
    (image,) = contour.ContourImageSequence
    assert image.ReferencedSOPInstanceUID == pydicom.dcmread(scan.files[4]).SOPInstanceUID
    points = np.array(contour.ContourData, float).reshape(4, 3)
    assert_allclose(points[:, 2], -18)
    assert_allclose(points.mean(axis=0), [-1.25, -2, -18], atol=1e-6)
    assert_allclose(np.ptp(points, axis=0), [0.99 * 1.25, 0.99 * 2, 0], atol=1e-5)  # 0.005 pixels inside the border


def test_numbers_fit_into_decimal_strings(tmp_path: Path):
    series = write_scan(tmp_path / "scan", LAYOUTS["oblique"])
    write_rtstruct(tmp_path / "rt.dcm", LabelMap(knotty_labels(LAYOUT.shape), series.geometry, CHAOS_MR), series)
    content = pydicom.dcmread(tmp_path / "rt.dcm")
    for region in content.ROIContourSequence:
        for contour in region.ContourSequence:
            stored = contour.get_item("ContourData").value.decode()
            assert max(len(number.strip()) for number in stored.split("\\")) <= 16
            assert len(contour.ContourData) == 3 * contour.NumberOfContourPoints


def test_a_hole_is_no_contour_of_its_own(scan: Series, tmp_path: Path):
    labels = np.zeros(LAYOUT.shape, np.uint8)
    labels[2, 3:12, 3:12] = 1
    labels[2, 5:8, 6:9] = 0
    write_rtstruct(tmp_path / "rt.dcm", LabelMap(labels, scan.geometry, CHAOS_MR), scan)
    assert len(pydicom.dcmread(tmp_path / "rt.dcm").ROIContourSequence[0].ContourSequence) == 1


def test_contours_of_a_multi_frame_scan_name_the_frame_in_its_file(tmp_path: Path):
    frames = (3, 1, 5, 2, 0, 4)
    series = write_multi_frame_scan(tmp_path / "scan.dcm", frames)
    write_rtstruct(tmp_path / "rt.dcm", LabelMap(knotty_labels(LAYOUT.shape), series.geometry, CHAOS_MR), series)
    content, layout = pydicom.dcmread(tmp_path / "rt.dcm"), LAYOUTS["oblique"]
    study = content.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
    (listed,) = study.RTReferencedSeriesSequence[0].ContourImageSequence
    assert [frames[number - 1] for number in listed.ReferencedFrameNumber] == [0, 1, 2, 3, 4, 5]
    normal = np.cross(layout.orientation[:3], layout.orientation[3:])
    seen = set()
    for contour in content.ROIContourSequence[0].ContourSequence:
        (image,) = contour.ContourImageSequence
        assert image.ReferencedSOPInstanceUID == pydicom.dcmread(tmp_path / "scan.dcm").SOPInstanceUID
        k = frames[image.ReferencedFrameNumber - 1]
        seen.add(k)
        off = np.array(contour.ContourData, float).reshape(-1, 3) - layout.places_mm(np.array([[k, 0, 0]]))
        assert_allclose(off @ normal, 0, atol=1e-5)
    assert seen == {1, 2, 4}


def test_an_empty_map_has_all_regions_and_no_contour(scan: Series, tmp_path: Path):
    write_rtstruct(tmp_path / "rt.dcm", LabelMap(np.zeros(LAYOUT.shape, np.uint8), scan.geometry, CHAOS_MR), scan)
    content = pydicom.dcmread(tmp_path / "rt.dcm")
    assert [len(region.ContourSequence) for region in content.ROIContourSequence] == [0, 0, 0, 0]
    assert len(content.StructureSetROISequence) == 4


def test_an_organ_without_a_concept_has_a_private_code(scan: Series, tmp_path: Path):
    organs = LabelSet((Organ("a_tumour_of_the_left_lobe", 1, 5, (200, 10, 30)),))
    write_rtstruct(tmp_path / "rt.dcm", LabelMap(np.zeros(LAYOUT.shape, np.uint8), scan.geometry, organs), scan)
    item = pydicom.dcmread(tmp_path / "rt.dcm").RTROIObservationsSequence[0]
    assert item.RTROIIdentificationCodeSequence[0].CodingSchemeDesignator == "99STEELYARD"
    assert item.ROIObservationLabel == "a tumour of the"


def test_it_belongs_to_the_patient_and_study_of_the_scan(written: Path):
    content = pydicom.dcmread(written)
    assert (content.PatientName, content.PatientID, content.PatientSex) == ("Doe^Jane", "4711-secret", "F")
    assert content.StudyInstanceUID == "1.2.826.77.1"
    assert UID(content.SOPInstanceUID).is_valid
    assert UID(content.SeriesInstanceUID).is_valid
    assert content.SeriesInstanceUID != "1.2.826.77.2"


def test_labels_on_another_grid_are_refused(scan: Series, tmp_path: Path):
    affine = scan.geometry.affine.copy()
    affine[0, 3] += 0.3
    elsewhere = LabelMap(np.zeros(LAYOUT.shape, np.uint8), Geometry(LAYOUT.shape, affine), CHAOS_MR)
    with pytest.raises(BadData, match="came as many, at other places"):
        write_rtstruct(tmp_path / "rt.dcm", elsewhere, scan)


def test_a_structure_set_is_no_segmentation(written: Path):
    with pytest.raises(BadData, match=r"a SEG object was wanted; came RTSTRUCT"):
        read_seg(written)


def test_a_place_that_cannot_be_written_to_is_named(scan: Series, tmp_path: Path):
    (tmp_path / "file").write_text("")
    label_map = LabelMap(np.zeros(LAYOUT.shape, np.uint8), scan.geometry, CHAOS_MR)
    with pytest.raises(BadData, match=r"file/rt\.dcm cannot be written \([^\n]+\)\. Choose another place\.$"):
        write_rtstruct(tmp_path / "file" / "rt.dcm", label_map, scan)

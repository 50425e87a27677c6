"""Published series, compressed and multi-frame, against what an independent converter made of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from pydicom.pixels import get_decoder
from pydicom.uid import JPEGLosslessSV1

from steelyard.errors import BadData
from steelyard.io.dicom_folder import find_series, survey
from steelyard.io.dicom_series import read_headers, read_pixels, read_series
from steelyard.io.nifti import read_volume
from steelyard.volume import Volume

pytestmark = pytest.mark.real_data


def assert_same_voxels(ours: Volume, theirs: Volume) -> None:
    """Every voxel has the same value at the same place, whatever the order and direction of the axes.

    The NIfTI files were written by dicom2nifti. It rescales as the headers say, so values are compared as they are;
    float32 files are rounded to seven digits.
    """
    assert sorted(ours.geometry.shape) == sorted(theirs.geometry.shape)
    index = np.stack(np.meshgrid(*map(np.arange, ours.geometry.shape), indexing="ij"), -1).reshape(-1, 3)
    to_theirs = np.linalg.inv(theirs.geometry.affine) @ ours.geometry.affine
    there = index @ to_theirs[:3, :3].T + to_theirs[:3, 3]
    assert_allclose(there, np.round(there), atol=1e-3)
    at = np.round(there).astype(int)
    at = np.ravel_multi_index(tuple(at.T), theirs.geometry.shape)
    assert (np.bincount(at, minlength=len(at)) == 1).all()  # none is compared twice, so all are compared
    assert_allclose(ours.intensities.ravel(), theirs.intensities.ravel()[at], rtol=1e-6)


@pytest.mark.parametrize(
    ("case", "highest"),
    [
        ("generic/compressed_j2k/001", 254),
        ("generic/compressed_jpegls/001", 254),
        ("generic/compressed_rle/001", 254),
        ("generic/compressed_jpeg/001", 254),
        ("philips_enhanced/anatomical/001", 254 * 4.25885225885225),
        ("philips_enhanced/anatomical/001_implicit", 254 * 14.5965811965811),
        ("siemens_multiframe/anatomical/001", 254),
    ],
)
def test_a_published_series_lies_where_an_independent_converter_put_it(case: str, highest: float, dicom_cases: Path):
    if case == "generic/compressed_jpeg/001" and not get_decoder(JPEGLosslessSV1).is_available:
        pytest.skip("JPEG Lossless needs the extra gdcm")
    ours = read_series(dicom_cases / case)
    assert_same_voxels(ours, read_volume(dicom_cases / f"{case}_ground_truth.nii.gz"))
    assert ours.intensities.max() == pytest.approx(highest)


@pytest.mark.parametrize("case", ["philips_enhanced/anatomical/001", "siemens_multiframe/anatomical/001"])
def test_a_published_multi_frame_series_is_one_file_of_eight_frames(case: str, dicom_cases: Path):
    (found,) = find_series(dicom_cases / case)
    series = read_headers(found.files)
    assert len(series.files) == 1
    assert series.frame_numbers is not None
    assert sorted(series.frame_numbers) == list(range(1, 9))
    assert found.slices == series.geometry.shape[0] == 8
    assert found.echo_time_ms == series.echo_time_ms
    assert read_pixels(series).intensities.shape == (8, 256, 256)


@pytest.mark.parametrize(
    ("case", "told"),
    [
        ("failing/gantrytilting/001", r"sheared by 14\.0° \(gantry tilt\)"),
        ("failing/sliceincrement/002", r"1 slice is missing: .* from IM-0001-0003\.dcm to IM-0001-0005\.dcm"),
        ("failing/notavolume/001", r"001\.dcm and 002\.dcm lie at the same place"),
    ],
)
def test_a_published_broken_series_is_refused_with_its_reason(case: str, told: str, dicom_cases: Path):
    with pytest.raises(BadData, match=told) as caught:
        read_series(dicom_cases / case)
    assert "\n" not in str(caught.value)
    (found,) = find_series(dicom_cases / case)
    with pytest.raises(BadData, match=told):
        read_headers(found.files)


def test_one_series_in_four_copies_is_found_four_times(dicom_cases: Path):
    found = find_series(dicom_cases / "generic")
    assert [series.part for series in found] == [
        f"folder compressed_{kind}/001" for kind in ("j2k", "jpeg", "jpegls", "rle")
    ]
    with pytest.raises(BadData, match=r"holds 4 series .*\(4\) series 4: .*compressed_rle/001\. Choose one"):
        read_headers(dicom_cases / "generic")


def test_phases_of_a_real_patient_are_told_apart_by_their_echo_times(chaos_root: Path):
    found = survey(chaos_root / "Train_Sets" / "MR" / "1")
    phases = [series for series in found.series if series.number == 801]
    assert [series.protocol for series in phases] == ["T1DUAL_OutPhase", "T1DUAL_InPhase"]
    assert [series.echo_time_ms for series in phases] == [pytest.approx(2.302, abs=0.01), pytest.approx(4.6, abs=0.1)]
    assert {series.slices for series in phases} == {35}
    assert all(read_headers(series.files).geometry.shape[0] == series.slices for series in found.series)
    masks = len(list((chaos_root / "Train_Sets" / "MR" / "1").rglob("*.png")))
    assert found.left_out == {"not DICOM": masks}
    assert all("CHAOS" not in series.title for series in found.series)

"""Slices lie where their positions say, in an axis order worked out by hand; what is no regular stack is refused."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from pydicom.uid import JPEG2000Lossless, RLELossless

from phantoms import FIRST_POSITION, write_series
from steelyard.errors import BadData
from steelyard.io.dicom_series import image_files, read_headers, read_pixels, read_series

# 4 slices of 3 rows × 5 columns: no two sizes alike; every pixel is unlike the others
PIXELS = np.arange(4 * 3 * 5, dtype=np.uint16).reshape(4, 3, 5)
NAMES = ("a.dcm", "b.dcm", "c.dcm", "d.dcm")


def test_an_axial_series_has_the_grid_that_its_header_says(tmp_path: Path):
    write_series(tmp_path, PIXELS, names=NAMES)  # step 3, rows 2, columns 1 mm; SliceThickness 2.5
    volume = read_series(tmp_path)
    assert_array_equal(volume.intensities, PIXELS)
    assert volume.intensities.dtype == np.float32
    assert volume.geometry.shape == (4, 3, 5)
    assert volume.geometry.spacing_mm == pytest.approx((3, 2, 1))
    # one slice up is +3 in z (to the head), one row down +2 in y (to the back), one column right +1 in x (to the left)
    assert_allclose(volume.geometry.affine, [[0, 0, 1, -10], [0, 2, 0, -20], [3, 0, 0, -30], [0, 0, 0, 1]])
    assert volume.geometry.voxel_ml == pytest.approx(0.006)


def test_pixel_spacing_is_first_between_rows_and_then_between_columns(tmp_path: Path):
    write_series(tmp_path, PIXELS, names=NAMES, pixel_spacing=(0.5, 7.0))
    assert read_series(tmp_path).geometry.spacing_mm == pytest.approx((3, 0.5, 7))


def test_a_coronal_series_runs_along_y(tmp_path: Path):
    # rows run along x, columns down along −z: the normal is x × −z = +y
    write_series(tmp_path, PIXELS, names=NAMES, orientation=(1, 0, 0, 0, 0, -1))
    affine = read_series(tmp_path).geometry.affine
    assert_allclose(affine[:3], [[0, 0, 1, -10], [3, 0, 0, -20], [0, -2, 0, -30]], atol=1e-12)


def test_an_oblique_series_keeps_its_tilt(tmp_path: Path):
    # turned about x by an angle with cosine .8 and sine .6: rows step along (0, .8, .6), the normal is (0, −.6, .8)
    write_series(tmp_path, PIXELS, names=NAMES, orientation=(1, 0, 0, 0, 0.8, 0.6))
    geometry = read_series(tmp_path).geometry
    assert_allclose(geometry.affine[:3], [[0, 0, 1, -10], [-1.8, 1.6, 0, -20], [2.4, 1.2, 0, -30]], atol=1e-12)
    assert geometry.spacing_mm == pytest.approx((3, 2, 1))


def test_positions_rule_over_file_names_and_instance_numbers(tmp_path: Path):
    positions = [(-10, -20, -30 + 3 * k) for k in range(4)]
    write_series(tmp_path, PIXELS[::-1], names=NAMES, positions=positions[::-1])  # a.dcm lies on top
    series = read_headers(tmp_path)
    assert [file.name for file in series.files] == ["d.dcm", "c.dcm", "b.dcm", "a.dcm"]
    assert_array_equal(read_pixels(series).intensities, PIXELS)
    assert_allclose(series.geometry.affine[:3, 3], FIRST_POSITION)


def test_the_order_of_the_given_files_does_not_matter(tmp_path: Path):
    files = write_series(tmp_path, PIXELS, names=NAMES)
    assert_array_equal(read_series([files[2], files[0], files[3], files[1]]).intensities, PIXELS)


def test_rescaled_intensities_are_slope_times_stored_plus_intercept(tmp_path: Path):
    write_series(tmp_path, PIXELS, names=NAMES, RescaleSlope="2", RescaleIntercept="-1000")
    intensities = read_series(tmp_path).intensities
    assert intensities[0, 0, 0] == -1000
    assert intensities[3, 2, 4] == 2 * 59 - 1000


def test_the_highest_stored_value_survives(tmp_path: Path):
    write_series(tmp_path, np.full((2, 3, 5), 65535, np.uint16), names=NAMES[:2])
    assert read_series(tmp_path).intensities.max() == 65535


def test_signed_pixels_keep_their_sign(tmp_path: Path):
    write_series(tmp_path, np.full((2, 3, 5), 65536 - 7, np.uint16), names=NAMES[:2], PixelRepresentation=1)
    assert_array_equal(read_series(tmp_path).intensities, -7)


def test_the_headers_tell_echo_protocol_and_modality(tmp_path: Path):
    write_series(tmp_path, PIXELS, names=NAMES, EchoTime="4.604", ProtocolName="T1DUAL_InPhase")
    series = read_headers(tmp_path)
    assert (series.echo_time_ms, series.protocol, series.modality) == (4.604, "T1DUAL_InPhase", "MR")


def test_a_header_without_echo_time_has_none(tmp_path: Path):
    write_series(tmp_path, PIXELS, names=NAMES, Modality="CT")
    assert read_headers(tmp_path).echo_time_ms is None


def test_run_length_encoded_pixels_are_the_same_pixels(tmp_path: Path):
    for file in write_series(tmp_path, PIXELS, names=NAMES):
        image = pydicom.dcmread(file)
        image.compress(RLELossless, generate_instance_uid=False)
        image.save_as(file)
        assert pydicom.dcmread(file).file_meta.TransferSyntaxUID == RLELossless
    assert_array_equal(read_series(tmp_path).intensities, PIXELS)


def test_lossless_jpeg_2000_pixels_are_the_same_pixels(tmp_path: Path):
    for file in write_series(tmp_path, PIXELS, names=NAMES):
        image, code = pydicom.dcmread(file), io.BytesIO()
        Image.fromarray(image.pixel_array).save(code, format="JPEG2000", no_jp2=True, irreversible=False)
        image.PixelData = pydicom.encaps.encapsulate([code.getvalue()])
        image["PixelData"].VR = "OB"
        image.file_meta.TransferSyntaxUID = JPEG2000Lossless
        image.save_as(file)
    assert_array_equal(read_series(tmp_path).intensities, PIXELS)


def test_a_slight_drift_is_kept_in_the_affine_and_not_straightened(tmp_path: Path):
    positions = [(-10, -20 + 0.02 * k, -30 + 3 * k) for k in range(4)]  # .02/3 = .4°, below the tolerance
    write_series(tmp_path, PIXELS, names=NAMES, positions=positions)
    assert_allclose(read_series(tmp_path).geometry.affine[:3, 0], [0, 0.02, 3])


def test_a_gantry_tilt_is_refused_with_its_angle(tmp_path: Path):
    write_series(tmp_path, PIXELS, names=NAMES, positions=[(-10, -20 + 3 * k, -30 + 3 * k) for k in range(4)])
    with pytest.raises(BadData, match=r"sheared by 45\.0°"):
        read_series(tmp_path)


@pytest.mark.parametrize(
    ("heights", "told"),
    [
        ((0, 3, 9, 12), r"1 slice is missing: 6 mm from b\.dcm to c\.dcm where the step is 3 mm"),
        ((0, 3, 6, 15), r"2 slices are missing: 9 mm from c\.dcm to d\.dcm"),
        ((0, 3, 7, 10), r"unevenly spaced: 4 mm from b\.dcm to c\.dcm where the step is 3 mm"),
        ((0, 3, 3, 6), r"b\.dcm and c\.dcm lie at the same place"),
    ],
)
def test_gaps_are_told_with_their_files(heights: tuple[int, ...], told: str, tmp_path: Path):
    write_series(tmp_path, PIXELS, names=NAMES, positions=[(-10, -20, z) for z in heights])
    with pytest.raises(BadData, match=told):
        read_series(tmp_path)


def test_a_step_that_is_off_by_rounding_is_even(tmp_path: Path):
    write_series(tmp_path, PIXELS, names=NAMES, positions=[(-10, -20, z) for z in (0, 3.01, 6, 9)])
    assert read_series(tmp_path).geometry.spacing_mm[0] == pytest.approx(3)


def test_different_series_in_one_folder_are_refused(tmp_path: Path):
    write_series(tmp_path, PIXELS, names=NAMES, SeriesInstanceUID="1.2.3")
    above = [(-10, -20, -18.0)]
    write_series(tmp_path, PIXELS[:1], names=["z.dcm"], positions=above, SeriesInstanceUID="1.2.4")
    with pytest.raises(BadData, match=r"z\.dcm belongs to another series"):
        read_series(tmp_path)


def test_inverted_brightness_is_refused_where_it_is_no_physical_quantity(tmp_path: Path):
    write_series(tmp_path / "mr", PIXELS, names=NAMES, PhotometricInterpretation="MONOCHROME1")
    with pytest.raises(BadData, match="stores what is bright as low values"):
        read_series(tmp_path / "mr")
    write_series(tmp_path / "ct", PIXELS, names=NAMES, PhotometricInterpretation="MONOCHROME1", Modality="CT")
    assert_array_equal(read_series(tmp_path / "ct").intensities, PIXELS)


def test_colour_images_are_refused(tmp_path: Path):
    write_series(tmp_path, PIXELS, names=NAMES, SamplesPerPixel=3)
    with pytest.raises(BadData, match="'3' colours per pixel"):
        read_series(tmp_path)


def test_errors_about_a_folder_name_the_folder_and_carry_the_file(tmp_path: Path):
    write_series(tmp_path, PIXELS, names=NAMES)
    (tmp_path / "b.dcm").write_bytes(b"no image")
    with pytest.raises(BadData) as caught:
        read_series(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}: b.dcm is not a DICOM file. ")
    assert caught.value.file == tmp_path / "b.dcm"


def test_an_intercept_is_added_where_the_slope_is_one(tmp_path: Path):
    write_series(tmp_path, PIXELS, names=NAMES, RescaleSlope="1", RescaleIntercept="-1024")
    assert_array_equal(read_series(tmp_path).intensities, PIXELS - 1024.0)


@settings(max_examples=60, deadline=None)
@example(place=695, noise=b"\0")  # the type of the pixels
@example(place=1245, noise=b"\0")  # the type of another field
@given(place=st.integers(0, 1500), noise=st.binary(min_size=1, max_size=40))
def test_whatever_bytes_a_file_holds_the_series_is_read_or_refused_in_one_line(
    place: int, noise: bytes, tmp_path_factory: pytest.TempPathFactory
):
    folder = tmp_path_factory.mktemp("noise")
    file = write_series(folder, PIXELS, names=NAMES)[1]
    whole = file.read_bytes()
    file.write_bytes(whole[: place % len(whole)] + noise + whole[place % len(whole) + len(noise) :])
    assert refusal(folder).count("\n") == 0


def refusal(folder: Path) -> str:
    try:
        return f"read as {read_series(folder).intensities.shape}"
    except BadData as error:
        return str(error)


def test_litter_is_no_image(tmp_path: Path):
    write_series(tmp_path, PIXELS, names=NAMES)
    for name in (".DS_Store", "Thumbs.db", "DICOMDIR", "._a.dcm"):
        (tmp_path / name).write_bytes(b"x")
    assert [file.name for file in image_files(tmp_path)] == list(NAMES)

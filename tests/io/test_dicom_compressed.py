"""Compressed and unusually encoded files hold the same numbers; without a decoder they are refused by name."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.testing import assert_array_equal
from openjpeg.utils import encode_array
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from multiframe import write_multiframe
from phantoms import write_series
from steelyard.errors import BadData
from steelyard.io.dicom_series import read_series

NAMES = ("a.dcm", "b.dcm", "c.dcm", "d.dcm")
RNG = np.random.default_rng(3)
PIXELS = RNG.integers(0, 4096, (4, 65, 49)).astype(np.uint16)  # 12 bits in use; odd sizes
LOSSLESS = {"RLE": RLELossless, "JPEG-LS": JPEGLSLossless, "JPEG 2000": JPEG2000Lossless}


@pytest.fixture
def without_gdcm(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the extra `gdcm` is not installed: pydicom moves the plugin to those with missing dependencies."""
    for syntax in (*LOSSLESS.values(), JPEGLosslessSV1, JPEGBaseline8Bit):
        decoder = get_decoder(syntax)
        have, lack = dict(decoder._available), dict(decoder._unavailable)
        if "gdcm" in have:
            del have["gdcm"]
            lack["gdcm"] = ("gdcm>=3.0.10",)
        monkeypatch.setattr(decoder, "_available", have)
        monkeypatch.setattr(decoder, "_unavailable", lack)


def recode(file: Path, syntax: str) -> None:
    """Compressed by pydicom, or encoded otherwise; JPEG 2000 is written by OpenJPEG."""
    data = pydicom.dcmread(file)
    if syntax == JPEG2000Lossless:
        put(file, data, syntax, jpeg_2000)
    elif pydicom.uid.UID(syntax).is_compressed and syntax != DeflatedExplicitVRLittleEndian:
        data.compress(syntax, generate_instance_uid=False)
        data.save_as(file)
    else:
        data.file_meta.TransferSyntaxUID = syntax
        data.decode()  # what was not yet parsed cannot be written in another byte order
        if syntax == ExplicitVRBigEndian:
            data.PixelData = np.frombuffer(data.PixelData, "<u2").astype(">u2").tobytes()
        little, implicit = syntax != ExplicitVRBigEndian, syntax == ImplicitVRLittleEndian
        pydicom.dcmwrite(file, data, little_endian=little, implicit_vr=implicit, force_encoding=True)
    assert pydicom.dcmread(file).file_meta.TransferSyntaxUID == syntax


def put(file: Path, data: pydicom.Dataset, syntax: str, code: Callable[[np.ndarray], bytes]) -> None:
    frames = data.pixel_array.reshape(-1, data.Rows, data.Columns)
    data.PixelData = encapsulate([code(frame) for frame in frames])
    data["PixelData"].VR = "OB"
    data.file_meta.TransferSyntaxUID = syntax
    data.save_as(file)


def jpeg_2000(frame: np.ndarray) -> bytes:
    return encode_array(frame, bits_stored=8 * frame.itemsize, use_mct=False)


def jpeg(frame: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(frame.astype(np.uint8)).save(stream, format="JPEG", quality=95)
    return stream.getvalue()


@pytest.mark.parametrize("syntax", LOSSLESS.values(), ids=LOSSLESS)
@pytest.mark.usefixtures("without_gdcm")
def test_compressed_slices_are_the_same_pixels_without_any_extra(syntax: str, tmp_path: Path):
    for file in write_series(tmp_path, PIXELS, names=NAMES, RescaleSlope="2", RescaleIntercept="-7"):
        recode(file, syntax)
    assert_array_equal(read_series(tmp_path).intensities, PIXELS * 2.0 - 7)


@pytest.mark.parametrize("syntax", LOSSLESS.values(), ids=LOSSLESS)
@pytest.mark.usefixtures("without_gdcm")
def test_compressed_frames_are_the_same_pixels_in_slice_order(syntax: str, tmp_path: Path):
    order = [2, 0, 3, 1]
    positions = [(-10, -20, -30 + 3 * k) for k in order]
    file = write_multiframe(tmp_path / "v.dcm", PIXELS[order], positions=positions)
    recode(file, syntax)
    assert_array_equal(read_series(file).intensities, PIXELS)


@pytest.mark.parametrize("gdcm", [True, False], ids=["with gdcm", "without gdcm"])
@pytest.mark.parametrize("syntax", LOSSLESS.values(), ids=LOSSLESS)
def test_negative_stored_values_survive_compression(
    syntax: str, gdcm: bool, tmp_path: Path, request: pytest.FixtureRequest
):
    if not gdcm:
        request.getfixturevalue("without_gdcm")
    signed = RNG.integers(-2048, 2048, PIXELS.shape).astype(np.int16)
    for file in write_series(tmp_path, signed.view(np.uint16), names=NAMES, PixelRepresentation=1):
        recode(file, syntax)
    assert_array_equal(read_series(tmp_path).intensities, signed)


@pytest.mark.parametrize(
    "syntax",
    [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian],
    ids=["implicit", "big endian", "deflated"],
)
def test_other_encodings_of_plain_pixels_are_the_same_pixels(syntax: str, tmp_path: Path):
    for file in write_series(tmp_path / "slices", PIXELS, names=NAMES):
        recode(file, syntax)
    frames = write_multiframe(tmp_path / "v.dcm", PIXELS)
    recode(frames, syntax)
    for read in (read_series(tmp_path / "slices"), read_series(frames)):
        assert_array_equal(read.intensities, PIXELS)
        assert read.geometry.spacing_mm == pytest.approx((3, 2, 1))


@pytest.mark.usefixtures("without_gdcm")
def test_jpeg_lossless_without_its_decoder_is_refused_by_name_with_the_remedy(tmp_path: Path):
    for file in write_series(tmp_path, PIXELS, names=NAMES):
        put(file, pydicom.dcmread(file), JPEGLosslessSV1, jpeg)
    with pytest.raises(BadData, match=r"a\.dcm is compressed as JPEG Lossless.*Install steelyard\[gdcm\]") as caught:
        read_series(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_lossy_jpeg_is_read_close_to_what_it_was(tmp_path: Path):
    smooth = np.add.outer(np.add.outer(np.arange(4) * 20, np.arange(24) * 4), np.arange(16) * 3).astype(np.uint16)
    for file in write_series(tmp_path, smooth, names=NAMES):
        data = pydicom.dcmread(file)
        pixels = data.pixel_array.astype(np.uint8)
        data.BitsAllocated = data.BitsStored = 8
        data.HighBit = 7
        data.PixelData = encapsulate([jpeg(pixels)])
        data["PixelData"].VR = "OB"
        data.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
        data.save_as(file)
    assert np.abs(read_series(tmp_path).intensities - smooth).max() <= 4


@pytest.mark.usefixtures("without_gdcm")
def test_a_damaged_code_is_refused(tmp_path: Path):
    for file in write_series(tmp_path, PIXELS, names=NAMES):
        put(file, pydicom.dcmread(file), JPEG2000Lossless, lambda frame: jpeg_2000(frame)[:200])
    with pytest.raises(BadData, match=r"a\.dcm: the pixels cannot be decoded.*steelyard\[gdcm\]"):
        read_series(tmp_path)


def test_a_missing_compressed_frame_is_refused(tmp_path: Path):
    file = write_multiframe(tmp_path / "v.dcm", PIXELS)
    data = pydicom.dcmread(file)
    data.PixelData = encapsulate([jpeg_2000(frame) for frame in PIXELS[:3]])
    data["PixelData"].VR = "OB"
    data.file_meta.TransferSyntaxUID = JPEG2000Lossless
    data.save_as(file)
    with pytest.raises(BadData, match=r"v\.dcm.*(decoded|damaged)"):
        read_series(file)


def test_films_are_refused_by_name(tmp_path: Path):
    for file in write_series(tmp_path, PIXELS, names=NAMES):
        data = pydicom.dcmread(file)
        data.PixelData = encapsulate([b"\0\0"])
        data["PixelData"].VR = "OB"
        data.file_meta.TransferSyntaxUID = pydicom.uid.MPEG2MPML
        data.save_as(file)
    with pytest.raises(BadData, match=r"compressed as MPEG2 .* which is not read"):
        read_series(tmp_path)


def test_indices_into_a_palette_are_no_intensities(tmp_path: Path):
    write_series(tmp_path, PIXELS, names=NAMES, PhotometricInterpretation="PALETTE COLOR")
    with pytest.raises(BadData, match="'PALETTE COLOR' pixels, not grey"):
        read_series(tmp_path)


def test_a_table_of_intensities_is_not_passed_over(tmp_path: Path):
    table = pydicom.Dataset()
    table.LUTDescriptor, table.LUTData = [2, 0, 16], bytes([5, 0, 9, 0])
    write_series(tmp_path, PIXELS, names=NAMES, ModalityLUTSequence=[table])
    with pytest.raises(BadData, match="ModalityLUTSequence"):
        read_series(tmp_path)

"""A few hundred damaged files of every kind: each ends in one line or in a right result, in bounded time and memory."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEGLSLossless, RLELossless

from fuzz import worker
from fuzz.run import fuzz, shares
from fuzz.targets import TARGETS, Target
from phantoms import IN_PHASE, write_series
from steelyard.errors import BadData
from steelyard.io import dicom_decode, dicom_file, png_masks
from steelyard.io.code_stream import size_of
from steelyard.io.dicom_series import read_headers, read_series
from steelyard.io.nifti import read_volume, write_volume
from steelyard.io.png_masks import read_masks
from steelyard.labels import CHAOS_MR
from steelyard.volume import Geometry, Volume, check_voxel_count
from warm_process import run_warm

QUICK = [name for name, target in TARGETS.items() if target.share > 1]  # a report takes seconds
INPUTS = 300
PIXELS = np.random.default_rng(2).integers(0, 4096, (3, 40, 30)).astype(np.uint16)
NAMES = ("a.dcm", "b.dcm", "c.dcm")
NOT_DECODED = property(lambda data: pytest.fail("decoded"))


def test_damaged_files_end_in_one_line_or_in_a_right_result(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("STEELYARD_DATA", raising=False)  # the same inputs everywhere
    assert sum(shares(INPUTS, QUICK).values()) >= INPUTS - len(QUICK)
    assert list(fuzz(INPUTS, names=QUICK)) == []


def test_an_input_is_the_same_every_time(tmp_path: Path):
    target = TARGETS["toml"]
    laid = []
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        samples = target.samples(tmp_path / place)
        found = [worker.laid_out(target, samples, n, tmp_path / place / "damaged") for n in range(5)][-1]
        laid.append({file.name: file.read_bytes() for file in found.iterdir()})
    assert laid[0] == laid[1]


def outcome(read, tmp_path: Path) -> worker.Finding | None:
    return worker.outcome(Target("made up", lambda folder: None, read), 7, tmp_path)


def test_what_goes_wrong_is_found(tmp_path: Path):
    def fails(error: BaseException):
        def read(sample: Path) -> None:
            raise error

        found = outcome(read, tmp_path)
        return found and found.what

    def in_vain(sample: Path) -> None:
        try:
            raise MemoryError
        except MemoryError:
            raise BadData("it is damaged") from None

    endless = BadData("x")
    endless.args = ("x" * 5000,)
    two_lines = BadData("x")
    two_lines.args = ("first\nsecond",)
    assert fails(BadData("one line")) is None
    assert fails(KeyError("name")) == "another exception"
    assert fails(SystemExit(3)) == "another exception"
    assert fails(AssertionError()) == "wrong result"
    assert fails(endless) == "a line without end"
    assert fails(two_lines) == "not one line"
    assert outcome(in_vain, tmp_path).what == "memory, reported as damage"


def test_a_process_that_dies_is_a_finding_and_the_next_input_is_read(monkeypatch: pytest.MonkeyPatch):
    died = iter([("at toml/3\nat toml/4\n", "Segmentation fault"), ("at toml/5\nend\n", "")])

    class Process:
        def __init__(self, code: str, name: str, first: int, count: int) -> None:
            assert (first, count) in ((3, 3), (5, 1))

        def communicate(self, seconds: float) -> tuple[str, str]:
            return next(died)

        def wait(self) -> int:
            return -11

    monkeypatch.setattr("fuzz.run.WarmProcess", Process)
    (found,) = fuzz(3, first=3, names=["toml"])
    assert (found.what, found.number) == ("dies", 4)


# What fuzzing found, and what it was meant to find ------------------------------------------------------------------


def compressed(folder: Path, syntax: str, change) -> Path:
    """A series whose frames were changed after their compression."""
    for file in write_series(folder, PIXELS, names=NAMES, **IN_PHASE):
        data = pydicom.dcmread(file)
        data.compress(syntax, generate_instance_uid=False)
        frame = next(pydicom.encaps.generate_frames(data.PixelData, number_of_frames=1))
        data.PixelData = encapsulate([change(bytearray(frame))])
        data.save_as(file)
    return folder


def with_size(pixels: int):
    def change(frame: bytearray) -> bytes:
        at = frame.find(b"\xff\xf7")
        frame[at + 5 : at + 9] = struct.pack(">HH", pixels, pixels)
        return bytes(frame)

    return change


def with_odd_threshold(frame: bytearray) -> bytes:
    """Nonsense for the coder's thresholds, in a marker that JPEG-LS allows for them."""
    at = frame.find(b"\xff\xf8")
    frame[at + 4 : at + 15] = b"\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"
    return bytes(frame)


def test_damaged_jpeg_ls_does_not_end_the_process(tmp_path: Path):
    """GDCM's decoder does, over a frame that claims to be huge."""
    for name, change in (
        ("huge", with_size(60_000)),
        ("cut", lambda frame: bytes(frame[:60])),
        ("noise", lambda frame: bytes(frame[:40]) + bytes(range(256)) * 3),
        ("thresholds", with_odd_threshold),
    ):
        folder = compressed(tmp_path / name, JPEGLSLossless, change)
        code = (
            "import sys; from pathlib import Path; from steelyard.io.dicom_series import read_series\n"
            "from steelyard.errors import BadData\n"
            "try: read_series(Path(sys.argv[1]))\nexcept BadData as error: print(error)"
        )
        done = run_warm(code, folder, timeout=60)
        assert (done.returncode, len(done.stdout.splitlines())) == (0, 1), (name, done.stderr)


def test_gdcm_is_asked_last():
    for syntax in (JPEGLSLossless, pydicom.uid.JPEG2000Lossless):
        decoder = pydicom.pixels.get_decoder(syntax)
        if "gdcm" in decoder.available_plugins:
            assert dicom_decode._plugin(decoder) != "gdcm"


def test_a_compressed_image_of_another_size_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = compressed(tmp_path / "a", JPEGLSLossless, with_size(39))
    monkeypatch.setattr(pydicom.Dataset, "pixel_array", NOT_DECODED)
    with pytest.raises(BadData, match="cannot be decoded"):
        read_series(folder)


def test_a_code_stream_says_its_size():
    siz = struct.pack(">HHHHIIII4IH", 0xFF4F, 0xFF51, 41, 0, 33, 44, 3, 4, 30, 40, 0, 0, 1)
    assert size_of(b"jP  box" + siz + b"\0" * 9) == (40, 30, 1)
    fill = b"\xff\xd8\xff\xe0\0\x04ab\xff"  # an application's segment and a fill byte
    assert size_of(fill + struct.pack(">BBHBHHB", 0xFF, 0xC3, 11, 16, 50, 70, 3)) == (50, 70, 3)
    for odd in (b"", b"\xff\xd8", b"\xff\xd8\xff\xda\0\4ab", b"noise" * 9):
        with pytest.raises((ValueError, struct.error)):
            size_of(odd)


def test_run_lengths_that_cannot_fill_the_image_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = compressed(tmp_path / "a", RLELossless, lambda frame: bytes(frame[:64]) + b"\x81\0" * 4)
    for file in folder.iterdir():
        data = pydicom.dcmread(file)
        data.Rows = data.Columns = 8000
        data.save_as(file)
    monkeypatch.setattr(pydicom.Dataset, "pixel_array", NOT_DECODED)
    with pytest.raises(BadData, match="cannot be decoded"):
        read_series(folder)


def test_a_deflated_file_may_not_swell_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for file in write_series(tmp_path / "a", np.zeros_like(PIXELS), names=NAMES, **IN_PHASE):
        data = pydicom.dcmread(file)
        data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        data.save_as(file)
    assert read_series(tmp_path / "a").intensities.shape == (3, 40, 30)
    monkeypatch.setattr(dicom_file, "MOST_INFLATED", 2000)
    with pytest.raises(BadData, match="is deflated and holds more than"):
        read_series(tmp_path / "a")


def test_a_claimed_length_takes_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An element that says that it holds 4 GB, in a file of a few kB."""
    for file in write_series(tmp_path / "a", PIXELS, names=NAMES, **IN_PHASE):
        content = file.read_bytes()
        at = content.find(b"\xe0\x7f\x10\0OW")
        file.write_bytes(content[: at + 8] + struct.pack("<I", 2**32 - 2) + content[at + 12 :])
    asked: list[int] = []
    size = (tmp_path / "a" / "a.dcm").stat().st_size

    class Watched(dicom_file._File):
        def read(self, wanted: int | None = -1, /) -> bytes:
            found = super().read(wanted)
            asked.append(len(found))
            return found

    monkeypatch.setattr(dicom_file, "_File", Watched)
    monkeypatch.setattr(dicom_file, "SMALL", -1)  # read from the disk, as large files are
    assert np.array_equal(read_series(tmp_path / "a").intensities, PIXELS)  # what is there is all that was claimed
    monkeypatch.undo()
    assert 0 < max(asked) <= size
    with dicom_file._File(tmp_path / "a" / "a.dcm") as opened:
        assert len(opened.read(2**40)) == size  # 1 TB at once would fail


def test_images_without_end_are_refused_by_their_size_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    png = tmp_path / "a.png"
    Image.fromarray(np.zeros((30, 40), np.uint8)).save(png)
    assert read_masks([png], CHAOS_MR).shape == (1, 30, 40)
    monkeypatch.setattr(png_masks, "MOST_PIXELS", 30 * 40 - 1)
    with pytest.raises(BadData, match=r"a\.png is not a whole PNG"):
        read_masks([png], CHAOS_MR)

    nifti = tmp_path / "a.nii"
    write_volume(nifti, Volume(np.zeros((2, 3, 4), np.float32), Geometry((2, 3, 4), np.eye(4))))
    content = bytearray(nifti.read_bytes())
    content[42:48] = struct.pack("<3h", 4000, 4000, 4000)
    nifti.write_bytes(content)
    with pytest.raises(BadData, match="4000 × 4000 × 4000 voxels are more than"):
        read_volume(nifti)

    for file in write_series(tmp_path / "b", PIXELS, names=NAMES, **IN_PHASE):
        data = pydicom.dcmread(file)
        data.Rows = data.Columns = 65_535
        data.save_as(file)
    with pytest.raises(BadData, match="65535 × 65535 pixels where 1 to"):
        read_headers(tmp_path / "b")


def test_the_largest_volume_is_that_of_a_long_scan():
    check_voxel_count((2048, 512, 512))
    with pytest.raises(BadData):
        check_voxel_count((2049, 512, 512))

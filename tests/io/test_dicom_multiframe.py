"""A file that holds a volume is read as the same volume as its slices would be; what is no one volume is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from multiframe import write_multiframe
from phantoms import write_series
from steelyard.errors import BadData
from steelyard.io.dicom_series import read_headers, read_pixels, read_series

# 4 frames of 3 rows × 5 columns, every pixel unlike the others
PIXELS = np.arange(4 * 3 * 5, dtype=np.uint16).reshape(4, 3, 5)
NAMES = ("a.dcm", "b.dcm", "c.dcm", "d.dcm")


def echoes(*times_ms: float) -> list[dict]:
    return [{"MREchoSequence": {"EffectiveEchoTime": time}} for time in times_ms]


def content(**fields: list) -> list[dict]:
    return [{"FrameContentSequence": dict(zip(fields, row, strict=True))} for row in zip(*fields.values(), strict=True)]


def test_an_axial_file_has_the_grid_that_its_frames_say(tmp_path: Path):
    volume = read_series(write_multiframe(tmp_path / "v.dcm", PIXELS))  # step 3, rows 2, columns 1 mm
    assert_array_equal(volume.intensities, PIXELS)
    assert volume.intensities.dtype == np.float32
    assert volume.geometry.spacing_mm == pytest.approx((3, 2, 1))
    assert_allclose(volume.geometry.affine, [[0, 0, 1, -10], [0, 2, 0, -20], [3, 0, 0, -30], [0, 0, 0, 1]])


def test_an_oblique_file_is_the_volume_of_its_slices(tmp_path: Path):
    tilted = {"orientation": (1, 0, 0, 0, 0.8, 0.6), "pixel_spacing": (2.0, 1.0), "step_mm": 3.0}
    write_series(tmp_path / "slices", PIXELS, names=NAMES, **tilted)
    ours, slices = read_series(write_multiframe(tmp_path / "v.dcm", PIXELS, **tilted)), read_series(tmp_path / "slices")
    assert_allclose(ours.geometry.affine[:3], [[0, 0, 1, -10], [-1.8, 1.6, 0, -20], [2.4, 1.2, 0, -30]], atol=1e-12)
    assert ours.geometry.same_grid(slices.geometry, tolerance_mm=1e-9)
    assert_array_equal(ours.intensities, slices.intensities)


def test_frames_lie_where_their_positions_say_and_not_where_their_numbers_do(tmp_path: Path):
    order = [2, 0, 3, 1]  # frame 1 is slice 2 …
    positions = [(-10, -20, -30 + 3 * k) for k in order]
    stack = content(StackID=["1"] * 4, InStackPositionNumber=[1, 2, 3, 4])  # and their stack numbers are wrong
    file = write_multiframe(tmp_path / "v.dcm", PIXELS[order], positions=positions, frames=stack)
    series = read_headers(file)
    assert series.files == (file,)
    assert series.frame_numbers == (2, 4, 1, 3)
    assert_array_equal(read_pixels(series).intensities, PIXELS)
    assert_allclose(series.geometry.affine[:3, 3], (-10, -20, -30))


def test_single_frame_series_have_no_frame_numbers(tmp_path: Path):
    write_series(tmp_path, PIXELS, names=NAMES)
    assert read_headers(tmp_path).frame_numbers is None


def test_every_frame_is_rescaled_by_its_own_slope_and_intercept(tmp_path: Path):
    order = [1, 0, 2, 3]
    scale = [(2, -5), (0.5, 1), (3, 0), (10, 7)]  # of frames, not of slices
    frames = [{"PixelValueTransformationSequence": {"RescaleSlope": a, "RescaleIntercept": b}} for a, b in scale]
    positions = [(-10, -20, -30 + 3 * k) for k in order]
    file = write_multiframe(tmp_path / "v.dcm", PIXELS[order], positions=positions, frames=frames)
    wanted = [PIXELS[0] * 0.5 + 1, PIXELS[1] * 2.0 - 5, PIXELS[2] * 3.0, PIXELS[3] * 10.0 + 7]
    assert_allclose(read_series(file).intensities, wanted)


def test_a_shared_rescale_holds_for_all_frames(tmp_path: Path):
    shared = {"PixelValueTransformationSequence": {"RescaleSlope": 4, "RescaleIntercept": -100}}
    assert_allclose(
        read_series(write_multiframe(tmp_path / "v.dcm", PIXELS, shared=shared)).intensities, PIXELS * 4.0 - 100
    )


def test_a_frames_own_groups_rule_over_the_shared_ones(tmp_path: Path):
    own = [{"PixelMeasuresSequence": {"PixelSpacing": [0.5, 7]}}] * 4
    assert read_series(write_multiframe(tmp_path / "v.dcm", PIXELS, frames=own)).geometry.spacing_mm == (3, 0.5, 7)


def test_the_echo_time_is_the_frames_effective_one(tmp_path: Path):
    file = write_multiframe(tmp_path / "v.dcm", PIXELS, frames=echoes(4.6, 4.61, 4.6, 4.6), ProtocolName="mDIXON")
    series = read_headers(file)
    assert (series.echo_time_ms, series.protocol, series.modality) == (4.6, "mDIXON", "MR")


def test_without_one_it_is_the_echo_time_of_the_file(tmp_path: Path):
    assert read_headers(write_multiframe(tmp_path / "v.dcm", PIXELS, EchoTime="70")).echo_time_ms == 70


def test_a_folder_of_files_with_one_frame_each_is_a_series(tmp_path: Path):
    for k in range(4):
        frame = [{"PixelValueTransformationSequence": {"RescaleSlope": k + 1, "RescaleIntercept": 0}}]
        place = [(-10, -20, -30 + 3 * k)]
        write_multiframe(tmp_path / f"{9 - k}.dcm", PIXELS[k : k + 1], positions=place, frames=frame)
    series = read_headers(tmp_path)
    assert series.frame_numbers is None
    assert [file.name for file in series.files] == ["9.dcm", "8.dcm", "7.dcm", "6.dcm"]
    assert_allclose(read_pixels(series).intensities, PIXELS * np.array([1.0, 2, 3, 4])[:, None, None])


@pytest.mark.parametrize(
    ("heights", "told"),
    [
        ((0, 3, 9, 12), r"1 slice is missing: 6 mm from frame 2 of v\.dcm to frame 3 of v\.dcm"),
        ((0, 3, 7, 10), r"unevenly spaced: 4 mm from frame 2 of v\.dcm"),
        ((0, 3, 3, 6), r"frame 2 of v\.dcm and frame 3 of v\.dcm lie at the same place"),
    ],
)
def test_gaps_are_told_with_their_frames(heights: tuple[int, ...], told: str, tmp_path: Path):
    file = write_multiframe(tmp_path / "v.dcm", PIXELS, positions=[(-10, -20, -30 + z) for z in heights])
    with pytest.raises(BadData, match=told):
        read_series(file)


def test_a_sheared_stack_of_frames_is_refused(tmp_path: Path):
    positions = [(-10, -20 + 3 * k, -30 + 3 * k) for k in range(4)]
    with pytest.raises(BadData, match=r"sheared by 45\.0°"):
        read_series(write_multiframe(tmp_path / "v.dcm", PIXELS, positions=positions))


@pytest.mark.parametrize(
    ("frames", "told"),
    [
        (echoes(2.3, 4.6, 2.3, 4.6), r"echo times: 2\.3 ms \(2 frames\), 4\.6 ms \(2 frames\)"),
        (content(StackID=["1", "1", "2", "2"]), r"stacks: 1 \(2 frames\), 2 \(2 frames\)"),
        (content(TemporalPositionIndex=[1, 1, 1, 2]), r"temporal positions: 1 \(3 frames\), 2 \(1 frame\)"),
        (
            [{"MRImageFrameTypeSequence": {"ComplexImageComponent": part}} for part in ("MAGNITUDE", "PHASE") * 2],
            r"signal parts: MAGNITUDE \(2 frames\), PHASE \(2 frames\)",
        ),
        ([{"MRDiffusionSequence": {"DiffusionBValue": b}} for b in (0.0, 0.0, 500.0, 500.0)], "b-values: 0.*500"),
        ([{"MRModifierSequence": {"InversionTimes": t}} for t in (0.0, 0.0, 90.0, 90.0)], "inversion times: 0.*90"),
        (
            [{"MRImageFrameTypeSequence": {"FrameType": ["DERIVED", "PRIMARY", "T1", kind]}} for kind in "WFWF"],
            "frame types: .*W.*F",
        ),
    ],
)
def test_a_file_of_several_volumes_says_by_what_they_differ(frames: list[dict], told: str, tmp_path: Path):
    """Also where the places of all frames together make one even stack."""
    with pytest.raises(BadData, match=rf"v\.dcm holds several volumes, which differ in {told}") as caught:
        read_series(write_multiframe(tmp_path / "v.dcm", PIXELS, frames=frames))
    assert "\n" not in str(caught.value)
    assert "CHAOS" not in str(caught.value)  # the patient's name


def test_frames_turned_unlike_the_others_are_refused(tmp_path: Path):
    turned = [{}, {}, {}, {"PlaneOrientationSequence": {"ImageOrientationPatient": [0, 1, 0, 1, 0, 0]}}]
    with pytest.raises(BadData, match=r"frame 4 of v\.dcm is oriented unlike"):
        read_series(write_multiframe(tmp_path / "v.dcm", PIXELS, frames=turned))


def test_a_frame_that_nobody_describes_is_missed(tmp_path: Path):
    file = write_multiframe(tmp_path / "v.dcm", PIXELS)
    data = pydicom.dcmread(file)
    del data.PerFrameFunctionalGroupsSequence[2]
    data.save_as(file)
    with pytest.raises(BadData, match="4 frames but describes 3"):
        read_series(file)


def test_frames_without_places_are_refused(tmp_path: Path):
    write_series(tmp_path, PIXELS[:1], names=NAMES[:1], NumberOfFrames=4)
    with pytest.raises(BadData, match=r"a\.dcm is multi-frame \(4 frames\) and does not say where each frame lies"):
        read_series(tmp_path)


def test_a_frame_without_a_place_is_named(tmp_path: Path):
    file = write_multiframe(tmp_path / "v.dcm", PIXELS)
    data = pydicom.dcmread(file)
    del data.PerFrameFunctionalGroupsSequence[2].PlanePositionSequence
    data.save_as(file)
    with pytest.raises(BadData, match=r"frame 3 of v\.dcm has no ImagePositionPatient"):
        read_series(file)


def test_pixels_that_end_early_are_refused(tmp_path: Path):
    file = write_multiframe(tmp_path / "v.dcm", PIXELS)
    data = pydicom.dcmread(file)
    data.PixelData = data.PixelData[:90]  # of 4 × 3 × 5 × 2
    data.save_as(file)
    with pytest.raises(BadData, match="90 of 120 bytes"):
        read_series(file)


def test_a_multi_frame_file_among_others_is_told(tmp_path: Path):
    write_series(tmp_path, PIXELS, names=NAMES)
    file = write_multiframe(tmp_path / "v.dcm", PIXELS)
    with pytest.raises(BadData, match=r"v\.dcm is multi-frame and holds a volume of its own"):
        read_headers([*(tmp_path / name for name in NAMES), file])


def test_objects_drawn_on_scans_are_no_scans(tmp_path: Path):
    with pytest.raises(BadData, match=r"v\.dcm is a SEG object, not a scan"):
        read_series(write_multiframe(tmp_path / "v.dcm", PIXELS, Modality="SEG"))


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_a_converted_series_is_the_series_that_it_was_converted_from(syntax: str, tmp_path: Path):
    """highdicom converts; it keeps the echo time and other fields among the unassigned attributes."""
    from highdicom.legacy import LegacyConvertedEnhancedMRImage

    files = write_series(
        tmp_path / "slices",
        PIXELS,
        names=NAMES,
        orientation=(1, 0, 0, 0, 0.8, 0.6),
        EchoTime="4.6",
        RescaleSlope="2",
        RescaleIntercept="-30",
        ImageType=["ORIGINAL", "PRIMARY", "M", "ND"],
        SeriesInstanceUID="1.2.3",
        StudyInstanceUID="1.2",
        FrameOfReferenceUID="1.2.4",
    )
    sources = [pydicom.dcmread(file) for file in files]
    converted = LegacyConvertedEnhancedMRImage(
        sources[::-1], "1.2.5", 7, "1.2.6", 1, strict=False, include_dimension_index=False, transfer_syntax_uid=syntax
    )
    converted.save_as(tmp_path / "v.dcm")
    ours, slices = read_headers(tmp_path / "v.dcm"), read_headers(tmp_path / "slices")
    assert ours.frame_numbers == (4, 3, 2, 1)
    assert (ours.echo_time_ms, ours.modality) == (4.6, "MR")
    assert ours.geometry.same_grid(slices.geometry, tolerance_mm=1e-9)
    assert_array_equal(read_pixels(ours).intensities, read_pixels(slices).intensities)


@settings(max_examples=60, deadline=None)
@given(place=st.integers(0, 3000), noise=st.binary(min_size=1, max_size=40))
def test_whatever_bytes_it_holds_a_multi_frame_file_is_read_or_refused_in_one_line(
    place: int, noise: bytes, tmp_path_factory: pytest.TempPathFactory
):
    file = write_multiframe(tmp_path_factory.mktemp("noise") / "v.dcm", PIXELS, frames=echoes(4.6, 4.6, 4.6, 4.6))
    whole = file.read_bytes()
    file.write_bytes(whole[: place % len(whole)] + noise + whole[place % len(whole) + len(noise) :])
    assert "\n" not in refusal(file)


def refusal(file: Path) -> str:
    try:
        return f"read as {read_series(file).intensities.shape}"
    except BadData as error:
        return str(error)

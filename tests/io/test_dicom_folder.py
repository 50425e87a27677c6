"""Whatever lies in a folder, each series is found once, under a line without its patient, and the rest is counted."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from multiframe import write_multiframe
from phantoms import write_chaos_patient, write_series
from steelyard.errors import BadData
from steelyard.io.dicom_folder import find_series, survey
from steelyard.io.dicom_series import read_headers, read_series

PIXELS = np.arange(4 * 3 * 5, dtype=np.uint16).reshape(4, 3, 5)
NAMES = ("a.dcm", "b.dcm", "c.dcm", "d.dcm")
SERIES = {"SeriesInstanceUID": "1.2.3", "SeriesNumber": "7"}


def titles(folder: Path) -> list[str]:
    return [series.title for series in find_series(folder)]


def test_a_series_is_found_with_what_its_headers_say(tmp_path: Path):
    files = write_series(
        *(tmp_path / "deep" / "er", PIXELS),
        names=NAMES,
        EchoTime="4.604",
        SeriesDescription="T1 dual",
        ProtocolName="T1DUAL",
        **SERIES,
    )
    (found,) = find_series(tmp_path)
    assert sorted(found.files) == sorted(files)
    assert (found.description, found.protocol, found.modality, found.number) == ("T1 dual", "T1DUAL", "MR", 7)
    assert (found.echo_time_ms, found.slices, found.plane, found.size) == (4.604, 4, "axial", (3, 5))
    assert found.title == "series 7: T1 dual, MR, axial, 4 slices of 3 × 5, echo time 4.6 ms"
    assert_array_equal(read_series(found.files).intensities, PIXELS)


@pytest.mark.parametrize(
    ("orientation", "plane"),
    [((1, 0, 0, 0, 0.8, 0.6), "axial"), ((1, 0, 0, 0, 0, -1), "coronal"), ((0, 1, 0, 0, 0, -1), "sagittal")],
)
def test_the_plane_is_the_nearest_one(orientation: tuple[float, ...], plane: str, tmp_path: Path):
    write_series(tmp_path, PIXELS, names=NAMES, orientation=orientation)
    assert find_series(tmp_path)[0].plane == plane


def test_phases_that_share_their_series_are_told_apart_by_echo_time(tmp_path: Path):
    """Also when their files lie in one folder. Echo times of one echo may differ by rounding."""
    places = [(-10, -20, -30 + 3 * k) for k in range(4)]
    for k, (echo, name) in enumerate([("4.60", "i"), ("2.30", "o")] * 4):
        near = echo if k < 4 else f"{float(echo) + 0.04:.2f}"
        write_series(
            tmp_path,
            PIXELS[k // 2 : k // 2 + 1],
            names=[f"{name}{k}"],
            positions=[places[k // 2]],
            EchoTime=near,
            **SERIES,
        )
    out, inside = find_series(tmp_path)
    assert [round(series.echo_time_ms or 0, 1) for series in (out, inside)] == [2.3, 4.6]
    assert [{file.name[0] for file in series.files} for series in (out, inside)] == [{"o"}, {"i"}]
    assert_array_equal(read_series(inside.files).intensities, PIXELS)


def test_patients_with_blank_identifiers_are_not_mixed(tmp_path: Path):
    for number in (1, 2):
        write_chaos_patient(tmp_path, number)
    found = find_series(tmp_path)
    assert len(found) == 6
    for series in found:
        assert len({file.parent for file in series.files}) == 1
        assert read_headers(series.files).geometry.shape[0] == series.slices


def test_other_orientations_and_sizes_are_other_series(tmp_path: Path):
    write_series(tmp_path, PIXELS, names=NAMES, **SERIES)
    write_series(tmp_path, PIXELS, names=[f"t{n}" for n in NAMES], orientation=(1, 0, 0, 0, 0, -1), **SERIES)
    write_series(tmp_path, PIXELS[:, :2], names=[f"s{n}" for n in NAMES], **SERIES)
    assert sorted((series.plane, series.size) for series in find_series(tmp_path)) == [
        ("axial", (2, 5)),
        ("axial", (3, 5)),
        ("coronal", (3, 5)),
    ]


@pytest.mark.parametrize(
    ("field", "values", "told"),
    [
        ("ImageType", (["ORIGINAL", "PRIMARY", "W"], ["ORIGINAL", "PRIMARY", "F"]), r"image type ORIGINAL\PRIMARY\W"),
        ("TemporalPositionIdentifier", ("1", "2"), "temporal position 1"),
        ("AcquisitionNumber", ("5", "6"), "acquisition 5"),
    ],
)
def test_volumes_at_the_same_places_are_parted_by_what_parts_them(field: str, values: tuple, told: str, tmp_path: Path):
    write_series(tmp_path, PIXELS, names=NAMES, **SERIES, **{field: values[0]})
    write_series(tmp_path, PIXELS + 100, names=[f"z{n}" for n in NAMES], **SERIES, **{field: values[1]})
    found = find_series(tmp_path)
    assert len(found) == 2
    (first,) = [series for series in found if series.title.endswith(told)]
    assert_array_equal(read_series(first.files).intensities, PIXELS)


def test_one_volume_whose_slices_differ_in_image_type_stays_whole(tmp_path: Path):
    for k in range(4):
        write_series(
            *(tmp_path, PIXELS[k : k + 1]),
            names=[NAMES[k]],
            positions=[(-10, -20, -30 + 3 * k)],
            ImageType=["ORIGINAL", "PRIMARY", "MW"[k // 2]],
            **SERIES,
        )
    assert [series.slices for series in find_series(tmp_path)] == [4]


def test_a_repeated_slice_stays_in_its_series_and_is_refused(tmp_path: Path):
    write_series(tmp_path, PIXELS, names=NAMES, **SERIES)
    write_series(tmp_path, PIXELS[:1], names=["copy.dcm"], AcquisitionNumber="9", **SERIES)
    (found,) = find_series(tmp_path)
    assert len(found.files) == 5
    with pytest.raises(BadData, match="lie at the same place"):
        read_headers(found.files)


def test_blank_series_in_two_folders_are_two_series(tmp_path: Path):
    for name, height in (("upper", 300), ("lower", 0)):
        places = [(-10, -20, height + 3 * k) for k in range(4)]
        write_series(tmp_path / name, PIXELS, names=NAMES, positions=places)
    assert sorted(series.files[0].parent.name for series in find_series(tmp_path)) == ["lower", "upper"]


def test_multi_frame_files_are_a_series_each(tmp_path: Path):
    for name, echo in (("u.dcm", 2.3), ("v.dcm", 2.3), ("w.dcm", 4.6)):
        frames = [{"MREchoSequence": {"EffectiveEchoTime": echo}}] * 4
        write_multiframe(tmp_path / name, PIXELS, frames=frames, SeriesNumber=3, ProtocolName="mDIXON")
    assert titles(tmp_path) == [
        "series 3: mDIXON, MR, axial, 4 slices of 3 × 5, echo time 2.3 ms, file u.dcm",
        "series 3: mDIXON, MR, axial, 4 slices of 3 × 5, echo time 2.3 ms, file v.dcm",
        "series 3: mDIXON, MR, axial, 4 slices of 3 × 5, echo time 4.6 ms, file w.dcm",
    ]
    assert [series.files[0].name for series in find_series(tmp_path)] == ["u.dcm", "v.dcm", "w.dcm"]
    assert [read_headers(series.files).frame_numbers for series in find_series(tmp_path)] == [(1, 2, 3, 4)] * 3


def test_whatever_is_left_out_is_counted_by_its_kind(tmp_path: Path):
    write_series(tmp_path, PIXELS, names=NAMES, **SERIES)
    write_series(tmp_path / "loc", PIXELS[:3], names=NAMES[:3], ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    write_series(tmp_path / "one", PIXELS[:1], names=NAMES[:1], SeriesInstanceUID="1.9")
    write_series(tmp_path / "rgb", PIXELS[:1], names=NAMES[:1], SamplesPerPixel=3)
    write_multiframe(tmp_path / "seg.dcm", PIXELS, Modality="SEG")
    for k, modality in enumerate(("RTSTRUCT", "SR", "PR", "SR")):
        write_series(tmp_path / "objects", PIXELS[:1], names=[f"{k}.dcm"], Modality=modality)
    write_series(tmp_path / "film", PIXELS[:1], names=NAMES[:1], NumberOfFrames=9)
    write_series(tmp_path / "lost", PIXELS[:1], names=NAMES[:1], ImageOrientationPatient=None)
    (tmp_path / "read.me").write_text("DICOM?")
    (tmp_path / ".DS_Store").write_bytes(b"\0" * 500)
    os.mkfifo(tmp_path / "pipe.dcm")  # reading it would never end
    found = survey(tmp_path)
    assert [len(series.files) for series in found.series] == [4]
    assert found.left_out == {
        "localizer image": 3,
        "single image": 1,
        "colour image": 1,
        "SEG": 1,
        "RTSTRUCT": 1,
        "SR": 2,
        "PR": 1,
        "multi-frame without places": 1,
        "image without its place in the patient": 1,
        "not DICOM": 3,
    }
    assert found.left_out_line.startswith("left out: 1 × PR, 1 × RTSTRUCT, 1 × SEG, 2 × SR, ")


def test_an_empty_folder_holds_no_series_and_leaves_nothing_out(tmp_path: Path):
    found = survey(tmp_path)
    assert (found.series, found.left_out_line) == ((), "")


def test_a_missing_folder_is_named(tmp_path: Path):
    with pytest.raises(BadData, match="nowhere cannot be read"):
        find_series(tmp_path / "nowhere")


@pytest.mark.parametrize("said", ["T1 Meier", "MEIER liver", "for 4711-2"])
def test_a_title_never_holds_the_patient(said: str, tmp_path: Path):
    who = {"PatientName": "Meier^Anna=x", "PatientID": "4711-2"}
    write_series(
        tmp_path, PIXELS, names=NAMES, SeriesDescription=said, ProtocolName="T1\nDUAL\x1b[31m", **who, **SERIES
    )
    (title,) = titles(tmp_path)
    assert title == "series 7: T1 DUAL [31m, MR, axial, 4 slices of 3 × 5"


def test_a_folder_of_several_series_is_refused_with_their_titles(tmp_path: Path):
    write_series(tmp_path, PIXELS, names=NAMES, EchoTime="2.3", ProtocolName="T1 out", **SERIES)
    write_series(tmp_path, PIXELS, names=[f"i{n}" for n in NAMES], EchoTime="4.6", ProtocolName="T1 in", **SERIES)
    with pytest.raises(BadData) as caught:
        read_headers(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} holds 2 series where one is wanted: (1) series 7: T1 out, MR, axial, 4 slices of 3 × 5, echo time "
        "2.3 ms; (2) series 7: T1 in, MR, axial, 4 slices of 3 × 5, echo time 4.6 ms. Choose one: give its files, or a "
        "folder that holds it alone."
    )


def test_a_folder_of_folders_is_refused_with_the_titles_of_all_below(tmp_path: Path):
    for k in range(15):
        write_series(tmp_path / f"{k}", PIXELS, names=NAMES, SeriesInstanceUID=f"1.2.{k}", SeriesNumber=str(k))
    with pytest.raises(BadData, match=r"holds 15 series .*\(12\) series 11: .*; and 3 more\. Choose one"):
        read_headers(tmp_path)


def test_pixels_are_not_read_to_find_a_series(tmp_path: Path):
    (first,) = write_series(tmp_path, np.zeros((1, 500, 500), np.uint16), names=["0.dcm"])
    header = first.read_bytes()[:-500_000]  # it promises 500 000 bytes of pixels, which are not there
    for k in range(200):
        (tmp_path / f"{k}.dcm").write_bytes(header)
    (found,) = find_series(tmp_path)
    assert found.slices == 200

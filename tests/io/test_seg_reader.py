"""SEG files of other tools, read: frames left out, other encodings, other grids; what is no label map is refused."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from pydicom.sr.codedict import codes
from pydicom.uid import JPEGLSLossless, RLELossless

from scans import LAYOUTS, knotty_labels, write_scan
from steelyard.errors import BadData
from steelyard.io.dicom_seg import read_seg
from steelyard.io.dicom_series import Series, read_headers
from steelyard.labels import CodedConcept
from steelyard.volume import Geometry

LAYOUT = LAYOUTS["oblique"]  # 4.5 mm from slice to slice
NAMES = ("Liver (all)", "Tumour 2")


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Series:
    return write_scan(tmp_path_factory.mktemp("scan"), LAYOUT)


def write_by_highdicom(
    path: Path,
    scan: Series,
    pixels: np.ndarray,
    kind: str = "BINARY",
    change: Callable[[pydicom.Dataset], None] | None = None,
    **options: object,
) -> Path:
    """Segments 1 and 2 as highdicom writes them: empty frames are left out."""
    algorithm = hd.AlgorithmIdentificationSequence("other", codes.DCM.ArtificialIntelligence, "1")
    described = [
        hd.seg.SegmentDescription(
            number,
            name,
            codes.SCT.AnatomicalStructure,
            codes.SCT.Liver,
            hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm,
        )
        for number, name in enumerate(NAMES, 1)
    ]
    content = hd.seg.Segmentation(
        [pydicom.dcmread(file) for file in scan.files],
        pixels,
        kind,
        described,
        hd.UID(),
        7,
        hd.UID(),
        1,
        "Other",
        "other",
        "1",
        "1",
        **options,
    )
    if change is not None:
        change(content)
    content.save_as(path, enforce_file_format=True)
    return path


def in_slices(*slices: int) -> np.ndarray:
    """Two organs in some slices, unlike each other; no other slice has a frame."""
    labels = knotty_labels(LAYOUT.shape)[[2] * LAYOUT.shape[0]]
    labels[[k for k in range(len(labels)) if k not in slices]] = 0
    for k in slices:
        labels[k, 7, k + 1] = 2
    return labels


def states(**measures: str | None) -> Callable[[pydicom.Dataset], None]:
    """A change of what the file says of its slices' spacing."""

    def change(content: pydicom.Dataset) -> None:
        item = content.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
        for keyword, value in measures.items():
            if value is None:
                item.pop(keyword, None)
            else:
                setattr(item, keyword, value)

    return change


def test_slices_without_a_frame_are_empty(scan: Series, tmp_path: Path):
    labels = in_slices(1, 2, 4)
    path = write_by_highdicom(tmp_path / "seg.dcm", scan, labels)
    assert pydicom.dcmread(path).NumberOfFrames == 6  # both organs in three slices
    label_map = read_seg(path)
    assert_array_equal(label_map.labels, labels[1:5])
    assert_allclose(label_map.geometry.affine @ [0, 0, 0, 1], scan.geometry.affine @ [1, 0, 0, 1], atol=1e-6)
    assert label_map.geometry.spacing_mm == pytest.approx((4.5, 0.75, 1.1))


@pytest.mark.parametrize(
    ("slices", "stated", "step_mm"),
    [
        ((0, 2, 5), {}, 4.5),  # as stated, though no two frames are neighbours
        ((0, 2, 4), {}, 4.5),  # every second slice
        ((0, 1, 3), {"SpacingBetweenSlices": None}, 4.5),  # the smallest gap
        ((0, 1, 3), {"SpacingBetweenSlices": "6"}, 4.5),  # a step that divides no gap is not believed
        ((0, 1, 2), {"SpacingBetweenSlices": "0.5", "SliceThickness": "4"}, 4.5),  # the room between slices
        ((0, 1, 2), {"SpacingBetweenSlices": "1.5", "SliceThickness": "3"}, 4.5),  # the same
        ((3,), {}, 4.5),
        ((3,), {"SpacingBetweenSlices": None, "SliceThickness": "6.5"}, 6.5),
    ],
)
def test_the_step_is_found(
    scan: Series, slices: tuple[int, ...], stated: dict[str, str | None], step_mm: float, tmp_path: Path
):
    labels = in_slices(*slices)
    label_map = read_seg(write_by_highdicom(tmp_path / "seg.dcm", scan, labels, change=states(**stated)))
    assert label_map.geometry.spacing_mm[0] == pytest.approx(step_mm)
    assert_array_equal(label_map.labels, labels[slices[0] : slices[-1] + 1])


def test_uneven_steps_are_refused(scan: Series, tmp_path: Path):
    change = states(SpacingBetweenSlices=None)
    path = write_by_highdicom(tmp_path / "seg.dcm", scan, in_slices(0, 2, 5), change=change)
    with pytest.raises(
        BadData, match=r"seg\.dcm: its slices are unevenly spaced, by 9 to 13\.5 mm\. Export it again\.$"
    ):
        read_seg(path)


@pytest.mark.parametrize("syntax", [None, RLELossless, JPEGLSLossless])
def test_a_labelmap_is_read(scan: Series, syntax: str | None, tmp_path: Path):
    labels = in_slices(1, 2, 4)
    options = {} if syntax is None else {"transfer_syntax_uid": syntax}
    label_map = read_seg(write_by_highdicom(tmp_path / "seg.dcm", scan, labels, "LABELMAP", **options))
    assert_array_equal(label_map.labels, labels[1:5])


def test_a_fractional_file_of_whole_voxels_is_read_and_others_are_refused(scan: Series, tmp_path: Path):
    labels = in_slices(1, 2, 4)
    label_map = read_seg(write_by_highdicom(tmp_path / "whole.dcm", scan, labels, "FRACTIONAL"))
    assert_array_equal(label_map.labels, labels[1:5])
    halves = np.stack([labels == 1, (labels == 2) * 0.5], axis=-1).astype(np.float32)
    path = write_by_highdicom(tmp_path / "halves.dcm", scan, halves, "FRACTIONAL")
    with pytest.raises(BadData, match=r"^[^\n]*halves\.dcm: it is FRACTIONAL[^\n]+Threshold it first\.$"):
        read_seg(path)


def test_segments_that_overlap_are_refused_by_name(scan: Series, tmp_path: Path):
    both = np.zeros((*LAYOUT.shape, 2), np.uint8)
    both[2, 3:9, 4:8, 0] = 1
    both[2, 8, 7, 1] = 1
    path = write_by_highdicom(tmp_path / "seg.dcm", scan, both)
    with pytest.raises(BadData, match=r"the segments 'liver all' and 'tumour 2' overlap"):
        read_seg(path)


def test_the_label_set_follows_the_segments(scan: Series, tmp_path: Path):
    def renumber(content: pydicom.Dataset) -> None:
        content.SegmentSequence[0].SegmentNumber = 9  # behind the other
        for frame in content.PerFrameFunctionalGroupsSequence:
            item = frame.SegmentIdentificationSequence[0]
            if item.ReferencedSegmentNumber == 1:
                item.ReferencedSegmentNumber = 9

    labels = in_slices(1, 2, 4)
    label_map = read_seg(write_by_highdicom(tmp_path / "seg.dcm", scan, labels, change=renumber))
    first, second = label_map.label_set.organs
    assert (first.name, first.index, first.source_value) == ("tumour_2", 1, 2)
    assert (second.name, second.index, second.source_value) == ("liver_all", 2, 9)
    assert second.concept == CodedConcept("10200004", "SCT", "Liver")
    assert first.colour != second.colour  # though the file has none
    assert_array_equal(label_map.labels, np.array([0, 2, 1], np.uint8)[labels[1:5]])


@pytest.mark.parametrize(
    ("order", "flips"),
    [((0, 1, 2), (0, 0, 0)), ((0, 1, 2), (1, 0, 1)), ((2, 0, 1), (0, 1, 0)), ((1, 2, 0), (1, 1, 1))],
)
def test_frames_are_placed_on_a_grid_with_the_same_axes(
    scan: Series, order: tuple[int, ...], flips: tuple[int, ...], tmp_path: Path
):
    labels = in_slices(1, 2, 4)
    path = write_by_highdicom(tmp_path / "seg.dcm", scan, labels)
    # the scan's grid with room around, its axes in another order and direction
    padded = np.pad(labels, [(2, 3), (0, 4), (1, 0)])
    moved = np.eye(4)
    moved[:3, 3] = [-2, 0, -1]
    turned, axes = padded.transpose(order), np.zeros((4, 4))
    axes[3, 3] = 1
    for new, old in enumerate(order):
        axes[old, new] = -1 if flips[new] else 1
        axes[old, 3] = padded.shape[old] - 1 if flips[new] else 0
        turned = np.flip(turned, new) if flips[new] else turned
    on = Geometry(turned.shape, scan.geometry.affine @ moved @ axes)
    label_map = read_seg(path, on=on)
    assert_array_equal(label_map.labels, turned)
    assert label_map.geometry is on


def test_a_single_slice_finds_its_place_on_a_grid(scan: Series, tmp_path: Path):
    change = states(SpacingBetweenSlices=None, SliceThickness="2")
    path = write_by_highdicom(tmp_path / "seg.dcm", scan, in_slices(3), change=change)
    assert_array_equal(read_seg(path, on=scan.geometry).labels, in_slices(3))


@pytest.mark.parametrize(
    ("shift", "scale", "said"),
    [
        ((0.4, 0, 0), (1, 1, 1), "do not lie on the other grid"),
        ((0, 0, 0), (1, 1, 1.5), "do not lie on the other grid"),
        ((0, 0, 0), (0.8, 1, 1), "do not lie on the slices of the other grid"),
        ((2, 0, 0), (1, 1, 1), "outside the other grid"),
    ],
)
def test_frames_beside_a_grid_are_refused(
    scan: Series, shift: tuple[float, ...], scale: tuple[float, ...], said: str, tmp_path: Path
):
    path = write_by_highdicom(tmp_path / "seg.dcm", scan, in_slices(1, 2, 4))
    change = np.diag([*scale, 1.0])
    change[:3, 3] = shift
    with pytest.raises(BadData, match=said):
        read_seg(path, on=Geometry(LAYOUT.shape, scan.geometry.affine @ change))


def test_what_is_no_segmentation_is_named(scan: Series, tmp_path: Path):
    with pytest.raises(BadData, match=r"a SEG object was wanted; came MR\. Name a segmentation\.$"):
        read_seg(scan.files[0])
    (tmp_path / "text.dcm").write_text("no DICOM")
    with pytest.raises(BadData, match=r"text\.dcm is not a DICOM file"):
        read_seg(tmp_path / "text.dcm")
    with pytest.raises(BadData, match=r"there is no file"):
        read_seg(tmp_path / "nowhere.dcm")


def test_a_frame_of_a_segment_that_is_not_described_is_refused(scan: Series, tmp_path: Path):
    def forget(content: pydicom.Dataset) -> None:
        content.SegmentSequence = [item for item in content.SegmentSequence if item.SegmentNumber != 1]

    for kind in ("BINARY", "LABELMAP"):
        path = write_by_highdicom(tmp_path / "seg.dcm", scan, in_slices(1, 2), kind, change=forget)
        with pytest.raises(BadData, match=r"segment 1, which is not described"):
            read_seg(path)


@pytest.fixture(scope="module")
def whole(scan: Series, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_by_highdicom(tmp_path_factory.mktemp("seg") / "seg.dcm", scan, in_slices(1, 2, 4)).read_bytes()


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_damage_ends_in_one_line(whole: bytes, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory):
    path = tmp_path_factory.getbasetemp() / "damaged.dcm"
    damaged = bytearray(whole)
    for place in data.draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=4)):
        damaged[place] = data.draw(st.integers(0, 255))
    path.write_bytes(damaged[: data.draw(st.integers(1, len(whole)) | st.just(len(whole)))])
    try:
        read_seg(path)
    except BadData as error:
        assert "\n" not in str(error)  # noqa: PT017


@pytest.mark.real_data
def test_a_file_of_dcmqi_holds_the_voxels_of_its_nrrd(chaos_root: Path):
    folder = chaos_root / "dcmqi-seg"
    if not folder.is_dir():
        pytest.skip("STEELYARD_DATA holds no dcmqi-seg")
    header, packed = (folder / "liver_seg.nrrd").read_bytes().split(b"\n\n", 1)
    assert b"sizes: 512 512 3" in header
    assert b"type: short" in header
    wanted = np.frombuffer(gzip.decompress(packed), "<i2").reshape(3, 512, 512)  # the first axis is the fastest
    label_map = read_seg(folder / "liver.dcm")
    assert wanted.sum() == 107098
    assert_array_equal(label_map.labels, wanted)
    scan = read_headers(folder / "ct-3slice")
    assert label_map.geometry.same_grid(scan.geometry)
    assert_array_equal(read_seg(folder / "liver.dcm", on=scan.geometry).labels, wanted)
    assert label_map.label_set.organs[0].concept == CodedConcept("T-62000", "SRT", "Liver")

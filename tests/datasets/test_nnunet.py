"""An nnU-Net folder is read with its own channels and label set; what it cannot mean here is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from steelyard.datasets import DATASETS, CaseKey
from steelyard.datasets.nnunet import NnunetDataset
from steelyard.errors import BadData, BadSpec

DESCRIPTION = {
    "channel_names": {"0": "T1 in", "1": "T2"},
    "labels": {"background": 0, "spleen": 2, "liver": 1, "left atrium": 3},
    "numTraining": 2,
    "file_ending": ".nii.gz",
}
AFFINE = np.diag([1.0, 2.0, 3.0, 1.0])
SHAPE = (5, 3, 4)


def save(path: Path, voxels: np.ndarray, affine: np.ndarray = AFFINE) -> None:
    path.parent.mkdir(exist_ok=True)
    nib.save(nib.Nifti1Image(voxels, affine), path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    describe(tmp_path)
    for k, case in enumerate(("abd_02", "abd_01")):
        for channel in (0, 1):
            save(tmp_path / "imagesTr" / f"{case}_{channel:04d}.nii.gz", np.full(SHAPE, 10 * k + channel, np.int16))
        save(tmp_path / "labelsTr" / f"{case}.nii.gz", (np.arange(60) % 4).astype(np.uint8).reshape(SHAPE))
    return tmp_path


def describe(root: Path, **changes: Any) -> None:
    (root / "dataset.json").write_text(json.dumps(DESCRIPTION | changes))


def test_nnunet_is_registered_under_its_name():
    assert DATASETS["nnunet"] is NnunetDataset


def test_organs_are_numbered_by_their_values_and_not_by_their_order_in_the_file(root: Path):
    label_set = NnunetDataset(root).label_set
    assert label_set.class_names == ("background", "liver", "spleen", "left_atrium")
    assert [organ.source_value for organ in label_set.organs] == [1, 2, 3]


def test_the_one_sequence_bears_the_channels_names(root: Path):
    dataset = NnunetDataset(root)
    assert dataset.sequences == ("T1_in+T2",)
    assert dataset.keys(dataset.sequences) == (CaseKey("abd_01", "T1_in+T2"), CaseKey("abd_02", "T1_in+T2"))


def test_channels_come_in_their_own_order_and_labels_voxel_by_voxel(root: Path):
    case = NnunetDataset(root).read(CaseKey("abd_01", "T1_in+T2"))
    assert case.image.intensities.shape == (2, 4, 3, 5)  # channel, slice, row, column
    assert_array_equal(case.image.intensities[:, 0, 0, 0], [10, 11])
    assert case.image.geometry.spacing_mm == pytest.approx((3, 2, 1))
    assert case.reference.labels[2, 1, 3] == (3 * 12 + 1 * 4 + 2) % 4
    assert (case.patient_id, case.case_id) == ("abd_01", "abd_01_T1_in+T2")


def test_one_channel_gives_an_image_without_channel_axis(root: Path):
    describe(root, channel_names={"0": "CT"})
    dataset = NnunetDataset(root)
    assert dataset.sequences == ("CT",)
    assert dataset.read(CaseKey("abd_02", "CT")).image.intensities.shape == (4, 3, 5)


def test_uncompressed_files_are_found_by_their_ending(root: Path):
    describe(root, file_ending=".nii", channel_names={"0": "CT"})
    save(root / "imagesTr" / "only_0000.nii", np.zeros(SHAPE, np.int16))
    save(root / "labelsTr" / "only.nii", np.zeros(SHAPE, np.uint8))
    assert [key.patient_id for key in NnunetDataset(root).keys(("CT",))] == ["only"]


def test_a_folder_without_labels_has_no_references(root: Path):
    for file in (root / "labelsTr").iterdir():
        file.unlink()
    (root / "labelsTr").rmdir()
    assert NnunetDataset(root).read(CaseKey("abd_01", "T1_in+T2")).reference is None


def test_the_files_of_a_case_are_its_channels_and_labels(root: Path):
    files = NnunetDataset(root).files(CaseKey("abd_01", "T1_in+T2"))
    assert [file.name for file in files] == ["abd_01_0000.nii.gz", "abd_01_0001.nii.gz", "abd_01.nii.gz"]


def test_colours_stay_different_for_many_organs(root: Path):
    describe(root, labels={"background": 0} | {f"organ {k}": k for k in range(1, 105)})
    colours = {organ.colour for organ in NnunetDataset(root).label_set.organs}
    assert len(colours) == 104
    assert all(0 <= value <= 255 for colour in colours for value in colour)
    assert (0, 0, 0) not in colours


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"labels": {"background": 0, "kidney": [1, 2], "tumour": 2}}, r"'kidney' is a region"),
        ({"labels": {"background": 0, "liver": 1, "ignore": 2}}, "ignore label"),
        ({"labels": {"background": 0, "liver": 1, "spleen": 3}}, r"label values are \[1, 3\]"),
        ({"labels": {"background": 0, "liver": "1"}}, "'liver' is '1' where a whole number"),
        ({"labels": {"background": 0, "liver": True}}, "'liver' is True"),
        ({"labels": {"liver": 1}}, "labels is"),
        ({"labels": {"background": 0}}, r"label values are \[\]"),
        ({"labels": {"background": 0, "left kidney": 1, "left_kidney": 2}}, "share a name"),
        ({"channel_names": {"1": "CT"}}, "channel_names is"),
        ({"channel_names": {}}, "channel_names is"),
        ({"file_ending": ".mha"}, r"file_ending is '\.mha' where \.nii\.gz or \.nii is read"),
        ({"file_ending": [".nii"]}, "file_ending is"),
    ],
)
def test_a_description_that_cannot_be_used_ends_in_one_line_with_the_file(changes: dict, told: str, root: Path):
    describe(root, **changes)
    with pytest.raises(BadData, match=told) as caught:
        NnunetDataset(root)
    assert str(root / "dataset.json") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'{"labels": ', "is not JSON"),
        (b"\xff\xfe{}", "is not JSON"),
        (b"[1, 2]", "holds a list where an object is wanted"),
        (b'{"modality": {"0": "CT"}, "labels": {"0": "background"}}', "nnU-Net v1"),
        (b"null", "holds a NoneType"),
    ],
)
def test_a_broken_description_ends_in_one_line(content: bytes, told: str, root: Path):
    (root / "dataset.json").write_bytes(content)
    with pytest.raises(BadData, match=told) as caught:
        NnunetDataset(root)
    assert "\n" not in str(caught.value)


def test_a_folder_without_description_or_images_is_told(root: Path, tmp_path: Path):
    with pytest.raises(BadData, match=r"no dataset\.json in "):
        NnunetDataset(tmp_path / "imagesTr")
    for file in (root / "imagesTr").iterdir():
        file.unlink()
    dataset = NnunetDataset(root)
    with pytest.raises(BadData, match=r"no images named <case>_0000\.nii\.gz"):
        dataset.keys(dataset.sequences)


@pytest.mark.parametrize(
    ("missing", "told"),
    [
        ("imagesTr/abd_01_0001.nii.gz", r"case abd_01: no image abd_01_0001\.nii\.gz of channel T2"),
        ("labelsTr/abd_01.nii.gz", r"case abd_01: no labels abd_01\.nii\.gz"),
    ],
)
def test_a_missing_file_is_told_with_its_case(missing: str, told: str, root: Path):
    (root / missing).unlink()
    dataset = NnunetDataset(root)
    with pytest.raises(BadData, match=told):
        dataset.read(dataset.keys(dataset.sequences)[0])


def test_labels_without_an_image_are_told(root: Path):
    save(root / "labelsTr" / "lost.nii.gz", np.zeros(SHAPE, np.uint8))
    dataset = NnunetDataset(root)
    with pytest.raises(BadData, match=r"case lost: no image lost_0000\.nii\.gz"):
        dataset.read(dataset.keys(dataset.sequences)[-1])


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("imagesTr/abd_01_0001.nii.gz", "case abd_01: channels T1_in and T2 lie on different grids"),
        ("labelsTr/abd_01.nii.gz", "case abd_01: image and labels lie on different grids"),
    ],
)
def test_files_on_different_grids_are_refused(file: str, told: str, root: Path):
    shifted = AFFINE.copy()
    shifted[0, 3] = 0.5
    save(root / file, np.zeros(SHAPE, np.uint8), shifted)
    with pytest.raises(BadData, match=told):
        NnunetDataset(root).read(CaseKey("abd_01", "T1_in+T2"))


def test_a_label_that_the_description_does_not_know_is_told(root: Path):
    save(root / "labelsTr" / "abd_01.nii.gz", np.full(SHAPE, 4, np.uint8))
    with pytest.raises(BadData, match=r"abd_01\.nii\.gz holds the value 4 where the classes 0–3 are known"):
        NnunetDataset(root).read(CaseKey("abd_01", "T1_in+T2"))


def test_another_sequence_or_case_is_told(root: Path):
    with pytest.raises(BadSpec, match="Known: T1_in"):
        NnunetDataset(root).keys(("T2",))
    with pytest.raises(BadSpec, match="no case is named 'abd_09'"):
        NnunetDataset(root).read(CaseKey("abd_09", "T1_in+T2"))

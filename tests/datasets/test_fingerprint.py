"""A fingerprint tells sizes, intensities and organ volumes worked out by hand; the hash follows every byte and name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from phantoms import ORGAN_VOXELS, write_chaos_patient
from steelyard.datasets import CaseKey
from steelyard.datasets.chaos import ChaosDataset
from steelyard.datasets.fingerprint import data_hash, fingerprint_case
from steelyard.errors import BadData
from steelyard.labels import CHAOS_MR
from steelyard.volume import Case, Geometry, LabelMap, Volume

GRID = Geometry((4, 10, 25), np.diag([3.0, 2.0, 1.0, 1.0]))  # 1000 voxels of 6 mm³


def case(intensities: np.ndarray, labels: np.ndarray | None) -> Case:
    reference = None if labels is None else LabelMap(labels, GRID, CHAOS_MR)
    return Case("p_s", "p", "s", Volume(intensities, GRID), reference)


def test_percentiles_are_those_of_the_numbers_0_to_999():
    fingerprint = fingerprint_case(case(np.arange(1000.0).reshape(GRID.shape), None))
    # linear interpolation at 0.5, 50 and 99.5 % of 999 steps: 4.995, 499.5, 994.005
    assert fingerprint.intensity_percentiles == (pytest.approx((4.995, 499.5, 994.005)),)
    assert fingerprint.shape == (4, 10, 25)
    assert fingerprint.spacing_mm == pytest.approx((3, 2, 1))
    assert fingerprint.organs == ()


def test_each_channel_has_its_own_percentiles():
    channels = np.stack([np.full(GRID.shape, 7.0), np.full(GRID.shape, 9.0)])
    assert fingerprint_case(case(channels, None)).intensity_percentiles == ((7, 7, 7), (9, 9, 9))


def test_organs_have_millilitres_and_slices_with_and_without_them():
    labels = np.zeros(GRID.shape, np.uint8)
    labels[1:4, :5, :4] = 1  # liver in 3 of 4 slices: 60 voxels of .006 ml
    labels[2, 5:7, :3] = 4  # spleen in one slice: 6 voxels
    organs = fingerprint_case(case(np.zeros(GRID.shape), labels)).organs
    told = {organ.organ: (organ.volume_ml, organ.slices_with, organ.slices_without) for organ in organs}
    assert told == {
        "liver": (pytest.approx(0.36), 3, 1),
        "right_kidney": (0, 0, 4),
        "left_kidney": (0, 0, 4),
        "spleen": (pytest.approx(0.036), 1, 3),
    }


def test_a_fingerprint_survives_json():
    labels = np.ones(GRID.shape, np.uint8)
    plain = json.loads(json.dumps(fingerprint_case(case(np.zeros(GRID.shape), labels)).as_json()))
    assert plain["spacing_mm"] == [3, 2, 1]
    assert plain["organs"][0] == {
        "organ": "liver",
        "voxels": 1000,
        "volume_ml": 6.0,
        "slices_with": 4,
        "slices_without": 0,
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number in (2, 13):
        write_chaos_patient(tmp_path / "Train_Sets" / "MR", number)
    return tmp_path / "Train_Sets"


def hashed(root: Path, *sequences: str) -> str:
    dataset = ChaosDataset(root)
    return data_hash(dataset, dataset.keys(sequences))


def test_a_copy_elsewhere_has_the_same_hash_whichever_folder_is_named(root: Path, tmp_path: Path):
    shutil.copytree(root, tmp_path / "elsewhere" / "Other")
    first = hashed(root, "t1_in", "t2_spir")
    assert len(first) == 64
    assert hashed(tmp_path / "elsewhere" / "Other", "t1_in", "t2_spir") == first
    assert hashed(root / "MR", "t1_in", "t2_spir") == first


def flip_one_bit(file: Path) -> None:
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)


@pytest.mark.parametrize(
    "change",
    [
        lambda mr: flip_one_bit(mr / "2" / "T2SPIR/DICOM_anon/IMG-0002-00004.dcm"),
        lambda mr: flip_one_bit(mr / "2" / "T2SPIR/Ground/IMG-0002-00004.png"),
        lambda mr: (mr / "2").rename(mr / "3"),
        lambda mr: (mr / "2/T2SPIR/Ground/IMG-0002-00005.png").rename(mr / "2/T2SPIR/Ground/IMG-0002-00006.png"),
        lambda mr: shutil.rmtree(mr / "13"),
        lambda mr: (mr / "2/T2SPIR/Ground/IMG-0002-00001.png").unlink(),
        lambda mr: write_chaos_patient(mr, 40),
    ],
    ids=["image bit", "mask bit", "renumbered", "renamed", "patient removed", "file removed", "patient added"],
)
def test_any_change_changes_the_hash(change, root: Path):
    before = hashed(root, "t2_spir")
    change(root / "MR")
    assert hashed(root, "t2_spir") != before


def test_what_is_not_asked_does_not_count(root: Path):
    before = hashed(root, "t2_spir")
    flip_one_bit(root / "MR" / "2" / "T1DUAL/DICOM_anon/InPhase/IMG-0004-00002.dcm")
    assert hashed(root, "t2_spir") == before
    assert hashed(root, "t1_in") != before


def test_nothing_to_hash_is_told(root: Path):
    with pytest.raises(BadData, match="no cases were chosen"):
        data_hash(ChaosDataset(root), ())


def test_a_written_patient_has_the_drawn_volumes(root: Path):
    fingerprint = fingerprint_case(ChaosDataset(root).read(CaseKey("mr-02", "t1_in")))
    for organ in fingerprint.organs:
        assert organ.volume_ml == pytest.approx(ORGAN_VOXELS[organ.organ] * 0.006)
    assert [organ.slices_with for organ in fingerprint.organs] == [4, 3, 3, 2]
    assert [organ.slices_without for organ in fingerprint.organs] == [2, 3, 3, 4]

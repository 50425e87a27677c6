"""Volumes: voxels times |det affine|; an organ that is not there, or not whole, is told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from steelyard.datasets import CaseKey
from steelyard.datasets.chaos import ChaosDataset
from steelyard.inference.volumes import organ_volumes, undefined_volumes, volumes_csv, volumes_json
from steelyard.labels import CHAOS_MR
from steelyard.volume import Geometry, LabelMap

SHEARED = np.array([[3.0, 0.3, 0, 7], [0, 2, 0, 8], [0, 0, -1.5, 9], [0, 0, 0, 1]])  # |det| = 9 mm³


def made(*boxes: tuple[str, tuple[slice, slice, slice]], affine: np.ndarray = SHEARED) -> LabelMap:
    labels = np.zeros((5, 8, 9), np.uint8)
    for organ, box in boxes:
        labels[box] = CHAOS_MR.organ(organ).index
    return LabelMap(labels, Geometry(labels.shape, affine), CHAOS_MR)


INSIDE = (slice(1, 4), slice(2, 6), slice(3, 7))  # 3 × 4 × 4 = 48 voxels


def test_millilitres_are_voxels_times_the_affines_determinant() -> None:
    liver, right, left, spleen = organ_volumes(made(("liver", INSIDE)))
    assert liver.voxels == 48
    assert liver.ml == pytest.approx(48 * 9 / 1000)
    assert liver.flag == ""
    assert {(organ.ml, organ.voxels, organ.flag) for organ in (right, left, spleen)} == {(0.0, 0, "not found")}


@pytest.mark.parametrize(
    ("box", "flag"),
    [
        ((slice(0, 3), *INSIDE[1:]), "cut off at the first slice"),
        ((slice(2, 5), *INSIDE[1:]), "cut off at the last slice"),
        ((slice(1, 4), slice(0, 3), slice(3, 7)), "cut off at the edge of the slices"),
        ((slice(1, 4), slice(2, 6), slice(8, 9)), "cut off at the edge of the slices"),
        ((slice(0, 5), slice(2, 6), slice(3, 7)), "cut off at the first slice and the last slice"),
    ],
)
def test_an_organ_at_the_border_of_the_volume_is_flagged(box: tuple[slice, slice, slice], flag: str) -> None:
    assert organ_volumes(made(("spleen", box)))[3].flag == flag


@pytest.mark.parametrize(
    ("seen", "is_cut"),
    [
        ((slice(0, 5), slice(1, 7), slice(2, 8)), False),
        ((slice(0, 5), slice(2, 7), slice(2, 8)), True),
        ((slice(0, 5), slice(0, 8), slice(0, 7)), True),
        ((slice(0, 4), slice(0, 8), slice(0, 9)), True),
        ((slice(0, 5), slice(0, 8), slice(0, 9)), False),
    ],
)
def test_an_organ_at_the_edge_of_what_the_network_sees_is_flagged(
    seen: tuple[slice, slice, slice], is_cut: bool
) -> None:
    wanted = "cut off at the edge of what the network sees" if is_cut else ""
    assert organ_volumes(made(("spleen", INSIDE)), seen)[3].flag == wanted


def test_tables_say_undefined_and_null_and_never_nan() -> None:
    cases = [("one", organ_volumes(made(("liver", INSIDE)))), ("broken", undefined_volumes(CHAOS_MR))]
    rows = volumes_csv(cases).decode().splitlines()
    assert rows[:3] == ["case,organ,ml,voxels,flag", "one,liver,0.432,48,", "one,right_kidney,0.000,0,not found"]
    assert rows[5] == "broken,liver,undefined,undefined,not predicted"
    found = json.loads(json.dumps(volumes_json(cases), allow_nan=False))
    assert [organ["ml"] for organ in found[1]["organs"]] == [None] * 4


@pytest.mark.real_data
def test_the_experts_organs_of_patient_1_have_the_published_volumes(chaos_root: Path) -> None:
    reference = ChaosDataset(chaos_root).read(CaseKey("mr-01", "t1_in")).reference
    assert reference is not None
    found = [round(volume.ml or 0, 1) for volume in organ_volumes(reference)]
    assert found == [1488.7, 198.9, 203.7, 121.4]

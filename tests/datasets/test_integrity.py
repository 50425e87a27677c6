"""The check finds what is odd in images that can be read: sides, islands, absent organs, one patient twice."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest

from phantoms import SHAPE, organ_labels, write_chaos_patient, write_masks_by_hand
from steelyard.datasets.chaos import ChaosDataset
from steelyard.datasets.integrity import (
    CASE_COLUMNS,
    PROBLEM_COLUMNS,
    case_rows,
    check,
    problem_rows,
)
from steelyard.errors import BadData
from steelyard.labels import CHAOS_MR

LIVER, RIGHT_KIDNEY, LEFT_KIDNEY, SPLEEN = 1, 2, 3, 4


@pytest.fixture
def mr(tmp_path: Path) -> Path:
    for number in (2, 13):
        write_chaos_patient(tmp_path / "MR", number)
    return tmp_path / "MR"


def relabel(mr: Path, change: Callable[[np.ndarray], None]) -> None:
    """Draws the T1 masks of patient 13 anew."""
    labels = organ_labels()
    change(labels)
    names = [f"IMG-0004-{2 * k + 2:05d}" for k in range(SHAPE[0])]
    write_masks_by_hand(mr / "13" / "T1DUAL" / "Ground", names, CHAOS_MR.source_from_classes(labels))


def told(mr: Path, severity: str = "warning") -> list[tuple[str, str, str]]:
    problems = check(ChaosDataset(mr)).problems
    return [(p.patient_id, p.sequence, p.message) for p in problems if p.severity == severity]


def test_whole_patients_give_no_problem_and_all_fingerprints(mr: Path):
    findings = check(ChaosDataset(mr))
    assert findings.problems == ()
    assert len(findings.cases) == 6
    findings.raise_errors()


def test_swapped_kidneys_are_told_with_the_distance(mr: Path):
    def swap(labels: np.ndarray) -> None:
        right, left = labels == RIGHT_KIDNEY, labels == LEFT_KIDNEY
        labels[right], labels[left] = LEFT_KIDNEY, RIGHT_KIDNEY

    relabel(mr, swap)
    # the boxes are centred on columns 4 and 14, 1 mm apart: 10 mm
    message = (
        "right kidney and left kidney are on the wrong sides: the right kidney lies 10 mm to the patient's left of the "
        "left kidney."
    )
    assert told(mr) == [("mr-13", "t1_in", message), ("mr-13", "t1_out", message)]


def test_a_mirrored_orientation_is_told_by_the_kidneys(mr: Path):
    """The same pixels with rows that run to the patient's right and slices that run to the feet."""
    for phase in ("InPhase", "OutPhase"):
        for file in (mr / "13" / "T1DUAL" / "DICOM_anon" / phase).iterdir():
            header = pydicom.dcmread(file)
            header.ImageOrientationPatient = [-1, 0, 0, 0, 1, 0]
            header.save_as(file)
    assert {message.split(":")[0] for _, _, message in told(mr)} == {
        "right kidney and left kidney are on the wrong sides"
    }


def test_a_stray_island_is_told_with_size_and_place(mr: Path):
    def stray(labels: np.ndarray) -> None:
        labels[5, 22, 17:19] = LIVER  # 2 voxels beside 192 + 2 would be 1.03 %: the liver has to be larger
        labels[1:5, 0:4, 2:8] = LIVER  # 96 more

    relabel(mr, stray)
    message = "liver has a stray island of 2 voxels (0.69% of it) at slice 5, row 22, column 17, counted from 0."
    assert told(mr) == [("mr-13", "t1_in", message), ("mr-13", "t1_out", message)]


def test_an_organ_in_two_large_parts_or_touching_by_a_corner_is_no_island(mr: Path):
    def parts(labels: np.ndarray) -> None:
        labels[1:3, 20:23, 2:8] = LIVER  # 36 voxels, 16 %
        labels[0, 3, 1] = LIVER  # touches the box at its corner

    relabel(mr, parts)
    assert told(mr) == []


def test_an_organ_that_is_wholly_absent_is_told(mr: Path):
    relabel(mr, lambda labels: labels.__setitem__(labels == SPLEEN, 0))
    message = "spleen is wholly absent from the reference."
    assert told(mr) == [("mr-13", "t1_in", message), ("mr-13", "t1_out", message)]


def test_one_patient_under_two_numbers_is_told_for_each_sequence(mr: Path):
    shutil.copytree(mr / "2", mr / "7")
    expected = [
        ("mr-07", name, f"has exactly the pixels of mr-02, {name}: one patient under two names.")
        for name in ("t1_in", "t1_out", "t2_spir")
    ]
    assert told(mr) == expected


def test_every_broken_case_is_told_and_none_hides_another(mr: Path):
    (mr / "2" / "T2SPIR" / "Ground" / "IMG-0002-00002.png").unlink()
    (mr / "13" / "T1DUAL" / "DICOM_anon" / "InPhase" / "IMG-0004-00006.dcm").write_bytes(b"")
    relabel(mr, lambda labels: labels.__setitem__(labels == SPLEEN, 0))
    findings = check(ChaosDataset(mr))
    assert [(p.patient_id, p.sequence) for p in findings.errors] == [
        ("mr-02", "t2_spir"),
        ("mr-13", "t1_in"),
        ("mr-13", "t1_out"),  # its masks are ordered through the in-phase
    ]
    first = findings.errors[0]
    assert first.message == "patient 2, T2SPIR: 5 images but 4 masks (no mask for IMG-0002-00002)."
    assert first.remedy == "Extract the archive again."
    assert first.file == str(mr / "2" / "T2SPIR" / "DICOM_anon" / "IMG-0002-00002.dcm")
    assert {case.case_id for case in findings.cases} == {"mr-02_t1_in", "mr-02_t1_out", "mr-13_t2_spir"}
    with pytest.raises(BadData) as caught:
        findings.raise_errors()
    assert str(caught.value) == f"{first.message} {first.remedy} (2 more cases have errors.)"


def test_rows_fit_their_columns_and_json_holds_the_same(mr: Path):
    relabel(mr, lambda labels: labels.__setitem__(labels == SPLEEN, 0))
    findings = check(ChaosDataset(mr))
    rows = problem_rows(findings)
    assert all(len(row) == len(PROBLEM_COLUMNS) for row in rows)
    assert rows[0][:3] == ("warning", "mr-13", "t1_in")
    rows = case_rows(findings)
    assert all(len(row) == len(CASE_COLUMNS) for row in rows)
    assert rows[0][:3] == ("mr-02_t1_in", "6 × 24 × 20", "3 × 2 × 1")
    assert "liver 192, 1.2 (4)" in rows[0][4]
    plain = json.loads(json.dumps(findings.as_json()))
    assert [p["severity"] for p in plain["problems"]] == ["warning", "warning"]
    assert len(plain["cases"]) == 6


def test_cases_without_reference_are_no_problem(tmp_path: Path):
    write_chaos_patient(tmp_path / "MR", 4, ground=False)
    findings = check(ChaosDataset(tmp_path))
    assert findings.problems == ()
    assert case_rows(findings)[0][4] == "no reference"


def test_nothing_is_written(mr: Path):
    before = {path: path.stat().st_mtime_ns for path in mr.rglob("*")}
    check(ChaosDataset(mr))
    assert {path: path.stat().st_mtime_ns for path in mr.rglob("*")} == before


@pytest.mark.real_data
def test_the_real_patients_have_no_error_and_three_known_slips_of_the_pen(chaos_root: Path):
    """2, 4 and 4 voxels of a left kidney lie apart from it: seen in the masks of patients 15 (T1), 3 and 34 (T2)."""
    findings = check(ChaosDataset(chaos_root))
    assert findings.errors == ()
    by_case = {(p.patient_id, p.sequence): p.message.split(" (")[0] for p in findings.warnings}
    known = {
        ("mr-03", "t2_spir"): "left kidney has a stray island of 4 voxels",
        ("mr-15", "t1_in"): "left kidney has a stray island of 2 voxels",
        ("mr-15", "t1_out"): "left kidney has a stray island of 2 voxels",
        ("mr-34", "t2_spir"): "left kidney has a stray island of 4 voxels",
    }
    present = {case.patient_id for case in findings.cases}
    assert by_case == {key: message for key, message in known.items() if key[0] in present}
    assert len(findings.cases) == 3 * len(present)
    slices = {
        name: [case.shape[0] for case in findings.cases if case.sequence == name] for name in ("t1_in", "t2_spir")
    }
    assert (min(slices["t1_in"]), max(slices["t1_in"])) == (26, 50)
    assert (min(slices["t2_spir"]), max(slices["t2_spir"])) == (26, 39)
    assert all(5.499 <= case.spacing_mm[0] <= 9.001 and 1.359 <= case.spacing_mm[1] <= 2.032 for case in findings.cases)
    assert all(organ.volume_ml > 100 for case in findings.cases for organ in case.organs)

"""The CHAOS tree is read as its files are: phases by folder, masks with their own slices, patients by number."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from phantoms import (
    ORGAN_VOXELS,
    SHAPE,
    ct_liver,
    organ_labels,
    pixels_like,
    write_chaos_ct_patient,
    write_chaos_patient,
)
from steelyard.datasets import DATASETS, CaseKey
from steelyard.datasets.chaos import ChaosDataset
from steelyard.errors import BadData, BadSpec
from steelyard.labels import CHAOS_CT, CHAOS_MR

IN_FOLDER, OUT_FOLDER = "T1DUAL/DICOM_anon/InPhase", "T1DUAL/DICOM_anon/OutPhase"


@pytest.fixture
def mr(tmp_path: Path) -> Path:
    """MR folder with patients 2 and 13."""
    for number in (13, 2):
        write_chaos_patient(tmp_path / "Train_Sets" / "MR", number)
    return tmp_path / "Train_Sets" / "MR"


def test_chaos_is_registered_under_its_name():
    assert DATASETS["chaos"] is ChaosDataset


@pytest.mark.parametrize("up", [0, 1, 2])
def test_the_root_may_be_mr_or_train_sets_or_what_holds_them(up: int, mr: Path):
    root = [mr, *mr.parents][up]
    dataset = ChaosDataset(root)
    assert dataset.label_set is CHAOS_MR
    assert dataset.sequences == ("t1_in", "t1_out", "t2_spir")
    assert [key.case_id for key in dataset.keys(("t2_spir", "t1_in"))] == [
        "mr-02_t1_in",
        "mr-02_t2_spir",
        "mr-13_t1_in",
        "mr-13_t2_spir",
    ]


def test_organs_have_the_voxels_that_were_drawn(mr: Path):
    case = ChaosDataset(mr).read(CaseKey("mr-13", "t1_in"))
    assert (case.case_id, case.patient_id, case.sequence) == ("mr-13_t1_in", "mr-13", "t1_in")
    for organ, voxels in ORGAN_VOXELS.items():
        assert case.reference.volume_ml(organ) == pytest.approx(voxels * 3 * 2 * 1 / 1000)
    assert_array_equal(case.image.intensities, pixels_like(organ_labels(), seed=131))


def test_every_sequence_has_its_own_grid_and_slice_thickness_is_not_asked(mr: Path):
    dataset = ChaosDataset(mr)
    grids = {name: dataset.read(CaseKey("mr-02", name)).image.geometry for name in dataset.sequences}
    assert grids["t1_in"].spacing_mm == grids["t1_out"].spacing_mm == pytest.approx((3, 2, 1))
    assert grids["t2_spir"].spacing_mm == pytest.approx((4, 1.5, 1.25))
    assert {name: grid.shape[0] for name, grid in grids.items()} == {"t1_in": 6, "t1_out": 6, "t2_spir": 5}


def test_out_phase_masks_follow_positions_because_their_names_are_the_in_phase_ones(mr: Path):
    """The out-phase is renamed so that its names run against z, and the in-phase, too, in another way."""
    out_phase, in_phase, ground = mr / "13" / OUT_FOLDER, mr / "13" / IN_FOLDER, mr / "13" / "T1DUAL" / "Ground"
    for k, file in enumerate(sorted(out_phase.iterdir())):
        file.rename(out_phase / f"OUT-{9 - k}.dcm")
    for k, file in enumerate(sorted(in_phase.iterdir())):
        new = f"IN-{(5 * k + 2) % 6}"
        (ground / f"{file.stem}.png").rename(ground / f"{new}.png")
        file.rename(in_phase / f"{new}.dcm")
    dataset = ChaosDataset(mr)
    for sequence in ("t1_in", "t1_out"):
        case = dataset.read(CaseKey("mr-13", sequence))
        assert_array_equal(case.reference.labels, organ_labels())
    assert_array_equal(case.image.intensities, pixels_like(organ_labels(), seed=132))


def test_registered_phases_join_as_channels_in_the_order_asked(mr: Path):
    dataset = ChaosDataset(mr)
    one, two = (dataset.read(CaseKey("mr-02", name)).image.intensities for name in ("t1_in", "t1_out"))
    case = dataset.read(CaseKey("mr-02", "t1_out+t1_in"))
    assert case.image.intensities.shape == (2, *SHAPE)
    assert_array_equal(case.image.intensities, [two, one])
    assert_array_equal(case.reference.labels, organ_labels())
    assert case.case_id == "mr-02_t1_out+t1_in"


def test_sequences_on_different_grids_do_not_join(mr: Path):
    with pytest.raises(BadData, match="patient 2: t1_in and t2_spir lie on different grids"):
        ChaosDataset(mr).read(CaseKey("mr-02", "t1_in+t2_spir"))


def test_an_out_phase_off_the_in_phase_grid_gets_no_masks(mr: Path):
    for file in (mr / "2" / OUT_FOLDER).iterdir():
        header = pydicom.dcmread(file)
        header.ImagePositionPatient[0] += 0.5
        header.save_as(file)
    with pytest.raises(BadData, match=r"patient 2, T1DUAL OutPhase: .* is off the grid of the in-phase"):
        ChaosDataset(mr).read(CaseKey("mr-02", "t1_out"))


def test_a_phase_whose_echo_times_are_swapped_is_refused(mr: Path):
    for folder, echo in ((IN_FOLDER, "2.302"), (OUT_FOLDER, "4.604")):
        for file in (mr / "2" / folder).iterdir():
            header = pydicom.dcmread(file)
            header.EchoTime = echo
            header.save_as(file)
    for sequence, came, wanted in (("t1_in", "2.302", "4.6"), ("t1_out", "4.604", "2.3")):
        with pytest.raises(BadData, match=rf"patient 2, .*IMG-0004-.* has echo time {came} ms where {wanted} ms"):
            ChaosDataset(mr).read(CaseKey("mr-02", sequence))


def test_the_patient_is_the_folder_and_not_the_name_in_the_header(mr: Path):
    (mr / "13").rename(mr / "40")
    dataset = ChaosDataset(mr)
    assert [key.patient_id for key in dataset.keys(("t1_in",))] == ["mr-02", "mr-40"]
    assert dataset.read(CaseKey("mr-40", "t1_in")).patient_id == "mr-40"


def test_the_files_of_an_out_phase_case_hold_all_that_it_is_read_from(mr: Path):
    files = ChaosDataset(mr).files(CaseKey("mr-02", "t1_out"))
    assert files == tuple(sorted(files))
    folders = sorted(file.parent.name for file in files)
    assert folders == ["Ground"] * 6 + ["InPhase"] * 6 + ["OutPhase"] * 6
    assert len(ChaosDataset(mr).files(CaseKey("mr-02", "t2_spir"))) == 10


def test_cases_without_ground_have_no_reference(tmp_path: Path):
    write_chaos_patient(tmp_path / "Test_Sets" / "MR", 4, ground=False)
    case = ChaosDataset(tmp_path).read(CaseKey("mr-04", "t1_out"))
    assert case.reference is None
    assert case.image.geometry.shape == SHAPE


def test_train_sets_are_meant_where_test_sets_lie_beside_them(mr: Path, tmp_path: Path):
    write_chaos_patient(tmp_path / "Test_Sets" / "MR", 4, ground=False)
    patients = {key.patient_id for key in ChaosDataset(tmp_path).keys(("t1_in",))}
    assert patients == {"mr-02", "mr-13"}
    assert {key.patient_id for key in ChaosDataset(tmp_path / "Test_Sets").keys(("t1_in",))} == {"mr-04"}


@pytest.mark.parametrize("against_z", [False, True])
def test_ct_masks_follow_their_own_slice_whichever_way_the_names_run(against_z: bool, tmp_path: Path):
    write_chaos_ct_patient(tmp_path / "Train_Sets" / "CT", 5, against_z=against_z)
    dataset = ChaosDataset(tmp_path / "Train_Sets")
    assert dataset.sequences == ("ct",)
    assert dataset.label_set is CHAOS_CT
    case = dataset.read(CaseKey("ct-05", "ct"))
    liver = ct_liver()
    assert_array_equal(case.reference.labels, liver)
    assert_array_equal(case.image.intensities, pixels_like(liver, seed=5) * 2.0 - 1000)
    assert_allclose(case.image.geometry.affine[:3, 3], (-10, -20, -30))


def test_ct_masks_are_paired_by_number_and_not_by_alphabet(tmp_path: Path):
    patient = write_chaos_ct_patient(tmp_path / "CT", 5, against_z=False)
    for k, file in enumerate(sorted((patient / "Ground").iterdir())):
        file.rename(patient / "Ground" / f"liver_GT_{k + 7}.png")  # 7, 8, 9, 10, 11, 12
    case = ChaosDataset(tmp_path / "CT").read(CaseKey("ct-05", "ct"))
    assert_array_equal(case.reference.labels, ct_liver())


def test_a_missing_ct_mask_is_told_by_count(tmp_path: Path):
    patient = write_chaos_ct_patient(tmp_path / "CT", 5, against_z=True)
    (patient / "Ground" / "liver_GT_002.png").unlink()
    with pytest.raises(BadData, match=r"patient 5, CT: 6 images but 5 masks\. Extract"):
        ChaosDataset(tmp_path).read(CaseKey("ct-05", "ct"))


def test_ct_masks_written_as_one_are_liver(tmp_path: Path):
    write_chaos_ct_patient(tmp_path / "CT", 5, against_z=False, mask_value=1)
    assert ChaosDataset(tmp_path).read(CaseKey("ct-05", "ct")).reference.labels.sum() == 228


def test_mr_and_ct_do_not_mix(mr: Path):
    write_chaos_ct_patient(mr.parent / "CT", 5, against_z=False)
    dataset = ChaosDataset(mr.parent)
    assert dataset.label_set is CHAOS_MR
    with pytest.raises(BadSpec, match="MR and CT have different labels and cannot be mixed"):
        dataset.keys(("t1_in", "ct"))
    assert ChaosDataset(mr.parent / "CT").label_set is CHAOS_CT


@pytest.mark.parametrize(
    ("sequence", "told"),
    [("t1_inn", "Did you mean 't1_in'"), ("t1_in+t1_in", "twice"), ("", "no CHAOS sequence is named ''")],
)
def test_a_sequence_that_does_not_exist_is_told(sequence: str, told: str, mr: Path):
    with pytest.raises(BadSpec, match=told):
        ChaosDataset(mr).keys((sequence,))


def test_a_patient_that_does_not_exist_is_told(mr: Path):
    with pytest.raises(BadSpec, match="no patient is named 'mr-99'"):
        ChaosDataset(mr).read(CaseKey("mr-99", "t1_in"))


def test_a_copy_with_t1_alone_offers_t1_alone(mr: Path):
    for number in ("2", "13"):
        shutil.rmtree(mr / number / "T2SPIR")
    assert ChaosDataset(mr).sequences == ("t1_in", "t1_out")


def test_listing_reads_no_pixels(mr: Path):
    for file in mr.rglob("*.dcm"):
        file.write_bytes(b"")
    assert len(ChaosDataset(mr).keys(("t1_in", "t1_out", "t2_spir"))) == 6


@pytest.mark.real_data
def test_patient_1_has_the_published_voxels_and_millilitres(chaos_root: Path):
    case = ChaosDataset(chaos_root).read(CaseKey("mr-01", "t1_in"))
    counts = [int(np.count_nonzero(case.reference.labels == index)) for index in range(1, 5)]
    assert counts == [75411, 10076, 10320, 6149]
    volumes = [case.reference.volume_ml(organ.name) for organ in CHAOS_MR.organs]
    assert volumes == pytest.approx([1488.7, 198.9, 203.7, 121.4], abs=0.05)
    assert case.image.geometry.spacing_mm == pytest.approx((5.5, 1.8945, 1.8945), abs=1e-4)


@pytest.mark.real_data
@pytest.mark.parametrize(("patient", "tilt"), [("mr-01", 0.0), ("mr-22", 0.0163)])
def test_real_phases_lie_on_one_grid_also_where_it_is_oblique(patient: str, tilt: float, chaos_root: Path):
    case = ChaosDataset(chaos_root).read(CaseKey(patient, "t1_in+t1_out"))
    assert case.image.intensities.shape[0] == 2
    down_a_column = case.image.geometry.affine[:3, 1] / case.image.geometry.spacing_mm[1]
    assert abs(down_a_column[2]) == pytest.approx(tilt, abs=1e-4)  # as ImageOrientationPatient says
    assert set(np.unique(case.reference.labels)) == {0, 1, 2, 3, 4}

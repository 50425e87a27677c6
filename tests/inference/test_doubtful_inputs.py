"""Inputs that a careless reader would take for something else: links, lost slices, earlier output, unplaced files."""

from __future__ import annotations

import io
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from rich.console import Console

from hand_made_runs import bright, write_run, write_scan
from phantoms import ORGAN_VOXELS
from steelyard.errors import BadData, BadSpec
from steelyard.inference import batch as batch_module
from steelyard.inference.batch import Prediction, predict_batch
from steelyard.inference.inputs import InputCase, find_inputs
from steelyard.inference.models import Ensemble, load_models
from steelyard.inference.record import CaseRecord
from steelyard.io.nifti import read_volume
from steelyard.study.model import Model

AXIAL_RAS = np.diag([-1.0, -2.0, 3.0, 1.0])  # columns to the left, rows to the back, as the phantoms' slices


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory: pytest.TempPathFactory) -> Ensemble:
    return load_models([write_run(tmp_path_factory.mktemp("run") / "run")])


@pytest.fixture
def model(ensemble: Ensemble) -> Model:
    return ensemble.first


def found(path: Path, model: Model, *series: str) -> dict[str, InputCase]:
    return {case.name: case for case in find_inputs(path, model, series=series).cases}


def predict(ensemble: Ensemble, given: Path, out: Path, **options: Any) -> list[CaseRecord]:
    wanted = Prediction(ensemble, **options)
    return predict_batch(find_inputs(given, ensemble.first), out, wanted, console=Console(file=io.StringIO()))


def write_nifti(
    file: Path, affine: np.ndarray = AXIAL_RAS, *, sform: int = 1, qform: int = 1, unit: str = "mm"
) -> Path:
    image = nibabel.Nifti1Image(bright().T.astype(np.int16), affine)
    image.set_sform(affine, sform)
    image.set_qform(affine, qform)
    image.header.set_xyzt_units(unit)
    nibabel.save(image, file)
    return file


def test_links_to_folders_are_followed_and_one_that_leads_back_is_not(tmp_path: Path, model: Model) -> None:
    write_scan(tmp_path / "elsewhere" / "p1", study="1")
    write_scan(tmp_path / "scans" / "p2", study="2")
    (tmp_path / "scans" / "p1").symlink_to(tmp_path / "elsewhere" / "p1")
    (tmp_path / "scans" / "p2" / "up").symlink_to(tmp_path / "scans")
    write_nifti(tmp_path / "elsewhere" / "p1" / "x.nii.gz")
    assert list(found(tmp_path / "scans", model)) == ["p1", "p1_x", "p2"]


@pytest.mark.parametrize("ending", ["", ".{}"])
@pytest.mark.parametrize("content", [b"", b"no image" * 50, None])
def test_a_lost_end_slice_without_a_telling_name_fails_its_series(
    ending: str, content: bytes | None, tmp_path: Path, model: Model
) -> None:
    write_scan(tmp_path / "scan")
    for number, file in enumerate(sorted((tmp_path / "scan").iterdir())):
        file.rename(file.with_name(file.stem + ending.format(number)))
    last = sorted((tmp_path / "scan").iterdir())[-1]
    last.write_bytes(last.read_bytes()[:300] if content is None else content)
    (tmp_path / "scan" / "README").write_text("what lies here")
    (case,) = found(tmp_path / "scan", model).values()
    assert last.name in case.problem


def test_an_empty_file_of_any_name_fails_a_series_of_files_without_endings(tmp_path: Path, model: Model) -> None:
    write_scan(tmp_path / "scan")
    for file, name in zip(sorted((tmp_path / "scan").iterdir()), "ABCDEF", strict=True):
        file.rename(file.with_name(name))
    (tmp_path / "scan" / "F").write_bytes(b"")
    assert "F is not a DICOM file" in found(tmp_path / "scan", model)["scan"].problem


def test_what_a_prediction_wrote_inside_its_input_is_no_scan(tmp_path: Path, ensemble: Ensemble) -> None:
    scans = tmp_path / "scans"
    write_scan(scans / "p1")
    write_nifti(scans / "p2.nii.gz")
    for _ in range(2):
        records = predict(ensemble, scans, scans / "out")
        assert [record.name for record in records] == ["p1", "p2"]
    assert list(found(scans, ensemble.first)) == ["p1", "p2"]


def test_a_number_that_is_one_series_position_and_anothers_number_is_asked_about(tmp_path: Path, model: Model) -> None:
    write_scan(tmp_path / "a", series="1", ProtocolName="x", SeriesNumber="2", EchoTime="1.1")
    write_scan(tmp_path / "b", series="2", ProtocolName="x", SeriesNumber="3", EchoTime="1.2")
    for word, name in (("1", "a"), ("3", "b"), ("series 2:", "a"), ("series 3:", "b")):
        assert list(found(tmp_path, model, word)) == [name]
    with pytest.raises(BadSpec, match="2 is the position of one series and the number of another"):
        find_inputs(tmp_path, model, series=["2"])


def test_one_number_of_both_phases_names_both(tmp_path: Path) -> None:
    phases = load_models([write_run(tmp_path / "run", sequence="t1_in+t1_out")]).first
    write_scan(tmp_path / "scan" / "in", ProtocolName="x", EchoTime="4.6")
    write_scan(tmp_path / "scan" / "out", ProtocolName="x", EchoTime="2.3")
    (case,) = found(tmp_path / "scan", phases, "801").values()
    assert [files[0].parent.name for files in case.channels] == ["in", "out"]


def test_one_pseudonym_is_not_given_to_several_patients(tmp_path: Path, ensemble: Ensemble) -> None:
    write_scan(tmp_path / "scans" / "1", study="1", PatientID="A-111")
    write_scan(tmp_path / "scans" / "2", study="2", PatientID="B-222")
    with pytest.raises(BadSpec, match="stands for one patient, and the input holds 2") as refused:
        predict(ensemble, tmp_path / "scans", tmp_path / "out", formats=("dicom-seg",), pseudonym="P07")
    assert "111" not in str(refused.value)
    assert not (tmp_path / "out").exists()
    cases = found(tmp_path / "scans", ensemble.first).values()
    assert not any(who in repr(case) for case in cases for who in ("A-111", "B-222"))
    write_scan(tmp_path / "later" / "1", study="1", PatientID="A-111")
    write_scan(tmp_path / "later" / "2", study="2", PatientID="A-111")
    (tmp_path / "later" / "broken.dcm").write_bytes(b"")  # whose it is nobody knows
    records = predict(ensemble, tmp_path / "later", tmp_path / "out", formats=("dicom-seg",), pseudonym="P07")
    assert [record.is_done for record in records] == [True, True, False]
    assert len(predict(ensemble, tmp_path / "scans", tmp_path / "nifti", pseudonym="P07")) == 2


def test_a_pseudonym_that_is_none_is_refused_before_anything_is_done(tmp_path: Path, ensemble: Ensemble) -> None:
    write_scan(tmp_path / "scan")
    with pytest.raises(BadSpec, match="without \\^"):
        predict(ensemble, tmp_path / "scan", tmp_path / "out", formats=("dicom-seg",), pseudonym="X^Y")
    assert not (tmp_path / "out").exists()


def test_a_scan_that_was_done_and_broke_since_is_told_by_what_broke(tmp_path: Path, ensemble: Ensemble) -> None:
    scan = write_scan(tmp_path / "scan")
    predict(ensemble, scan, tmp_path / "out")
    (scan / "IMG-006.dcm").write_bytes(b"")
    (record,) = predict(ensemble, scan, tmp_path / "out")
    assert "IMG-006.dcm is not a DICOM file" in record.reason


def test_cases_that_another_command_ended_meanwhile_stay_in_the_tables(
    tmp_path: Path, ensemble: Ensemble, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = write_scan(tmp_path / "a" / "first"), write_scan(tmp_path / "b" / "second")
    out, locked = tmp_path / "out", batch_module.RunFolder.locked

    def after_another(folder: Any) -> Any:
        monkeypatch.setattr(batch_module.RunFolder, "locked", locked)
        predict(ensemble, first, out)
        return locked(folder)

    monkeypatch.setattr(batch_module.RunFolder, "locked", after_another)
    predict(ensemble, second, out)
    assert {line.split(",")[0] for line in (out / "volumes.csv").read_text().splitlines()} == {
        "case",
        "first",
        "second",
    }


def test_long_names_of_any_script_fit_into_a_file_system(tmp_path: Path, ensemble: Ensemble) -> None:
    write_scan(tmp_path / "scans" / "漢" / ("漢" * 60) / ("字" * 60))
    (record,) = predict(ensemble, tmp_path / "scans", tmp_path / "out", formats=("nifti", "dicom-seg"))
    assert record.is_done, record.reason
    assert len(os.fsencode(record.name)) < 140


@pytest.mark.parametrize(
    ("placed", "note"),
    [
        ({}, ""),
        ({"sform": 0, "qform": 0}, "left and right are a guess"),
        (
            {"affine": np.array([[0, 0, 8.0, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])},
            "axial pixels are 1 × 8 mm",
        ),
    ],
)
def test_a_nifti_file_that_may_lie_otherwise_is_taken_with_a_note(
    placed: dict[str, Any], note: str, tmp_path: Path, model: Model
) -> None:
    (case,) = found(write_nifti(tmp_path / "scan.nii.gz", **placed), model).values()
    assert note in case.note
    assert bool(note) == bool(case.note)
    as_stored = found(tmp_path / "scan.nii.gz", replace(model, is_axial=False))["scan"]
    assert ("axial" in as_stored.note) is False


def test_two_voxel_sizes_in_one_header_are_told(tmp_path: Path, model: Model) -> None:
    image = nibabel.load(write_nifti(tmp_path / "first.nii.gz"))
    image.set_sform(np.diag([-1.0, -2.0, 4.0, 1.0]), 1)
    nibabel.save(image, tmp_path / "scan.nii.gz")
    assert "is 1.33 times the qform's" in found(tmp_path / "scan.nii.gz", model)["scan"].note


@pytest.mark.parametrize(("unit", "mm"), [("meter", 1000.0), ("micron", 0.001), ("unknown", 1.0)])
def test_lengths_in_other_units_are_millimetres(unit: str, mm: float, tmp_path: Path, ensemble: Ensemble) -> None:
    affine = np.diag([*(AXIAL_RAS.diagonal()[:3] / mm), 1.0])
    (record,) = predict(ensemble, write_nifti(tmp_path / "scan.nii.gz", affine, unit=unit), tmp_path / "out")
    assert record.volumes[0].ml == pytest.approx(ORGAN_VOXELS["liver"] * 6 / 1000)


def test_colours_and_complex_numbers_are_no_intensities(tmp_path: Path) -> None:
    colours = np.zeros((4, 5, 6), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    for voxels in (colours, np.full((4, 5, 6), 1 + 2j, np.complex64)):
        nibabel.save(nibabel.Nifti1Image(voxels, AXIAL_RAS), tmp_path / "scan.nii.gz")
        with pytest.raises(BadData, match="not one number a voxel"):
            read_volume(tmp_path / "scan.nii.gz")


def test_voxels_that_are_no_number_are_counted(tmp_path: Path, model: Model) -> None:
    voxels = bright().T.astype(np.float32)
    voxels[0, :2, 0] = np.nan
    nibabel.save(nibabel.Nifti1Image(voxels, AXIAL_RAS), tmp_path / "scan.nii.gz")
    with pytest.raises(BadData, match="2 of its voxels are NaN"):
        found(tmp_path / "scan.nii.gz", model)["scan"].read()


def test_pipes_are_not_waited_for(tmp_path: Path, model: Model) -> None:
    write_scan(tmp_path / "scan")
    for name in ("IMG-007.dcm", "x.nii.gz"):
        os.mkfifo(tmp_path / "scan" / name)
    (case,) = found(tmp_path / "scan", model).values()
    assert not case.problem


def test_endings_in_capitals_are_nifti_too(tmp_path: Path, model: Model) -> None:
    write_nifti(tmp_path / "scan.nii.gz").rename(tmp_path / "SCAN.NII.GZ")
    assert found(tmp_path / "SCAN.NII.GZ", model)["SCAN"].read().image.intensities.shape == (6, 24, 20)
    assert list(found(tmp_path, model)) == ["SCAN"]


def test_a_network_of_other_files_is_not_trusted_with_dicom_in_silence(tmp_path: Path, model: Model) -> None:
    write_scan(tmp_path / "scan")
    assert not find_inputs(tmp_path, model).notes
    (note,) = find_inputs(tmp_path, replace(model, is_axial=False)).notes
    assert "sees DICOM slices as they are" in note

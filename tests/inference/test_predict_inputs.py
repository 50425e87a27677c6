"""What is found in a file or folder: the series that a model was made for, named after its place."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from hand_made_runs import bright, write_run, write_scan
from phantoms import OUT_PHASE, T2_SPIR, write_chaos_patient
from steelyard.errors import BadData, BadSpec
from steelyard.inference.inputs import InputCase, find_inputs
from steelyard.inference.sequences import is_unlike, matches, sequence_of
from steelyard.io.dicom_folder import FoundSeries
from steelyard.study.model import Model, load_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load_model(write_run(tmp_path_factory.mktemp("run") / "run"))


@pytest.fixture(scope="module")
def phases(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load_model(write_run(tmp_path_factory.mktemp("phases") / "run", sequence="t1_in+t1_out"))


def exam(folder: Path, study: str = "1") -> Path:
    write_scan(folder / "a", study=study)
    write_scan(folder / "b", study=study, **OUT_PHASE)
    write_scan(folder / "c", study=study, series="2", **T2_SPIR)
    return folder


def found(path: Path, model: Model, *series: str) -> dict[str, InputCase]:
    return {case.name: case for case in find_inputs(path, model, series=series).cases}


def test_the_series_of_the_models_sequence_is_taken_from_an_examination(tmp_path: Path, model: Model) -> None:
    cases = found(exam(tmp_path / "exam"), model)
    assert list(cases) == ["a"]
    assert cases["a"].place == "a"
    assert len(cases["a"].read().source.files) == 6  # type: ignore[union-attr]


def test_both_phases_in_one_folder_are_told_apart_and_joined(tmp_path: Path, phases: Model) -> None:
    write_scan(tmp_path / "in")
    write_scan(tmp_path / "out", **OUT_PHASE)
    folder = tmp_path / "both"
    folder.mkdir()
    for phase in ("in", "out"):
        for file in (tmp_path / phase).iterdir():
            shutil.move(file, folder / f"{phase}-{file.name}")
    (case,) = found(folder, phases).values()
    assert [files[0].name for files in case.channels] == ["in-IMG-001.dcm", "out-IMG-001.dcm"]
    assert case.name == "both"


def test_every_patient_of_a_folder_is_a_case_and_one_without_the_sequence_is_told(tmp_path: Path, model: Model) -> None:
    top = tmp_path / "patients"
    exam(top / "x", "1")
    exam(top / "y", "2")
    write_scan(top / "z" / "c", study="3", **T2_SPIR)
    cases = found(top, model)
    assert list(cases) == ["x_a", "y_a", "z_c"]
    assert "none of its series is t1_in" in cases["z_c"].problem
    with pytest.raises(BadData, match="none of its series"):
        cases["z_c"].read()


def test_headers_without_a_study_make_an_examination_of_each_folder(tmp_path: Path, model: Model) -> None:
    bare = {"StudyInstanceUID": "", "PatientID": "", "PatientName": "anonymous"}
    for number, name in enumerate("xy", 1):
        write_scan(tmp_path / name / "a", series=str(number), **bare)
        write_scan(tmp_path / name / "b", series=str(number), **bare | OUT_PHASE)
    write_scan(tmp_path / "z", **bare | T2_SPIR)
    inputs = find_inputs(tmp_path, model)
    assert [case.name for case in inputs.cases] == ["x_a", "y_a"]
    assert "Passed over, of another sequence: z." in inputs.notes


def test_a_chaos_tree_and_one_of_its_patients_are_found(tmp_path: Path, model: Model) -> None:
    for number in (1, 2):
        write_chaos_patient(tmp_path / "Train_Sets" / "MR", number)
    assert len(found(tmp_path, model)) == 2
    assert list(found(tmp_path / "Train_Sets" / "MR" / "2", model)) == ["T1DUAL_DICOM_anon_InPhase"]


def test_series_that_nobody_can_tell_are_listed_and_one_is_asked_for(tmp_path: Path, model: Model) -> None:
    for number in ("4", "7"):
        tags: dict[str, Any] = {"ProtocolName": f"abdomen {number}", "EchoTime": "3.1", "SeriesNumber": number}
        write_scan(tmp_path / number, series=number, **tags)
    with pytest.raises(BadSpec, match=r"1\. series 4: abdomen 4.*2\. series 7: abdomen 7.*--series N"):
        find_inputs(tmp_path, model)
    for word, place in (("1", "4"), ("2", "7"), ("7", "7"), ("abdomen 4", "4"), ("0.1.1.7", "7")):
        assert list(found(tmp_path, model, word)) == [place], word
    with pytest.raises(BadSpec, match="no series is 'pelvis'; there are 1"):
        find_inputs(tmp_path, model, series=["pelvis"])


def test_two_series_of_the_wanted_sequence_are_a_doubt(tmp_path: Path, model: Model) -> None:
    write_scan(tmp_path / "native", series="1", SeriesDescription="native")
    write_scan(tmp_path / "late", series="2", SeriesNumber="802", SeriesDescription="late")
    with pytest.raises(BadSpec, match="2 series could be t1_in"):
        find_inputs(tmp_path, model)
    assert list(found(tmp_path, model, "late")) == ["late"]


def test_one_series_that_says_nothing_is_taken_with_a_note_and_one_that_speaks_against_it_is_not(
    tmp_path: Path, model: Model
) -> None:
    write_scan(tmp_path / "mute", ProtocolName="", EchoTime="")
    (case,) = found(tmp_path / "mute", model).values()
    assert "taken for t1_in" in case.note
    write_scan(tmp_path / "other", **T2_SPIR)
    with pytest.raises(BadSpec, match="none of its series is t1_in"):
        find_inputs(tmp_path / "other", model)
    (case,) = found(tmp_path / "other", model, "1").values()
    assert "taken for t1_in" in case.note


def test_nifti_files_are_cases_alone_in_folders_and_as_channels(tmp_path: Path, model: Model, phases: Model) -> None:
    for name in ("one", "deeper/two", "deeper/three_0000", "deeper/three_0001"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(bright().T, np.eye(4)), tmp_path / f"{name}.nii.gz")
    assert list(found(tmp_path / "one.nii.gz", model)) == ["one"]
    assert list(found(tmp_path, model)) == ["deeper_three_0000", "deeper_three_0001", "deeper_two", "one"]
    both = found(tmp_path / "deeper", phases)
    assert both["three"].read().image.intensities.shape == (2, 6, 24, 20)
    assert "two_0000.nii.gz to two_0001.nii.gz; came two.nii.gz" in both["two"].problem
    assert list(found(tmp_path / "deeper" / "three_0000.nii.gz", phases)) == ["three"]


def test_a_label_map_beside_the_images_is_no_scan(tmp_path: Path, model: Model) -> None:
    values = np.arange(4 * 40 * 50).reshape(50, 40, 4)
    for name, voxels in (("image", values), ("reference", values % 5), ("fractions", values % 5 / 4)):
        nibabel.save(nibabel.Nifti1Image(voxels.astype(np.float32), np.eye(4)), tmp_path / f"{name}.nii.gz")
    cases = found(tmp_path, model)
    assert cases["image"].read().image.geometry.shape == (4, 40, 50)
    cases["fractions"].read()
    with pytest.raises(BadData, match="the numbers 0, 1, 2, 3, 4 and no other"):
        cases["reference"].read()


def test_a_file_that_cannot_be_read_fails_the_series_beside_it(tmp_path: Path, model: Model) -> None:
    write_scan(tmp_path / "whole", study="1")
    write_scan(tmp_path / "cut", study="2")
    (tmp_path / "cut" / "IMG-006.dcm").write_bytes((tmp_path / "cut" / "IMG-006.dcm").read_bytes()[:200])
    write_scan(tmp_path / "gone", study="3")
    for file in (tmp_path / "gone").iterdir():
        file.write_bytes(b"nothing of the kind")
    cases = found(tmp_path, model)
    assert list(cases) == ["cut", "gone", "whole"]
    assert "IMG-006.dcm" in cases["cut"].problem
    assert "IMG-001.dcm is not a DICOM file" in cases["gone"].problem
    assert "and 5 more such files" in cases["gone"].problem
    assert not cases["whole"].problem


def test_equal_names_are_told_apart(tmp_path: Path, model: Model) -> None:
    write_scan(tmp_path / "a b", study="1")
    write_scan(tmp_path / "a+b", study="2")
    assert list(found(tmp_path, model)) == ["a-b_t1_in", "a-b_t1_in-2"]


@pytest.mark.parametrize(
    "make", [lambda path: None, lambda path: path.mkdir(), lambda path: path.write_text("no image")]
)
def test_nothing_to_predict_is_one_line(tmp_path: Path, model: Model, make: Any) -> None:
    make(tmp_path / "input")

    def read_all() -> None:
        for case in find_inputs(tmp_path / "input", model).cases:
            case.read()

    with pytest.raises(BadData) as refused:
        read_all()
    assert "\n" not in str(refused.value)


def series(
    protocol: str = "", echo: float | None = None, *, description: str = "", modality: str = "MR"
) -> FoundSeries:
    return FoundSeries((), description, protocol, modality, None, echo, 30, "axial", (256, 256))


@pytest.mark.parametrize(
    ("one", "told"),
    [
        (series("T1DUAL_InPhase", 4.6), "t1_in"),
        (series("T1DUAL_OutPhase", 2.3), "t1_out"),
        (series("T2SPIR", 70), "t2_spir"),
        (series("", 4.6, description="AX T1 IN PHASE"), "t1_in"),
        (series("", 2.3, description="Ax opposed-phase"), "t1_out"),
        (series("t1_vibe_dixon_tra_bh_in"), "t1_in"),
        (series("t1_vibe_dixon_tra_bh_opp"), "t1_out"),
        (series("T1 in breath hold", 1.2), None),
        (series("T2 haste", 90), "other"),
        (series("T2 fs tse", 80), "t2_spir"),
        (series("dwi b800", 60), "other"),
        (series("abdomen", modality="CT"), "ct"),
        (series("pet", modality="PT"), "other"),
        (replace(series("T1DUAL_InPhase", 4.6), plane="coronal"), "other"),
        (series("LAVA-Flex WATER", 4.6), "other"),
        (series("t1_vibe_dixon_tra_bh_F", 4.6), "other"),
        (series("THRIVE SPIR", 4.6), None),
        (series("T1 fat sat in phase", 4.6), "t1_in"),
        (series("T1 post op", 2.3), None),
        (series("T1 op", 2.3), "t1_out"),
        (series("", 4.6), "t1_in"),
        (series("", 2.3), None),  # out of phase at 1.5 T, in phase at 3 T
        (series("", None), None),
    ],
)
def test_names_and_echo_times_tell_sequences(one: FoundSeries, told: str | None) -> None:
    assert sequence_of(one, [one]) == told


@pytest.mark.parametrize("phase", ["ct", "CT"])
def test_no_mr_series_is_taken_for_ct(phase: str) -> None:
    for one in (series("LAVA", 2.2), series("subtraction"), series("T1DUAL_InPhase", 4.6)):
        assert is_unlike(one, phase, [one])
        assert not matches(one, phase, [one])
    scan = series("abdomen", modality="CT")
    assert matches(scan, phase, [scan])
    assert not is_unlike(scan, phase, [scan])


@pytest.mark.parametrize(("short", "long"), [(2.3, 4.6), (1.15, 2.3)])
def test_two_echoes_of_one_name_tell_each_other_at_any_field_strength(short: float, long: float) -> None:
    both = [series("T1 in/out of phase", short), series("T1 in/out of phase", long)]
    assert [sequence_of(one, both) for one in both] == ["t1_out", "t1_in"]

"""Scores from files: pairing by name, label values, grids, and one line for whatever does not fit."""

import os
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from steelyard.datasets.phantom import write_phantom
from steelyard.errors import BadData, BadSpec
from steelyard.evaluate import evaluate_paths, parse_labels, scores_frame
from steelyard.labels import CHAOS_MR

COLUMN_ROW_SLICE_MM = np.diag([3.0, 2.0, 1.0, 1.0])


def voxels(*spots, value=3, dtype=np.uint8) -> np.ndarray:
    """A NIfTI array (column, row, slice) with single voxels set."""
    found = np.zeros((6, 5, 4), dtype)
    for spot in spots:
        found[spot] = value
    return found


def save(path: Path, data: np.ndarray, affine=COLUMN_ROW_SLICE_MM) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(data, affine), path)
    return path


def scores(evaluations) -> dict:
    return {(row["case_id"], row["organ"], row["metric"]): row["value"] for row in scores_frame(evaluations).to_dicts()}


def line_of(error_type, call) -> str:
    with pytest.raises(error_type) as error:
        call()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_two_files_of_any_name_are_one_case_with_an_organ_for_each_value(tmp_path):
    truth = save(tmp_path / "truth.nii", voxels((1, 2, 2)) + voxels((4, 4, 1), value=7))
    mine = save(tmp_path / "mine.nii.gz", voxels((3, 2, 2)) + voxels((4, 4, 1), (4, 4, 2), value=7))
    found = scores(evaluate_paths(truth, mine))
    assert {organ for _, organ, _ in found} == {"label_3", "label_7", None}
    assert found["mine", "label_3", "mssd_mm"] == pytest.approx(6)  # two columns
    assert found["mine", "label_7", "mssd_mm"] == pytest.approx(1)  # one slice
    assert found["mine", "label_7", "ravd"] == pytest.approx(100)
    assert found["mine", "label_7", "sensitivity"] == 1


def test_the_first_path_is_the_reference(tmp_path):
    small, large = save(tmp_path / "s.nii", voxels((1, 1, 1))), save(tmp_path / "l.nii", voxels((1, 1, 1), (1, 2, 1)))
    assert scores(evaluate_paths(small, large))["l", "label_3", "precision"] == 0.5
    assert scores(evaluate_paths(large, small))["s", "label_3", "precision"] == 1


def test_folders_pair_files_of_equal_names_compressed_or_not(tmp_path):
    save(tmp_path / "truth" / "p.01.nii", voxels((1, 1, 1)))
    save(tmp_path / "truth" / "p.02.nii.gz", voxels((1, 1, 1)))
    save(tmp_path / "mine" / "p.01.nii.gz", voxels((1, 1, 1)))
    save(tmp_path / "mine" / "p.02.nii.gz", voxels((2, 1, 1)))
    (tmp_path / "mine" / "dataset.json").write_text("{}")
    (tmp_path / "mine" / "._p.03.nii").write_bytes(b"litter")
    found = scores(evaluate_paths(tmp_path / "truth", tmp_path / "mine"))
    assert found["p.01", "label_3", "dice"] == 1
    assert found["p.02", "label_3", "dice"] == 0
    assert found[None, "label_3", "dice"] == 0.5


def test_a_value_in_one_case_only_is_an_organ_of_all_cases(tmp_path):
    for side in ("truth", "mine"):
        save(tmp_path / side / "a.nii", voxels((1, 1, 1), value=3))
        save(tmp_path / side / "b.nii", voxels((1, 1, 1), value=5))
    found = scores(evaluate_paths(tmp_path / "truth", tmp_path / "mine"))
    assert found["a", "label_5", "dice"] is None
    assert found["a", "label_5", "specificity"] == 1


@pytest.mark.parametrize(("extra", "lacking"), [("truth", "mine"), ("mine", "truth")])
def test_a_missing_counterpart_is_named_on_either_side(tmp_path, extra, lacking):
    for side in ("truth", "mine"):
        save(tmp_path / side / "a.nii", voxels((1, 1, 1)))
    save(tmp_path / extra / "b.nii", voxels((1, 1, 1)))
    line = line_of(BadData, lambda: evaluate_paths(tmp_path / "truth", tmp_path / "mine"))
    assert line.startswith(f"{tmp_path / lacking} lacks a counterpart of b.")


def test_folders_without_a_common_name_are_refused(tmp_path):
    save(tmp_path / "truth" / "a.nii", voxels((1, 1, 1)))
    save(tmp_path / "mine" / "b.nii", voxels((1, 1, 1)))
    line = line_of(BadData, lambda: evaluate_paths(tmp_path / "truth", tmp_path / "mine"))
    assert "no file of" in line
    assert "called b and a; give" in line


def test_one_name_in_two_spellings_is_refused(tmp_path):
    for name in ("truth/a.nii", "mine/a.nii", "mine/a.nii.gz"):
        save(tmp_path / name, voxels((1, 1, 1)))
    assert "holds both" in line_of(BadData, lambda: evaluate_paths(tmp_path / "truth", tmp_path / "mine"))


def test_unequal_grids_name_the_case(tmp_path):
    truth = save(tmp_path / "truth.nii", voxels((1, 1, 1)))
    mine = save(tmp_path / "mine.nii", voxels((1, 1, 1)), COLUMN_ROW_SLICE_MM * 1.1)
    assert line_of(BadData, lambda: evaluate_paths(truth, mine)).startswith("case mine: ")


@pytest.mark.parametrize("value", [0.5, -1.0, np.nan, 70000.0])
def test_an_image_in_place_of_a_mask_is_recognised_by_its_values(tmp_path, value):
    truth = save(tmp_path / "truth.nii", voxels((1, 1, 1)))
    image = save(tmp_path / "image.nii", voxels((1, 1, 1), value=value, dtype=np.float32))
    assert "image.nii holds the value" in line_of(BadData, lambda: evaluate_paths(truth, image))


def test_labels_name_the_values_in_the_files(tmp_path):
    truth, mine = (save(tmp_path / name, voxels((1, 1, 1), value=7)) for name in ("t.nii", "m.nii"))
    found = scores(evaluate_paths(truth, mine, labels=parse_labels("spleen=4,liver=7")))
    assert found["m", "liver", "dice"] == 1
    assert found["m", "spleen", "dice"] is None
    line = line_of(BadData, lambda: evaluate_paths(truth, mine, labels=parse_labels("spleen=4")))
    assert "holds 7 where 0 and 4 spleen are known" in line


def test_class_indices_are_understood_only_where_they_cannot_be_source_values(tmp_path):
    truth = save(tmp_path / "t.nii", voxels((1, 1, 1), value=126))
    mine = save(tmp_path / "m.nii", voxels((1, 1, 1), value=2))
    assert scores(evaluate_paths(truth, mine))["m", "right_kidney", "dice"] == 1
    mixed = parse_labels("spleen=2,liver=126")
    save(tmp_path / "m.nii", voxels((1, 1, 1), value=1) + voxels((1, 1, 2), value=2))
    assert "holds 1 where" in line_of(BadData, lambda: evaluate_paths(truth, mine, labels=mixed))


@pytest.mark.parametrize("wrong", ["nothing.nii", "notes.txt", "empty"])
def test_what_is_no_mask_is_refused(tmp_path, wrong):
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    truth = save(tmp_path / "truth.nii", voxels((1, 1, 1)))
    assert str(tmp_path / wrong) in line_of(BadData, lambda: evaluate_paths(truth, tmp_path / wrong))


def test_a_folder_of_files_has_no_single_file_as_counterpart(tmp_path):
    truth = save(tmp_path / "truth" / "a.nii", voxels((1, 1, 1)))
    assert "another one as counterpart" in line_of(BadData, lambda: evaluate_paths(tmp_path / "truth", truth))


@pytest.fixture(scope="module")
def patient(tmp_path_factory) -> Path:
    """One phantom patient in the CHAOS layout: T1, 6 slices of 64 × 64."""
    folder = tmp_path_factory.mktemp("phantom")
    write_phantom(folder, patients=1, seed=3, size=64, slices=6)
    return folder / "Train_Sets" / "MR" / "1" / "T1DUAL"


@pytest.fixture
def shifted(patient, tmp_path) -> Path:
    """The masks of the patient moved by one column, as PNG files of the same names."""
    folder = tmp_path / "shifted"
    folder.mkdir()
    for file in (patient / "Ground").iterdir():
        Image.fromarray(np.roll(np.array(Image.open(file)), 1, axis=1)).save(folder / file.name)
    return folder


def in_plane_mm(patient) -> float:
    import pydicom

    return float(pydicom.dcmread(next((patient / "DICOM_anon" / "InPhase").iterdir())).PixelSpacing[1])


def test_png_masks_take_their_millimetres_from_the_series_and_their_organs_from_chaos(patient, shifted):
    found = scores(evaluate_paths(patient / "Ground", shifted, dicom=patient / "DICOM_anon" / "InPhase"))
    assert {organ for _, organ, _ in found} == {"liver", "right_kidney", "left_kidney", "spleen", None}
    assert found["shifted", "liver", "mssd_mm"] == pytest.approx(in_plane_mm(patient))
    assert found["shifted", "liver", "ravd"] == 0
    assert 0.5 < found["shifted", "liver", "dice"] < 1


def test_mask_k_belongs_to_image_k_by_name_and_numbers_count_as_numbers(patient, shifted):
    """Out-phase images have other names than the masks; masks 8, 9, 10, … 13 stay in that order."""
    in_phase, out_phase = (patient / "DICOM_anon" / phase for phase in ("InPhase", "OutPhase"))
    wanted = scores(evaluate_paths(patient / "Ground", shifted, dicom=in_phase))
    assert scores(evaluate_paths(patient / "Ground", shifted, dicom=out_phase)) == wanted
    for number, file in enumerate(sorted(shifted.iterdir()), start=8):
        file.rename(shifted / f"mask {number}.png")
    assert scores(evaluate_paths(patient / "Ground", shifted, dicom=in_phase)) == wanted
    (shifted / "mask 8.png").rename(shifted / "mask 14.png")
    assert scores(evaluate_paths(patient / "Ground", shifted, dicom=in_phase)) != wanted


def test_one_stray_name_among_masks_named_like_their_images_is_refused(patient, shifted):
    first = sorted(shifted.iterdir())[0]
    first.rename(shifted / "stray.png")
    series = patient / "DICOM_anon" / "InPhase"
    assert "the mask stray has no image" in line_of(BadData, lambda: evaluate_paths(shifted, shifted, dicom=series))


def test_other_grey_values_become_labels(patient, shifted):
    for file in shifted.iterdir():
        Image.fromarray(np.where(np.array(Image.open(file)) == 63, 255, 0).astype(np.uint8)).save(file)
    found = scores(evaluate_paths(shifted, shifted, dicom=patient / "DICOM_anon" / "InPhase"))
    assert {organ for _, organ, _ in found} == {"label_255", None}


def test_png_references_and_a_nifti_prediction_of_class_indices_meet_on_one_grid(patient, tmp_path):
    from steelyard.evaluate.mask_files import PngMasks
    from steelyard.evaluate.structures import Reading
    from steelyard.io.dicom_series import read_headers
    from steelyard.io.nifti import write_label_map

    series = patient / "DICOM_anon" / "InPhase"
    write_label_map(
        tmp_path / "mine.nii.gz",
        PngMasks(patient / "Ground", read_headers(series)).read(Reading.by_source_value(CHAOS_MR)),
    )
    found = scores(evaluate_paths(patient / "Ground", tmp_path / "mine.nii.gz", dicom=series))
    assert [found["mine", organ.name, "dice"] for organ in CHAOS_MR.organs] == [1, 1, 1, 1]


def test_png_masks_need_a_series_and_nifti_files_none(patient, tmp_path):
    ground, file = patient / "Ground", save(tmp_path / "a.nii", voxels((1, 1, 1)))
    assert "--dicom SERIES" in line_of(BadSpec, lambda: evaluate_paths(ground, ground))
    assert "Leave it out" in line_of(BadSpec, lambda: evaluate_paths(file, file, dicom=ground))


def test_a_missing_or_foreign_or_broken_mask_is_one_line(patient, shifted):
    def line():
        return line_of(BadData, lambda: evaluate_paths(patient / "Ground", shifted, dicom=series))

    series = patient / "DICOM_anon" / "InPhase"
    first = sorted(shifted.iterdir())[0]
    whole = first.read_bytes()
    first.write_bytes(whole[: len(whole) // 2])
    assert first.name in line()
    Image.fromarray(np.zeros((32, 64), np.uint8)).save(first)
    assert "32 × 64" in line()
    first.unlink()
    assert "5 masks but 6 images" in line()
    for file in shifted.iterdir():
        file.unlink()
    assert "neither" in line()


def test_nothing_is_written_beside_the_files(patient, shifted):
    before = sorted(path for path in patient.parent.rglob("*"))
    evaluate_paths(patient / "Ground", shifted, dicom=patient / "DICOM_anon" / "InPhase")
    assert sorted(path for path in patient.parent.rglob("*")) == before


@pytest.mark.real_data
def test_chaos_patient_1_has_the_published_voxel_counts():
    root = os.environ.get("STEELYARD_DATA")
    folder = Path(root or "") / "Train_Sets" / "MR" / "1" / "T1DUAL"
    if not root or not folder.is_dir():
        pytest.skip("STEELYARD_DATA names no folder with Train_Sets/MR/1")
    [case] = evaluate_paths(folder / "Ground", folder / "Ground", dicom=folder / "DICOM_anon" / "InPhase")
    assert case.counts.tp.tolist()[1:] == [75411, 10076, 10320, 6149]


def write_values(path: Path, *values: int) -> Path:
    """A NIfTI file with one block of four voxels per value."""
    voxels = np.zeros((2, 4, 8), np.int16)
    for k, value in enumerate(values):
        voxels[:, :, 2 * k] = value
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([1.0, 2.0, 3.0, 1.0])), path)
    return path


def dice_of(evaluations) -> dict[str, float | None]:
    return {score.organ: score.value for score in evaluations[0].scores if score.metric == "dice"}


def test_chaos_values_in_nifti_are_its_organs_and_indices_beside_them_too(tmp_path: Path) -> None:
    greys = write_values(tmp_path / "greys.nii.gz", 63, 126)
    indices = write_values(tmp_path / "indices.nii.gz", 1, 2)
    for prediction in (greys, indices):
        found = dice_of(evaluate_paths(greys, prediction))
        assert (found["liver"], found["right_kidney"]) == (1, 1)


def test_masks_without_a_common_value_are_refused_and_not_scored_as_lost(tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"no value in common \(5, 7 and 1\)"):
        evaluate_paths(write_values(tmp_path / "a.nii.gz", 5, 7), write_values(tmp_path / "b.nii.gz", 1))


def test_binary_masks_of_one_and_of_255_are_one_organ(tmp_path: Path) -> None:
    found = dice_of(evaluate_paths(write_values(tmp_path / "a.nii.gz", 255), write_values(tmp_path / "b.nii.gz", 1)))
    assert found == {"label_255": 1}


def test_values_that_were_named_are_not_taken_for_indices(tmp_path: Path) -> None:
    greys, indices = write_values(tmp_path / "a.nii.gz", 63, 252), write_values(tmp_path / "b.nii.gz", 1, 2)
    with pytest.raises(BadData, match=r"b\.nii\.gz holds 1, 2"):
        evaluate_paths(greys, indices, labels=parse_labels("liver=63,spleen=252"))

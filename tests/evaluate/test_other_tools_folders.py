"""Folders as nnU-Net and TotalSegmentator leave them, and DICOM SEG: what is named is found, what is not is refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from mask_files import LIVER, blocks, describe, label_table, organ_files, save
from steelyard.errors import BadData, BadSpec
from steelyard.evaluate import LabelChoice, evaluate_paths, find_cases
from steelyard.evaluate.paths import find_pairs
from steelyard.labels import CHAOS_MR

HIT = blocks(liver=1, spleen=2)
LESS = HIT.copy()
LESS[2][LIVER[1:]] *= 0  # a third of the liver: Dice 2·16 / (16 + 24)
DICE_OF_LESS = 0.8


def dice_of(evaluations) -> dict[tuple[str, str], float | None]:
    return {(s.case_id, s.organ): s.value for case in evaluations for s in case.scores if s.metric == "dice"}


def line_of(error_type, call) -> str:
    with pytest.raises(error_type) as error:
        call()
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture
def nnunet(tmp_path) -> Path:
    """labelsTr with dataset.json above, and a folder of predictions with all that nnU-Net writes beside them."""
    describe(tmp_path / "Dataset007", {"background": 0, "liver": 1, "spleen": 2})
    for case in ("mr_01", "mr_02"):
        save(tmp_path / "Dataset007" / "labelsTr" / f"{case}.nii.gz", HIT)
        save(tmp_path / "Dataset007" / "imagesTr" / f"{case}_0000.nii.gz", HIT * 100.5)
        save(tmp_path / "predicted" / f"{case}.nii.gz", LESS)
    describe(tmp_path / "predicted", {"background": 0, "liver": 1, "spleen": 2})
    for name in ("plans.json", "predict_from_raw_data_args.json", "mr_01.npz", "mr_01.pkl"):
        (tmp_path / "predicted" / name).write_text("{}")
    return tmp_path


def test_nnunets_names_come_from_dataset_json_beside_predictions_or_above_labels(nnunet):
    labels, predicted = nnunet / "Dataset007" / "labelsTr", nnunet / "predicted"
    wanted = {("mr_01", "liver"): DICE_OF_LESS, ("mr_01", "spleen"): 1}
    wanted |= {("mr_02", organ): dice for (_, organ), dice in wanted.items()}
    assert dice_of(evaluate_paths(labels, predicted)) == pytest.approx(wanted)
    (predicted / "dataset.json").unlink()
    assert dice_of(evaluate_paths(labels, predicted)) == pytest.approx(wanted)
    describe(predicted, {"background": 0, "liver": 1, "spleen": 2})
    (nnunet / "Dataset007" / "dataset.json").unlink()
    assert dice_of(evaluate_paths(labels, predicted)) == pytest.approx(wanted)


def test_a_dataset_json_above_a_folder_of_predictions_is_somebody_elses(nnunet):
    describe(nnunet, {"background": 0, "heart": 1, "lung": 2})
    (nnunet / "predicted" / "dataset.json").unlink()
    (nnunet / "Dataset007" / "dataset.json").unlink()
    found = dice_of(evaluate_paths(nnunet / "Dataset007" / "labelsTr", nnunet / "predicted"))
    assert {organ for _, organ in found} == {"label_1", "label_2"}


def test_models_that_number_the_same_organs_otherwise_are_matched_by_name(nnunet):
    describe(nnunet / "predicted", {"background": 0, "Spleen": 1, "LIVER": 2, "stomach": 3})
    for case in ("mr_01", "mr_02"):
        save(nnunet / "predicted" / f"{case}.nii.gz", np.array([0, 2, 1, 3], np.uint8)[LESS])
    [pair, _] = find_pairs(nnunet / "Dataset007" / "labelsTr", nnunet / "predicted")
    assert pair.table.prediction.keys == ((2,), (1,))
    assert pair.table.left_out == ("stomach",)
    found = dice_of(evaluate_paths(nnunet / "Dataset007" / "labelsTr", nnunet / "predicted"))
    assert (found["mr_01", "liver"], found["mr_01", "spleen"]) == pytest.approx((DICE_OF_LESS, 1))


def test_images_in_place_of_labels_are_recognised_by_their_suffix(nnunet):
    line = line_of(BadData, lambda: evaluate_paths(nnunet / "Dataset007" / "imagesTr", nnunet / "predicted"))
    assert "nnU-Net's images; name the folder of labels" in line


def test_regions_are_refused_and_scored_one_at_a_time_with_labels(nnunet):
    describe(nnunet / "Dataset007", {"background": 0, "both": [1, 2], "spleen": 2})
    labels, predicted = nnunet / "Dataset007" / "labelsTr", nnunet / "predicted"
    line = line_of(BadData, lambda: evaluate_paths(labels, predicted))
    assert "label 'both' is a region of the values [1, 2]" in line
    choice = LabelChoice({"both": (1, 2)}, unlisted_is_background=True)
    assert dice_of(evaluate_paths(labels, predicted, labels=choice))["mr_01", "both"] == pytest.approx(
        2 * 24 / (24 + 32)
    )


def test_voxels_that_nobody_labelled_are_not_scored_as_background(nnunet):
    describe(nnunet / "Dataset007", {"background": 0, "liver": 1, "spleen": 2, "ignore": 3})
    labels, predicted = nnunet / "Dataset007" / "labelsTr", nnunet / "predicted"
    assert len(evaluate_paths(labels, predicted)) == 2  # no such voxel
    marked = HIT.copy()
    marked[5, 4, 3] = 3
    save(labels / "mr_02.nii.gz", marked)
    assert "calls ignore" in line_of(BadData, lambda: evaluate_paths(labels, predicted))


def test_a_value_that_dataset_json_does_not_name_is_refused(nnunet):
    save(nnunet / "predicted" / "mr_02.nii.gz", HIT * 3)
    line = line_of(BadData, lambda: evaluate_paths(nnunet / "Dataset007" / "labelsTr", nnunet / "predicted"))
    assert "mr_02.nii.gz holds 3, 6 where 0 and 1 liver, 2 spleen are known" in line


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"labels": {"background": 0, "liver": "one"}}', "'one' where a whole"),
        ("{", "is not JSON"),
        ('{"labels": {"a": 1, "b": 1}}', "share the value 1"),
    ],
)
def test_a_dataset_json_that_makes_no_sense_is_one_line(nnunet, content, said):
    (nnunet / "predicted" / "dataset.json").write_text(content)
    assert said in line_of(BadData, lambda: evaluate_paths(nnunet / "Dataset007" / "labelsTr", nnunet / "predicted"))


def test_totalsegmentators_folders_are_matched_by_the_words_of_their_names(tmp_path):
    """CHAOS's grey values name themselves; kidney_right is the right kidney; what CHAOS lacks stays closed."""
    reference = np.select([HIT == 1, HIT == 2], [63, 126]).astype(np.uint8)
    for case in ("s1", "s2"):
        save(tmp_path / "truth" / f"{case}.nii.gz", reference)
        folder = organ_files(tmp_path / "total" / case, LESS, liver=1, kidney_right=2, kidney_left=5, spleen=6)
        (folder / "aorta.nii.gz").write_bytes(b"never opened")
    [pair, _] = find_pairs(tmp_path / "truth", tmp_path / "total")
    assert pair.table.prediction.keys == (("liver",), ("kidney_right",), ("kidney_left",), ("spleen",))
    assert pair.table.left_out == ("aorta",)
    found = dice_of(evaluate_paths(tmp_path / "truth", tmp_path / "total"))
    assert [found["s2", organ] for organ in ("liver", "right_kidney", "spleen")] == [pytest.approx(0.8), 1, None]


def test_totalsegmentators_own_data_set_keeps_the_masks_one_folder_deeper(tmp_path):
    for case in ("s1", "s2"):
        save(tmp_path / "truth" / case / "ct.nii.gz", HIT * 9.5)
        organ_files(tmp_path / "truth" / case / "segmentations", HIT, liver=1, spleen=2)
        organ_files(tmp_path / "total" / case, LESS, liver=1, spleen=2)
    found = dice_of(evaluate_paths(tmp_path / "truth", tmp_path / "total"))
    assert found["s1", "liver"] == pytest.approx(DICE_OF_LESS)


def test_one_folder_of_organ_files_faces_one_file(tmp_path):
    truth = save(tmp_path / "truth.nii.gz", np.where(HIT == 1, 63, HIT * 126).astype(np.uint8))
    organ_files(tmp_path / "total", LESS * 1, liver=1, spleen=9, left_kidney=9, right_kidney=2)
    found = dice_of(evaluate_paths(truth, tmp_path / "total"))
    assert found["total", "liver"] == pytest.approx(DICE_OF_LESS)
    assert dice_of(evaluate_paths(tmp_path / "total", truth))["truth", "liver"] == pytest.approx(DICE_OF_LESS)


def test_names_in_the_header_of_multilabel_output_are_used(tmp_path):
    save(tmp_path / "truth" / "s1.nii.gz", np.select([HIT == 1, HIT == 2], [63, 252]).astype(np.uint8))
    header = label_table({1: "spleen", 5: "liver", 2: "kidney_right", 3: "kidney_left", 79: "skull"})
    save(tmp_path / "total" / "s1.nii", np.array([0, 5, 1], np.uint8)[LESS], header=header)
    [pair] = find_pairs(tmp_path / "truth", tmp_path / "total")
    assert pair.table.prediction.keys == ((5,), (2,), (3,), (1,))
    assert dice_of(evaluate_paths(tmp_path / "truth", tmp_path / "total"))["s1", "liver"] == pytest.approx(DICE_OF_LESS)


def test_names_in_a_header_say_nothing_of_the_other_sides_values(tmp_path):
    """Value 1 is the spleen in TotalSegmentator's output, and who knows what in the reference: no silent comparison."""
    truth = save(tmp_path / "truth.nii.gz", HIT)
    total = save(tmp_path / "total.nii.gz", HIT, header=label_table({1: "spleen", 2: "kidney_right"}))
    line = line_of(BadData, lambda: evaluate_paths(truth, total))
    assert "the prediction names its organs (spleen, kidney_right), the reference holds values (1, 2)" in line
    assert "--labels" in line
    line = line_of(BadSpec, lambda: evaluate_paths(truth, total, labels=LabelChoice({"leber": (1,)}, {}, True)))
    assert "nothing called leber" in line
    choice = LabelChoice({"liver": (1,), "spleen": (2,)}, {"liver": (2,), "spleen": ("spleen",)})
    assert dice_of(evaluate_paths(truth, total, labels=choice)) == {("total", "liver"): 0, ("total", "spleen"): 0}


def test_labels_map_values_onto_files_and_several_of_them_onto_one_organ(tmp_path):
    truth = save(tmp_path / "truth.nii.gz", HIT)
    organ_files(tmp_path / "total", HIT, liver_left=7, liver_right=1, milz=2)
    choice = LabelChoice({"liver": (1,), "spleen": (2,)}, {"liver": ("liver_left", "liver_right"), "spleen": ("milz",)})
    assert dice_of(evaluate_paths(truth, tmp_path / "total", labels=choice)) == {
        ("total", "liver"): 1,
        ("total", "spleen"): 1,
    }
    wrong = LabelChoice({"liver": (1,), "spleen": (2,)}, {"liver": ("liver_left",), "spleen": ("lien",)})
    line = line_of(BadSpec, lambda: evaluate_paths(truth, tmp_path / "total", labels=wrong))
    assert "the prediction has nothing called lien. It holds liver_left, liver_right, milz" in line


def test_other_values_in_the_prediction_are_merged_and_unlisted_ones_refused_unless_told(tmp_path):
    truth, mine = save(tmp_path / "truth.nii.gz", HIT), np.array([0, 5, 8], np.uint8)[HIT]
    mine[0][LIVER[1:]] = 6  # of the liver's 24
    save(tmp_path / "mine.nii.gz", mine)
    both = LabelChoice({"liver": (1,), "spleen": (2,)}, {"liver": (5, 6), "spleen": (8,)})
    found = evaluate_paths(truth, tmp_path / "mine.nii.gz", labels=both)
    assert dice_of(found) == {("mine", "liver"): 1, ("mine", "spleen"): 1}
    one = {"organs": {"liver": (1,)}, "prediction": {"liver": (5, 6)}}
    line = line_of(BadData, lambda: evaluate_paths(truth, tmp_path / "mine.nii.gz", labels=LabelChoice(**one)))
    assert "holds 2 where 0 and 1 liver are known" in line
    found = evaluate_paths(truth, tmp_path / "mine.nii.gz", labels=LabelChoice(**one, unlisted_is_background=True))
    assert dice_of(found) == {("mine", "liver"): 1}


def test_an_organ_that_the_prediction_has_no_counterpart_for_is_an_error_and_not_a_miss(tmp_path):
    organ_files(tmp_path / "truth" / "s1", HIT, liver=1, spleen=2)
    organ_files(tmp_path / "total" / "s1", LESS, liver=1, stomach=4)
    line = line_of(BadData, lambda: evaluate_paths(tmp_path / "truth", tmp_path / "total"))
    assert "the prediction has no spleen; it holds liver, stomach" in line


def test_organ_files_that_overlap_or_lie_apart_or_hold_more_are_refused(tmp_path):
    truth = organ_files(tmp_path / "truth" / "s1", HIT, liver=1, spleen=2).parent
    total = organ_files(tmp_path / "total" / "s1", HIT, liver=1, spleen=2).parent
    save(total / "s1" / "spleen.nii.gz", (HIT > 0).astype(np.uint8))
    assert "spleen and liver overlap in 24 voxels" in line_of(BadData, lambda: evaluate_paths(truth, total))
    save(total / "s1" / "spleen.nii.gz", (HIT == 2).astype(np.uint8), np.diag([3.0, 2.0, 1.5, 1.0]))
    assert "lies on another grid" in line_of(BadData, lambda: evaluate_paths(truth, total))
    save(total / "s1" / "spleen.nii.gz", HIT)
    assert "holds 1, 2 where a file per organ holds one value" in line_of(BadData, lambda: evaluate_paths(truth, total))


def test_an_organ_file_that_one_case_lacks_is_an_error(tmp_path):
    for case in ("s1", "s2"):
        organ_files(tmp_path / "truth" / case, HIT, liver=1, spleen=2)
        organ_files(tmp_path / "total" / case, HIT, liver=1, spleen=2)
    (tmp_path / "total" / "s2" / "spleen.nii.gz").unlink()
    line = line_of(BadData, lambda: evaluate_paths(tmp_path / "truth", tmp_path / "total"))
    assert "lacks spleen.nii.gz, which other cases have" in line


def test_a_prediction_turned_to_another_orientation_is_put_back(tmp_path):
    truth = save(tmp_path / "truth.nii.gz", HIT)
    turned = np.ascontiguousarray(np.flip(LESS, 0).transpose(2, 0, 1))  # column reversed, slices first
    affine = np.array([[0, -3, 0, 15], [0, 0, 2, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]])
    mine = save(tmp_path / "mine.nii.gz", turned, affine)
    found = dice_of(evaluate_paths(truth, mine))
    assert (found["mine", "label_1"], found["mine", "label_2"]) == pytest.approx((DICE_OF_LESS, 1))
    save(mine, turned, affine + np.eye(4)[:, [3, 0, 1, 2]] * 0.5)  # half a millimetre off
    assert "different grids" in line_of(BadData, lambda: evaluate_paths(truth, mine))


@pytest.fixture(scope="module")
def seg(tmp_path_factory):
    """A phantom patient's PNG masks, and a SEG file of them that leaves out empty frames and calls organs otherwise."""
    from steelyard.datasets.phantom import write_phantom
    from steelyard.evaluate.mask_files import PngMasks
    from steelyard.evaluate.structures import Reading
    from steelyard.io.dicom_seg import write_seg
    from steelyard.io.dicom_series import read_headers

    folder = tmp_path_factory.mktemp("seg")
    write_phantom(folder, patients=1, seed=3, size=64, slices=6)
    patient = folder / "Train_Sets" / "MR" / "1" / "T1DUAL"
    series = read_headers(patient / "DICOM_anon" / "InPhase")
    label_map = PngMasks(patient / "Ground", series).read(Reading.by_source_value(CHAOS_MR))
    write_seg(folder / "mine.dcm", label_map, series)
    return patient, folder / "mine.dcm", label_map


def test_a_dicom_seg_is_scored_against_png_masks_on_their_series_grid(seg):
    patient, file, _ = seg
    found = dice_of(evaluate_paths(patient / "Ground", file, dicom=patient / "DICOM_anon" / "InPhase"))
    assert found == {("mine", organ.name): 1 for organ in CHAOS_MR.organs}


def test_one_segment_of_several_is_read_as_the_organ_asked_for(seg):
    patient, file, _ = seg
    spleen = LabelChoice({"spleen": (252,)}, unlisted_is_background=True)
    series = patient / "DICOM_anon" / "InPhase"
    assert dice_of(evaluate_paths(patient / "Ground", file, dicom=series, labels=spleen)) == {("mine", "spleen"): 1}


def test_segments_are_matched_by_coded_concept_where_names_differ(seg, tmp_path):
    import pydicom

    patient, file, label_map = seg
    content = pydicom.dcmread(file)
    for segment, name in zip(content.SegmentSequence, ("Leber", "Niere 1", "Niere 2", "Milz"), strict=True):
        segment.SegmentLabel = name
    content.save_as(tmp_path / "german.dcm")
    series = patient / "DICOM_anon" / "InPhase"
    [pair] = find_pairs(patient / "Ground", tmp_path / "german.dcm", dicom=series)
    assert pair.table.prediction.keys == (("leber",), ("niere_1",), ("niere_2",), ("milz",))
    moved, found = pair.read()
    np.testing.assert_array_equal(found.labels, label_map.labels)
    np.testing.assert_array_equal(moved.labels, label_map.labels)


def test_two_seg_files_and_a_seg_reference_of_a_nifti_prediction(seg, tmp_path):
    from steelyard.io.nifti import write_label_map

    _, file, label_map = seg
    assert set(dice_of(evaluate_paths(file, file)).values()) == {1}
    write_label_map(tmp_path / "p" / "mine.nii.gz", label_map)
    describe(tmp_path / "p", {"background": 0, "liver": 1, "right kidney": 2, "kidney_left": 3, "spleen": 4})
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "mine.dcm").write_bytes(file.read_bytes())
    assert set(dice_of(evaluate_paths(tmp_path / "r", tmp_path / "p")).values()) == {1}
    (tmp_path / "s" / "mine").mkdir(parents=True)
    (tmp_path / "s" / "mine" / "1.dcm").write_bytes(file.read_bytes())
    assert set(dice_of(evaluate_paths(tmp_path / "p", tmp_path / "s")).values()) == {1}


def test_missing_cases_are_an_error_unless_allowed_and_then_listed(nnunet):
    labels, predicted = nnunet / "Dataset007" / "labelsTr", nnunet / "predicted"
    save(labels / "mr_03.nii.gz", HIT)
    assert "--allow-missing" in line_of(BadData, lambda: evaluate_paths(labels, predicted))
    found = find_cases(labels, predicted, allow_missing=True)
    assert [case for case, *_ in found.masks] == ["mr_01", "mr_02"]
    assert (found.without_prediction, found.without_reference) == (("mr_03",), ())


@pytest.mark.parametrize(("organ", "held"), [(None, (1, 2)), ("spleen", (0, 1))])
def test_the_folders_of_our_own_studies_have_their_organs_names(tmp_path, organ, held):
    """A run that knows the spleen alone calls it 1, which is the liver elsewhere in the study."""
    organs = [{"name": name, "index": index} for index, name in ((1, "liver"), (2, "spleen"))]
    runs = [{"run": "unet-f0", "organ": organ}]
    (tmp_path / "study.json").write_text(json.dumps({"label_set": {"organs": organs}, "runs": runs}))
    save(tmp_path / "cases" / "mr-1" / "reference.nii.gz", HIT)
    save(tmp_path / "cases" / "mr-1" / "image.nii.gz", HIT * 1.5)
    save(tmp_path / "unet-f0" / "predictions" / "mr-1.nii.gz", np.array([0, *held], np.uint8)[LESS])
    choice = LabelChoice({"spleen": ("spleen",)}) if organ else None
    found = dice_of(evaluate_paths(tmp_path / "cases", tmp_path / "unet-f0" / "predictions", labels=choice))
    assert found == pytest.approx({("mr-1", "spleen"): 1} | ({} if organ else {("mr-1", "liver"): DICE_OF_LESS}))

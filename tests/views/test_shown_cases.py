from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from phantoms import AXIAL, SHAPE, organ_labels, pixels_like, write_series
from shown import shown_case
from steelyard.errors import BadData, BadSpec
from steelyard.io.dicom_series import read_headers
from steelyard.io.nifti import write_label_map, write_volume
from steelyard.labels import CHAOS_MR
from steelyard.scores import Score
from steelyard.views.predicted_cases import cases_of_prediction, is_prediction
from steelyard.views.shown_cases import ShownCases, case_of_files, cases_of_run, label_map_of_file
from steelyard.volume import Geometry, LabelMap, Volume
from written_study import GRID, LABELS, WrittenRun, block, write_images, write_prediction, write_study

LIVER, KIDNEY = 1, 2


def dice(value: float | None, organ: str, case_id: str, metric: str = "dice") -> Score:
    status = "undefined" if value is None else "ok"
    return Score(metric, value, "1", "counts" if metric == "dice" else "chaos", status, organ, case_id, "p", "t1_in")


def run_with(loss: str, dices: dict[str, float | None], **others) -> WrittenRun:
    scores = [dice(value, "liver", case) for case, value in dices.items()]
    return WrittenRun(loss, others=scores + others.pop("more", []), **others)


def kept(folder: Path, runs: list[WrittenRun], cases: list[str]) -> Path:
    """A study whose runs kept a prediction of every case: the k-th run a box of k + 1 columns."""
    write_study(folder, runs)
    for case in cases:
        write_images(folder, case, block(slice(0, 2), slice(0, 1)))
        for k, run in enumerate(runs):
            if run.state == "done":
                write_prediction(folder, run, case, block(slice(0, 2), slice(0, k + 1)))
    return folder


def test_a_study_shows_every_loss_beside_the_reference(tmp_path: Path):
    runs = [run_with("first", {"p1_a": 0.5}), run_with("second", {"p1_a": 0.75})]
    cases = cases_of_run(kept(tmp_path, runs, ["p1_a"]))
    assert (cases.case_ids, cases.names) == (("p1_a",), ("first", "second"))
    (case,) = cases
    assert case.reference is not None
    assert np.count_nonzero(case.reference.labels) == 2
    assert {name: np.count_nonzero(p.labels) for name, p in case.predictions.items()} == {"first": 2, "second": 4}
    assert (case.score("first", "liver"), case.score("second", "liver")) == (0.5, 0.75)
    assert case.score("second", "left_kidney") is None
    assert case.label_set == LABELS


def test_a_run_shows_its_own_prediction_alone(tmp_path: Path):
    runs = [run_with("first", {"p1_a": 0.5}), run_with("second", {"p1_a": 0.75})]
    kept(tmp_path, runs, ["p1_a"])
    (case,) = cases_of_run(tmp_path / runs[1].name)
    assert list(case.predictions) == ["second"]
    assert case.score("second", "liver") == 0.75


def test_networks_of_one_organ_each_are_laid_over_one_another(tmp_path: Path):
    liver = WrittenRun("dice", organ="liver")
    kidney = WrittenRun("dice", organ="left_kidney")
    write_study(tmp_path, [kidney, liver])
    write_images(tmp_path, "p1_a", block(slice(0, 2), slice(0, 1)))
    write_prediction(tmp_path, liver, "p1_a", block(slice(0, 1), slice(0, 3)))
    write_prediction(tmp_path, kidney, "p1_a", block(slice(0, 1), slice(2, 4)))
    (case,) = cases_of_run(tmp_path)
    (prediction,) = case.predictions.values()
    assert prediction.labels[1, 0].tolist() == [LIVER, LIVER, KIDNEY, KIDNEY, 0, 0]


def test_of_several_seeds_the_first_is_shown(tmp_path: Path):
    runs = [run_with("first", {"p1_a": 0.5}), run_with("first", {"p1_a": 0.25}, seed=2)]
    (case,) = cases_of_run(kept(tmp_path, runs, ["p1_a"]))
    assert {name: np.count_nonzero(p.labels) for name, p in case.predictions.items()} == {"first": 2}
    assert case.score("first", "liver") == 0.5


def test_networks_are_named_where_there_are_several(tmp_path: Path):
    runs = [run_with("dice", {"p1_a": 0.5}), run_with("dice", {"p1_a": 0.5}, network="other")]
    assert cases_of_run(kept(tmp_path, runs, ["p1_a"])).names == ("dice, net, multiclass", "dice, other, multiclass")


def test_predictions_are_chosen_by_name(tmp_path: Path):
    runs = [run_with("first", {"p1_a": 0.5}), run_with("second", {"p1_a": 0.75})]
    cases = cases_of_run(kept(tmp_path, runs, ["p1_a"]))
    (case,) = cases.with_predictions(("second",))
    assert list(case.predictions) == ["second"]
    with pytest.raises(BadSpec, match=r"'secnd'. Did you mean 'second'"):
        cases.with_predictions(("secnd",))


def test_cases_are_picked_by_a_metric_whichever_way_is_good(tmp_path: Path):
    ids = ["p1_a", "p2_a", "p3_a", "p4_a"]
    hd95 = [dice(v, "liver", case, "hd95_mm") for case, v in zip(ids, (4.0, 3.0, 9.0, 8.0), strict=True)]
    run = run_with("first", dict(zip(ids, (0.5, 0.9, 0.1, 0.6), strict=True)), more=hd95)
    cases = cases_of_run(kept(tmp_path, [run], ids))
    picked = {place: cases.picked(place, prediction="first") for place in ("worst", "median", "best")}
    assert picked == {"worst": "p3_a", "median": "p1_a", "best": "p2_a"}
    picked = {place: cases.picked(place, prediction="first", by="hd95_mm") for place in ("worst", "median", "best")}
    assert picked == {"worst": "p3_a", "median": "p4_a", "best": "p2_a"}


def test_cases_are_picked_by_one_organ_or_by_the_mean_of_those_with_a_value(tmp_path: Path):
    more = [dice(0.1, "left_kidney", "p1_a"), dice(0.9, "left_kidney", "p2_a"), dice(None, "left_kidney", "p3_a")]
    run = run_with("first", {"p1_a": 0.8, "p2_a": 0.3, "p3_a": 0.5}, more=more)
    cases = cases_of_run(kept(tmp_path, [run], ["p1_a", "p2_a", "p3_a"]))
    assert cases.picked("worst", prediction="first") == "p1_a"  # .45 < .5 < .6
    assert cases.picked("worst", prediction="first", organ="liver") == "p2_a"
    assert cases.picked("best", prediction="first", organ="left_kidney") == "p2_a"
    for wrong in ({"organ": "heart"}, {"by": "dize"}):
        with pytest.raises(BadSpec, match=r"heart|dize"):
            cases.picked("worst", prediction="first", **wrong)
    with pytest.raises(BadSpec, match=r"no case .* has iou to be picked by"):
        cases.picked("worst", prediction="first", by="iou")


def test_what_is_missing_is_said_in_one_line(tmp_path: Path):
    with pytest.raises(BadData, match="neither a study's folder nor a run's"):
        cases_of_run(tmp_path)
    write_study(tmp_path / "unfinished", [WrittenRun("first", state="unfinished")])
    with pytest.raises(BadData, match="no finished run"):
        cases_of_run(tmp_path / "unfinished")
    write_study(tmp_path / "deleted", [WrittenRun("first")])
    with pytest.raises(BadData, match="no prediction was kept"):
        cases_of_run(tmp_path / "deleted")


def test_a_case_that_is_not_there_is_named_with_those_that_are(tmp_path: Path):
    cases = cases_of_run(kept(tmp_path, [run_with("first", {"p1_a": 0.5})], ["p1_a"]))
    with pytest.raises(BadSpec, match=r"'p1_b'. Did you mean 'p1_a'"):
        cases.read("p1_b")


def test_a_label_map_on_another_grid_is_refused():
    case = shown_case()
    moved = LabelMap(case.predictions["iou0515"].labels, Geometry((6, 30, 40), np.diag([5.0, 2, 3, 1])), CHAOS_MR)
    with pytest.raises(BadData, match="p1: the prediction moved lies on another grid"):
        replace(case, predictions={"moved": moved})


def test_cases_in_memory_are_cases_too():
    cases = ShownCases.of([shown_case(), shown_case(case_id="p2", dice={"liver": 0.5})], "memory")
    assert (len(cases), cases.names) == (2, ("iou0515",))
    assert cases.read("p2").score("iou0515", "liver") == 0.5


def written(folder: Path, name: str, labels: np.ndarray) -> Path:
    """A NIfTI file with those very values."""
    write_volume(folder / name, Volume(labels.astype(np.uint8), GRID))
    return folder / name


def test_files_of_another_tool_are_a_case(tmp_path: Path):
    image = written(tmp_path, "scan.nii.gz", np.full(GRID.shape, 7))
    reference = written(tmp_path, "expert.nii.gz", block(slice(0, 2), slice(0, 1), index=63))
    prediction = written(tmp_path, "found.nii.gz", block(slice(0, 2), slice(1, 4), index=1))
    case = case_of_files(image, {"found": prediction}, reference=reference)
    assert (case.case_id, case.label_set) == ("scan", CHAOS_MR)
    assert case.reference is not None
    assert np.count_nonzero(case.reference.labels == LIVER) == 2
    assert np.count_nonzero(case.predictions["found"].labels == LIVER) == 6
    assert case.scores.is_empty()


def test_a_prediction_named_reference_is_not_taken_for_the_reference(tmp_path: Path):
    image = written(tmp_path, "scan.nii.gz", np.full(GRID.shape, 7))
    prediction = written(tmp_path, "reference.nii.gz", block(slice(0, 2), slice(1, 4), index=1))
    expert = written(tmp_path, "expert.nii.gz", block(slice(0, 2), slice(0, 1), index=1))
    case = case_of_files(image, {"reference": prediction}, reference=expert)
    assert case.reference is not None
    assert np.count_nonzero(case.reference.labels) == 2
    assert np.count_nonzero(case.predictions["reference"].labels) == 6


def test_values_nobody_named_are_organs_of_their_own_and_named_ones_are_as_named(tmp_path: Path):
    both = block(slice(0, 2), slice(0, 1), index=5) + block(slice(2, 3), slice(0, 3), index=9)
    file = written(tmp_path, "any.nii.gz", both)
    found = label_map_of_file(file)
    assert found.label_set.class_names == ("background", "label_5", "label_9")
    named = label_map_of_file(file, replace(LABELS, organs=tuple(
        replace(organ, source_value=value) for organ, value in zip(LABELS.organs, (9, 5), strict=True)
    )))  # fmt: skip
    assert named.volume_ml("liver") == pytest.approx(3 * 0.03)
    assert named.volume_ml("left_kidney") == pytest.approx(2 * 0.03)
    with pytest.raises(BadData, match="holds 5"):
        label_map_of_file(file, replace(LABELS, organs=(replace(LABELS.organs[0], source_value=9),)))


def predicted(folder: Path, geometry: Geometry, *, place: str, labels: np.ndarray | None = None) -> Path:
    """A folder as `predict` leaves it, by hand."""
    labels = organ_labels() if labels is None else labels
    write_label_map(folder / "nifti" / "anna.nii.gz", LabelMap(labels, geometry, CHAOS_MR))
    write_label_map(folder / "nifti" / "bert.nii.gz", LabelMap(labels, geometry, CHAOS_MR))  # of an earlier attempt
    case = {"name": "anna", "place": place, "sequence": "t1_in", "status": "done"}
    failed = {"name": "bert", "place": "bert", "sequence": "t1_in", "status": "failed"}
    record = {
        "schema": 1,
        "kind": "prediction",
        "models": [{"loss": "dice"}, {"loss": "iou0515"}, {"loss": "dice"}],
        "organs": [organ.name for organ in CHAOS_MR.organs],
        "cases": [case, failed],
    }
    (folder / "run.json").write_text(json.dumps(record))
    return folder


def test_a_predicted_folder_is_joined_with_its_dicom_series(tmp_path: Path):
    scans = tmp_path / "scans"
    names = [f"{k}.dcm" for k in range(SHAPE[0])]
    files = write_series(
        scans / "anna" / "t1", pixels_like(organ_labels(), seed=1), names=names, SeriesInstanceUID="1.2"
    )
    geometry = read_headers(files).geometry
    folder = predicted(tmp_path / "out", geometry, place="anna")
    assert is_prediction(folder)
    (case,) = cases_of_prediction(folder, scans)
    assert (case.case_id, list(case.predictions), case.reference) == ("anna", ["dice + iou0515"], None)
    assert case.image.intensities[2, 6, 4] >= 150  # in the liver
    assert case.predictions["dice + iou0515"].volume_ml("liver") == pytest.approx(192 * 3 * 2 * 1 / 1000)

    others = pixels_like(organ_labels(), seed=2)
    write_series(scans / "anna" / "wide", others, names=names, pixel_spacing=(2.0, 1.5), SeriesInstanceUID="1.4")
    assert len(list(cases_of_prediction(folder, scans))) == 1  # that one lies on another grid
    write_series(scans / "anna" / "t1b", others, names=names, orientation=AXIAL, SeriesInstanceUID="1.3", EchoTime="9")
    with pytest.raises(BadData, match="holds 2 series"):
        next(iter(cases_of_prediction(folder, scans)))
    (case,) = cases_of_prediction(folder, scans / "anna" / "t1")  # the series' own folder is plain
    assert case.image.intensities[2, 6, 4] >= 150


def test_a_predicted_nifti_file_must_lie_on_the_predictions_grid(tmp_path: Path):
    geometry = Geometry(SHAPE, np.array([[0.0, 0, 1, 0], [0, 2, 0, 0], [3, 0, 0, 0], [0, 0, 0, 1]]))
    folder = predicted(tmp_path / "out", geometry, place="anna.nii.gz")
    write_volume(tmp_path / "scans" / "anna.nii.gz", Volume(np.full(SHAPE, 3.0), geometry))
    (case,) = cases_of_prediction(folder, tmp_path / "scans")
    assert case.image.intensities[0, 0, 0] == 3
    (same,) = cases_of_prediction(folder, tmp_path / "scans" / "anna.nii.gz")
    assert same.image.intensities[0, 0, 0] == 3
    (black,) = cases_of_prediction(folder)
    assert not black.image.intensities.any()
    moved = Geometry(SHAPE, geometry.affine @ np.diag([1, 1, 2, 1.0]))
    write_volume(tmp_path / "scans" / "anna.nii.gz", Volume(np.full(SHAPE, 3.0), moved))
    with pytest.raises(BadData, match="another grid than the prediction"):
        next(iter(cases_of_prediction(folder, tmp_path / "scans")))


def test_a_folder_without_label_maps_as_nifti_is_said(tmp_path: Path):
    geometry = Geometry(SHAPE, np.diag([3.0, 2, 1, 1]))
    folder = predicted(tmp_path / "out", geometry, place="anna")
    (folder / "nifti" / "anna.nii.gz").unlink()
    with pytest.raises(BadData, match=r"no case as NIfTI\. Predict with --to nifti"):
        cases_of_prediction(folder)
    assert not is_prediction(tmp_path)


def test_an_image_without_any_label_map_is_no_case():
    with pytest.raises(BadData, match="at least one label map"):
        replace(shown_case(reference=False), predictions={})

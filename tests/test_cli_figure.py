"""`steelyard figure`: pictures, films and surfaces of a study, of a prediction and of any tool's files."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from shown import AFFINE, SHAPE, shown_case
from steelyard.io.nifti import write_label_map, write_volume
from steelyard.labels import CHAOS_MR
from steelyard.scores import Score
from steelyard.volume import Geometry, LabelMap, Volume
from written_study import WrittenRun, block, write_images, write_prediction, write_study

ORANGE, GREEN = (213, 94, 0), (0, 158, 115)


@pytest.fixture
def figure(command_line):
    """Calls `steelyard figure` in this process."""
    return partial(command_line, "figure")


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Three cases under two losses; p2 is the worst of both, p3 the best."""
    runs = []
    for loss, dices in (("first", (0.6, 0.2, 0.9)), ("second", (0.5, 0.1, 0.8))):
        scores = [
            Score("dice", value, "1", "counts", "ok", "liver", f"p{n}_a", f"p{n}", "t1_in")
            for n, value in enumerate(dices, start=1)
        ]
        runs.append(WrittenRun(loss, others=scores))
    write_study(tmp_path / "study", runs)
    for number in (1, 2, 3):
        write_images(tmp_path / "study", f"p{number}_a", block(slice(0, 2), slice(0, 2)))
        for run in runs:
            write_prediction(tmp_path / "study", run, f"p{number}_a", block(slice(0, 2), slice(0, 3), index=2))
    return tmp_path / "study"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Image, reference and prediction as NIfTI files; the labels are class indices."""
    case = shown_case()
    assert case.reference is not None
    paths = {name: tmp_path / f"{name}.nii.gz" for name in ("image", "reference", "prediction")}
    write_volume(paths["image"], case.image)
    write_label_map(paths["reference"], case.reference)
    write_label_map(paths["prediction"], case.predictions["iou0515"])
    return paths


LABELS = "liver=1,right_kidney=2,left_kidney=3,spleen=4"


def has(path: Path, colour: tuple[int, int, int]) -> bool:
    """Whether a picture has more pixels of a colour than its legend's."""
    return int((np.asarray(Image.open(path)) == colour).all(-1).sum()) > 400


def test_slices_of_a_study_are_its_worst_median_and_best_case(figure, study: Path, tmp_path: Path) -> None:
    said = figure("slices", study, tmp_path / "made" / "f.png")
    assert (said.code, said.err) == (0, "")
    assert said.out == f"p2_a, p1_a, p3_a: {tmp_path / 'made' / 'f.png'}\n"
    with Image.open(tmp_path / "made" / "f.png") as picture:
        three = picture.size
    figure("slices", study, tmp_path / "one.png", "--pick", "best", "--prediction", "second")
    with Image.open(tmp_path / "one.png") as picture:
        assert picture.width < three[0]  # one prediction instead of two
        assert picture.height < three[1] / 2


def test_cases_are_named_or_picked_and_none_is_shown_twice(figure, study: Path, tmp_path: Path) -> None:
    said = figure("slices", study, tmp_path / "f.png", "--case", "p2_a", "p3_a", "--pick", "worst", "median")
    assert said.out.startswith("p2_a, p3_a, p1_a: ")


def test_slices_of_files_of_any_tool(figure, files: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "f.png"
    said = figure(
        "slices", files["image"], out, "--prediction", files["prediction"], "--reference", files["reference"],
        "--labels", LABELS, "--slice", "3", "2",
    )  # fmt: skip
    assert (said.code, said.err) == (0, "")
    assert has(out, ORANGE)
    assert has(out, (234, 174, 128))  # the liver over white


def test_the_model_is_of_the_median_case_unless_another_is_named(figure, study: Path, tmp_path: Path) -> None:
    assert figure("model", study, tmp_path / "m.png").out.startswith("p1_a: ")
    assert figure("model", study, tmp_path / "m.png", "--pick", "worst").out.startswith("p2_a: ")
    assert figure("model", study, tmp_path / "m.png", "--case", "p3_a").out.startswith("p3_a: ")
    assert np.ptp(np.asarray(Image.open(tmp_path / "m.png")).astype(int), axis=-1).max() > 60


def test_a_film_of_a_run_has_a_frame_per_slice(figure, study: Path, tmp_path: Path) -> None:
    run = next(study.glob("net-second-*"))
    assert figure("film", run, tmp_path / "f.gif", "--pick", "best", "--fps", "8").out.startswith("p3_a: ")
    with Image.open(tmp_path / "f.gif") as film:
        assert film.n_frames == 3
        assert film.info["duration"] in (120, 125, 130)  # hundredths of a second are all that a GIF knows


def test_meshes_go_into_one_file_or_a_folder(figure, files: dict[str, Path], tmp_path: Path) -> None:
    said = figure("mesh", files["prediction"], tmp_path / "all.glb", "--labels", LABELS)
    assert (said.code, said.err) == (0, "")
    assert set(trimesh.load(tmp_path / "all.glb").geometry) == {"liver", "left_kidney", "right_kidney"}

    figure("mesh", files["reference"], tmp_path / "l.stl", "--labels", LABELS, "--organ", "left_kidney")
    kidney = trimesh.load(tmp_path / "l.stl")
    assert kidney.volume == pytest.approx(2 * 8 * 6 * 30, rel=0.01)
    # Slices 2–3, rows 18–25, columns 28–33: the middle is (2.5, 21.5, 30.5), in LPS (31.5, 13, 0.5).
    assert kidney.centroid == pytest.approx([-31.5, -13, 0.5], abs=0.05)

    said = figure("mesh", files["reference"], tmp_path / "folder", "--labels", LABELS)
    assert sorted(path.name for path in (tmp_path / "folder").iterdir()) == [
        "left_kidney.stl",
        "liver.stl",
        "organs.glb",
        "spleen.stl",
    ]
    assert said.out.count("written: ") == 4


def test_meshes_of_a_study_are_of_a_prediction_or_of_the_reference(figure, study: Path, tmp_path: Path) -> None:
    figure("mesh", study, tmp_path / "p.glb", "--case", "p1_a")
    assert set(trimesh.load(tmp_path / "p.glb").geometry) == {"left_kidney"}
    figure("mesh", study, tmp_path / "r.glb", "--case", "p1_a", "--of", "reference")
    assert set(trimesh.load(tmp_path / "r.glb").geometry) == {"liver"}
    said = figure("mesh", study, tmp_path / "x.glb", "--case", "p1_a", "--of", "third")
    assert said.code == 2
    assert "no label map of p1_a is named 'third'" in said.err
    assert "Known: first, reference, second" in said.err


def test_a_predicted_folder_gives_models_at_once_and_slices_with_its_scans(figure, tmp_path: Path) -> None:
    case = shown_case()
    folder = tmp_path / "out"
    write_label_map(folder / "nifti" / "anna.nii.gz", case.predictions["iou0515"])
    cases = [{"name": "anna", "place": "anna.nii.gz", "sequence": "t1_in", "status": "done"}]
    record = {"kind": "prediction", "models": [{"loss": "dice"}], "organs": CHAOS_MR.class_names[1:], "cases": cases}
    (folder / "run.json").write_text(json.dumps(record))
    assert figure("model", folder, tmp_path / "m.png").out.startswith("anna: ")
    refused = figure("slices", folder, tmp_path / "s.png")
    assert (refused.code, refused.err) == (2, f"{folder} holds no images. Name what was predicted: --scans FOLDER.\n")
    write_volume(tmp_path / "in" / "anna.nii.gz", case.image)
    assert figure("slices", folder, tmp_path / "s.png", "--scans", tmp_path / "in").out.startswith("anna: ")
    assert has(tmp_path / "s.png", (234, 174, 128))


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["slices", "absent", "f.png"], 3, "there is no folder absent"),
        (["slices", "STUDY", "f.jpg"], 2, "written as .png; came f.jpg"),
        (["slices", "STUDY", "f.png", "--case", "p9_a"], 2, "'p9_a'"),
        (["slices", "STUDY", "f.png", "--pick", "wurst"], 2, "wurst"),
        (["slices", "STUDY", "f.png", "--by", "hd95"], 2, "no metric is named 'hd95'"),
        (["slices", "STUDY", "f.png", "--organ", "heart"], 2, "no organ is named 'heart'"),
        (["slices", "STUDY", "f.png", "--slice", "9"], 2, "has slices 1 to 3; came 9"),
        (["slices", "STUDY", "f.png", "--prediction", "third"], 2, "'third'"),
        (["slices", "STUDY", "f.png", "--reference", "r.nii.gz"], 2, "--reference and --labels go with an image"),
        (["slices", "STUDY", "f.png", "--scans", "."], 2, "Leave --scans out"),
        (["slices", "IMAGE", "f.png"], 2, "is an image. Name label maps of it"),
        (["slices", "IMAGE", "f.png", "--prediction", "gone.nii.gz"], 3, "no file gone.nii.gz"),
        (["slices", "IMAGE", "f.png", "--prediction", "MOVED", "--labels", "liver=1"], 3, "lies on another grid"),
        (["model", "STUDY", "m.pdf"], 2, "written as .png; came m.pdf"),
        (["film", "STUDY", "f.avi"], 2, ".gif or .mp4; came f.avi"),
        (["film", "STUDY", "f.gif", "--fps", "0"], 2, "fps"),
        (["mesh", "STUDY", "m.stl"], 2, "Name the organ with --organ"),
        (["mesh", "STUDY", "m.obj"], 2, "came m.obj"),
        (["mesh", "EMPTY", "m.glb", "--labels", "liver=1"], 3, "holds no voxel of liver"),
        (["mesh", "STUDY", "m.glb", "--detail-mm", "-1"], 2, "detail"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_one_line_and_nothing_is_written(
    figure, study: Path, files: dict[str, Path], tmp_path: Path, monkeypatch, arguments: list[str], code: int, said: str
) -> None:
    other = tmp_path / "moved.nii.gz"
    grid = Geometry(SHAPE, AFFINE @ np.diag([1, 1, 2, 1.0]))
    write_label_map(other, LabelMap(np.ones(SHAPE, np.uint8), grid, CHAOS_MR))
    empty = tmp_path / "empty.nii.gz"
    write_volume(empty, Volume(np.zeros(SHAPE, np.uint8), grid))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    places = {"STUDY": study, "IMAGE": files["image"], "MOVED": other, "EMPTY": empty}
    done = figure(*(places.get(argument, argument) for argument in arguments))
    assert done.code == code, done.err
    assert said in done.err
    assert len(done.err.splitlines()) == 1
    assert not list((tmp_path / "here").iterdir())


def test_many_cases_without_scores_are_not_crowded_into_one_figure(figure, tmp_path: Path) -> None:
    run = WrittenRun("first")
    write_study(tmp_path / "study", [run])
    for number in range(13):
        write_images(tmp_path / "study", f"p{number}_a", block(slice(0, 2), slice(0, 2)))
        write_prediction(tmp_path / "study", run, f"p{number}_a", block(slice(0, 2), slice(0, 3)))
    said = figure("slices", tmp_path / "study", tmp_path / "f.png")
    assert said.code == 2
    assert "has 13 cases, too many for one figure" in said.err
    said = figure("film", tmp_path / "study", tmp_path / "f.gif")
    assert said.code == 2
    assert "one case is wanted; there are p0_a, " in said.err

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
from PIL import Image

from steelyard.report.random_slices import random_slices
from steelyard.report.read import read_study
from written_study import GRID, WrittenRun, block, write_images, write_prediction, write_study

SOLID = slice(0, 4), slice(0, 6)


def written(folder: Path, runs: list[WrittenRun], cases: list[str]):
    write_study(folder, runs)
    for case in cases:
        write_images(folder, case, block(*SOLID, slices=slice(1, 3)))  # the first of three slices holds no organ
        for run in runs:
            if case in run.cases:
                write_prediction(folder, run, case, block(slice(0, 1), slice(0, 1), slices=slice(0, 3)))
    study = read_study(folder)
    return study, study.conditions[0]


def pixels(svg: str) -> np.ndarray:
    embedded = re.search(r"base64,([^\"]+)", svg)
    assert embedded is not None
    return np.array(Image.open(io.BytesIO(base64.b64decode(embedded[1]))))


def run_of(cases: list[str], **others) -> WrittenRun:
    return WrittenRun("first", {case: {"liver": 0.5, "left_kidney": 0.5} for case in cases}, {"liver": 0.5}, **others)


def test_the_lot_falls_the_same_way_every_time_and_on_slices_with_organs_alone(tmp_path):
    cases = [f"p{i}_a" for i in range(1, 6)]
    study, condition = written(tmp_path, [run_of(cases)], cases)
    lot = random_slices(study, condition)
    assert lot.of == 10
    assert len({drawn.where for drawn in lot.slices}) == 6
    assert all(drawn.where.endswith(("slice 2 of 3", "slice 3 of 3")) for drawn in lot.slices)
    assert [drawn.where for drawn in random_slices(study, condition).slices] == [drawn.where for drawn in lot.slices]
    assert [d.where for d in random_slices(study, condition, seed=3).slices] != [d.where for d in lot.slices]


def test_every_slice_is_as_likely_as_any_other(tmp_path):
    cases = ["p1_a", "p2_a"]
    study, condition = written(tmp_path, [run_of(cases)], cases)
    first = [random_slices(study, condition, count=1, seed=seed).slices[0].where for seed in range(60)]
    counts = [first.count(where) for where in sorted(set(first))]
    assert len(counts) == 4
    assert min(counts) >= 5  # 15 expected of each


def test_a_second_seed_does_not_put_a_slice_in_twice(tmp_path):
    runs = [run_of(["p1_a"], seed=1), run_of(["p1_a"], seed=2), run_of(["p2_a"], seed=1, fold=1)]
    study, condition = written(tmp_path, runs, ["p1_a", "p2_a"])
    assert random_slices(study, condition).of == 4


def test_the_segmentation_drawn_is_that_of_the_first_seed_alone(tmp_path):
    runs = [run_of(["p1_a"], seed=1), run_of(["p1_a"], seed=2)]
    study, condition = written(tmp_path, runs, ["p1_a"])
    write_prediction(tmp_path, runs[1], "p1_a", block(*SOLID, slices=slice(0, 3)))
    (drawn,) = random_slices(study, condition, count=1).slices
    assert [tuple(map(int, at)) for at in np.argwhere(pixels(drawn.segmentation_svg).any(-1))] == [(0, 0)]


def test_a_case_whose_prediction_was_deleted_cannot_be_drawn(tmp_path):
    cases = ["p1_a", "p2_a"]
    study, condition = written(tmp_path, [run_of(cases)], cases)
    study.done[0].files.prediction("p1_a").unlink()
    lot = random_slices(study, condition)
    assert lot.of == 2
    assert all(drawn.where.startswith("p2_a") for drawn in lot.slices)


def test_the_segmentation_lies_on_the_image_and_the_reference_on_black(tmp_path):
    study, condition = written(tmp_path, [run_of(["p1_a"])], ["p1_a"])
    (drawn,) = random_slices(study, condition, count=1).slices
    left, right = pixels(drawn.reference_svg), pixels(drawn.segmentation_svg)
    assert left.shape == right.shape == (*GRID.shape[1:], 3)
    assert (left == (213, 94, 0)).all()  # liver everywhere
    assert right[0, 0].tolist() == [106, 47, 0]  # half of its colour over a black image
    assert (right[1:] == 0).all()


def test_networks_of_one_organ_each_are_laid_over_one_another(tmp_path):
    runs = [
        WrittenRun("first", {"p1_a": {organ: 0.5}}, {organ: 0.5}, organ=organ) for organ in ("left_kidney", "liver")
    ]
    study, condition = written(tmp_path, runs, ["p1_a"])
    write_prediction(tmp_path, runs[1], "p1_a", block(slice(0, 1), slice(0, 2), slices=slice(0, 3)))
    (drawn,) = random_slices(study, condition, count=1).slices
    found = pixels(drawn.segmentation_svg)
    assert found[0, 1].tolist() == [106, 47, 0]  # the liver network alone
    assert found[0, 0].tolist() == [0, 79, 58]  # both: the kidney comes later in the order of organs

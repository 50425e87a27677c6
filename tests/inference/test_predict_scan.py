"""From an image to organs: where the voxels lie, what several models, offsets, a CRF and a largest piece change."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

from hand_made_runs import BODY, STEP, bright, normalised, thresholds, write_run, write_scan
from phantoms import ORGAN_BOXES, organ_labels
from steelyard.errors import BadSpec
from steelyard.inference.inputs import find_inputs
from steelyard.inference.models import Ensemble, load_models
from steelyard.inference.orientation import Turn
from steelyard.inference.outputs import write_outputs
from steelyard.inference.predict_case import Decision, decision_of, parse_offsets, predict_scan, seen_of
from steelyard.io.dicom_series import read_series
from steelyard.labels import CHAOS_MR
from steelyard.postprocess.crf import DenseCrf
from steelyard.postprocess.offsets import Offsets
from steelyard.preprocess.resize import PlaneMap
from steelyard.study.model import load_model
from steelyard.volume import Geometry, Volume

GEOMETRY = Geometry((6, 24, 20), np.array([[0.0, 0, 1, 0], [0, 2, 0, 0], [3, 0, 0, 0], [0, 0, 0, 1]]))


def image(labels: np.ndarray | None = None) -> Volume:
    return Volume(bright(labels).astype(np.float32), GEOMETRY)


def test_bright_steps_are_found_as_their_organs(tmp_path: Path) -> None:
    model = load_model(write_run(tmp_path / "run"))
    assert np.array_equal(predict_scan([model], image(), Decision()).label_map.labels, organ_labels())


OBLIQUE = (0.9962, 0.0872, 0.0, -0.0868, 0.9924, 0.0872)  # 5° about two axes


@pytest.mark.parametrize(
    "placed",
    [
        {},
        {"orientation": OBLIQUE},
        {"orientation": (-1.0, 0, 0, 0, -1.0, 0)},
        {"orientation": (0.0, 1.0, 0, 0, 0, -1.0), "pixel_spacing": (1.3, 2.2)},
        {"orientation": (1.0, 0, 0, 0, -1.0, 0), "step_mm": 5.5},
    ],
)
def test_a_nifti_of_any_orientation_puts_organs_where_the_headers_say(tmp_path: Path, placed: dict) -> None:
    folder = write_scan(tmp_path / "scan", **placed)
    ensemble = load_models([write_run(tmp_path / "run")])
    (case,) = find_inputs(folder, ensemble.first, series=["1"]).cases  # a sagittal one would not be taken unasked
    scan = case.read()
    label_map = predict_scan(ensemble.models, scan.image, Decision()).label_map
    write_outputs(tmp_path / "out", case.name, label_map, scan, ("nifti",), pseudonym=None)
    written = nibabel.load(tmp_path / "out" / "nifti" / "scan.nii.gz")
    for name, box in ORGAN_BOXES.items():
        voxels = np.argwhere(np.asarray(written.dataobj) == CHAOS_MR.organ(name).index)
        came = nibabel.affines.apply_affine(written.affine, voxels).mean(0)
        wanted = []
        for k in range(box[0].start, box[0].stop):  # PS3.3 C.7.6.2.1.1, from each file's own header
            header = pydicom.dcmread(folder / f"IMG-{k + 1:03d}.dcm")
            across, down = np.array(header.ImageOrientationPatient).reshape(2, 3)
            row_mm, column_mm = header.PixelSpacing
            row, column = ((side.start + side.stop - 1) / 2 for side in box[1:])
            wanted.append(np.array(header.ImagePositionPatient) + across * column_mm * column + down * row_mm * row)
        assert came == pytest.approx(np.mean(wanted, 0) * [-1, -1, 1], abs=0.01)
        assert len(voxels) == int((organ_labels() == CHAOS_MR.organ(name).index).sum())


@pytest.mark.parametrize("stored", ["as DICOM", "rows from back to front", "sagittal"])
def test_a_network_sees_a_nifti_file_turned_like_the_slices_it_was_trained_on(tmp_path: Path, stored: str) -> None:
    head = np.diag([-1.0, -2.0, 3.0, 1.0])  # (i, j, k) to RAS: columns to the left, rows to the back, slices upwards
    head[:3, 3] = 9.5, 23.0, -7.5
    scan = nibabel.Nifti1Image(bright().T.astype(np.int16), head)
    if stored == "rows from back to front":
        scan = nibabel.as_closest_canonical(scan)
    elif stored == "sagittal":
        axes = nibabel.orientations.axcodes2ornt(("P", "S", "R"))
        start = nibabel.orientations.io_orientation(head)
        scan = scan.as_reoriented(nibabel.orientations.ornt_transform(start, axes))
    nibabel.save(scan, tmp_path / "scan.nii.gz")
    ensemble = load_models([write_run(tmp_path / "run", network="hand_made_runs:RightHalfNetwork")])
    (case,) = find_inputs(tmp_path / "scan.nii.gz", ensemble.first).cases
    found = predict_scan(ensemble.models, case.read().image, Decision()).label_map
    write_outputs(tmp_path, case.name, found, case.read(), ("nifti",), pseudonym=None)
    written = nibabel.load(tmp_path / "nifti" / "scan.nii.gz")
    assert np.allclose(written.affine, scan.affine)
    inside = np.asarray(written.dataobj) == 1
    everywhere = nibabel.affines.apply_affine(written.affine, np.argwhere(np.ones(inside.shape)))
    assert np.array_equal(inside.ravel(), everywhere[:, 0] > 0)  # RAS: the patient's right


def test_an_ensemble_is_the_mean_of_its_models_probabilities(tmp_path: Path) -> None:
    pixels = bright()
    sure, unsure = 30.0, 3.0
    shifts = {"low": (0.1, unsure), "high": (1.4, sure)}  # one finds too much, one too little
    folders = [
        write_run(tmp_path / name, steps=thresholds(pixels, shift=shift), sharpness=sharpness)
        for name, (shift, sharpness) in shifts.items()
    ]
    ensemble = load_models(folders)

    def by_hand(grey: float, shift: float, sharpness: float) -> np.ndarray:
        steps = np.cumsum([0.0, *thresholds(pixels, shift=shift)])
        logits = sharpness * (np.arange(5) * normalised(grey, pixels) - steps)
        return np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()

    found = predict_scan(ensemble.models, image(), Decision()).label_map.labels
    organ_of = np.zeros(5, int)
    for index in range(5):
        both = [by_hand(BODY + STEP * index, *shifts[name]) for name in shifts]
        organ_of[index] = np.mean(both, 0).argmax()
        assert np.abs(np.sort(np.mean(both, 0))[-1] - np.sort(np.mean(both, 0))[-2]) > 0.01
    assert np.array_equal(found, organ_of[organ_labels()])
    alone = [predict_scan([model], image(), Decision()).label_map.labels for model in ensemble.models]
    assert not np.array_equal(*alone)
    assert any(not np.array_equal(found, own) for own in alone)


def test_an_offset_moves_the_decision_from_where_the_log_probabilities_differ_by_it(tmp_path: Path) -> None:
    pixels = bright()
    model = load_model(write_run(tmp_path / "run", sharpness=4.0))
    steps = thresholds(pixels)
    # log p_liver − log p_background at the body's grey, by hand; the body is taken for liver beyond it
    gap = 4.0 * (steps[0] - normalised(BODY, pixels))
    for offset, grows in ((0.95 * gap, False), (1.05 * gap, True)):
        rule = parse_offsets([f"liver={offset}"], CHAOS_MR)
        labels = predict_scan([model], image(), Decision(offsets=rule)).label_map.labels
        assert bool((labels[(organ_labels() == 0) & (pixels == BODY)] == 1).all()) is grows
        assert (labels[organ_labels() == 4] == 4).all()


def test_offsets_are_in_the_crf_too(tmp_path: Path) -> None:
    class SameAgain:
        def apply(self, probabilities: np.ndarray, image: np.ndarray, spacing_mm: object) -> np.ndarray:
            assert np.allclose(probabilities.sum(0), 1, atol=1e-5)
            return probabilities

    model = load_model(write_run(tmp_path / "run", sharpness=4.0))
    gap = 4.0 * (thresholds(bright())[0] - normalised(BODY, bright()))
    rule = Offsets((0.0, 2 * gap, -0.7 * gap, 0.2 * gap, 1.3 * gap))
    with_crf = predict_scan([model], image(), Decision(offsets=rule, crf=SameAgain()))  # type: ignore[arg-type]
    without = predict_scan([model], image(), Decision(offsets=rule))
    assert np.array_equal(with_crf.label_map.labels, without.label_map.labels)
    assert not np.array_equal(without.label_map.labels, organ_labels())


def test_a_crf_sees_the_same_slices_however_a_file_stores_them(tmp_path: Path) -> None:
    model = load_model(write_run(tmp_path / "run", sharpness=20.0))
    noisy = image().intensities + np.random.default_rng(1).normal(0, 6, image().geometry.shape).astype(np.float32)
    scan = replace(image(), intensities=noisy)
    sagittal = Turn((2, 0, 1), (True, False, False))
    decide = Decision(crf=DenseCrf())
    straight = predict_scan([model], scan, decide).label_map.labels
    turned = predict_scan([model], sagittal(scan), decide).label_map
    assert np.array_equal(sagittal.back(turned.labels), straight)
    assert turned.geometry.same_grid(sagittal(scan).geometry)
    assert not np.array_equal(straight, predict_scan([model], scan, Decision()).label_map.labels)


def test_a_crf_takes_away_a_speck_and_knows_the_studys_settings(tmp_path: Path) -> None:
    labels = organ_labels()
    labels[3, 20, 9] = 1
    run = write_run(tmp_path / "run", sharpness=1.0, crf={"smoothness_weight": 9.0, "appearance_weight": 0.0})
    ensemble = load_models([run])
    decide, _ = decision_of(ensemble, offsets=[], largest=None, crf=True)
    assert decide.crf is not None
    assert (decide.crf.smoothness_weight, decide.crf.appearance_weight) == (9.0, 0.0)
    before = predict_scan(ensemble.models, image(labels), Decision()).label_map.labels
    after = predict_scan(ensemble.models, image(labels), decide).label_map.labels
    assert (before[3, 20, 9], after[3, 20, 9]) == (1, 0)
    plain = load_models([write_run(tmp_path / "plain")])
    assert decision_of(plain, offsets=[], largest=None, crf=True)[0].crf is not None
    assert decision_of(plain, offsets=[], largest=None, crf=False)[0].crf is None


def test_the_largest_piece_is_kept_of_the_organs_that_are_named(tmp_path: Path) -> None:
    labels = organ_labels()
    labels[5, 20, 9], labels[5, 20, 11] = 1, 4
    model = load_model(write_run(tmp_path / "run"))

    def islands(largest: list[str] | None) -> tuple[int, int]:
        decide, _ = decision_of(Ensemble((model,)), offsets=[], largest=largest, crf=False)
        found = predict_scan([model], image(labels), decide).label_map.labels
        return int(found[5, 20, 9]), int(found[5, 20, 11])

    assert islands(None) == (1, 4)
    assert islands(["liver"]) == (0, 4)
    assert islands([]) == (0, 0)


def test_models_of_an_ensemble_may_see_different_fields(tmp_path: Path) -> None:
    near = load_model(write_run(tmp_path / "near", preprocess={"spacing_mm": 0.5}))
    wide = load_model(write_run(tmp_path / "wide"))
    _, rows, columns = seen = predict_scan([near, wide], image(), Decision()).seen
    assert seen == predict_scan([wide, near], image(), Decision()).seen
    # 32 pixels of 0.5 mm reach 15.5 mm: 8 rows of 2 mm, 16 columns of 1 mm, about the body's middle
    assert rows.stop - rows.start in (7, 8)
    assert columns.stop - columns.start in (15, 16)
    assert (wide.preprocessing.spacing_mm, near.preprocessing.spacing_mm) == (None, 0.5)
    order = [2, 0, 1]  # the same scan, stored by columns
    stored = Volume(image().intensities.transpose(order), Geometry((20, 6, 24), GEOMETRY.affine[:, [*order, 3]]))
    assert predict_scan([near, wide], stored, Decision()).seen == tuple(seen[axis] for axis in order)


def test_what_the_network_sees_by_hand() -> None:
    assert seen_of(PlaneMap((24, 20), 32, (1.0, 1.0), (-4.0, -6.0))) == (slice(0, 24), slice(0, 20))
    assert seen_of(PlaneMap((40, 50), 32, (1.0, 1.0), (4.0, 9.0))) == (slice(4, 36), slice(9, 41))
    assert seen_of(PlaneMap((40, 50), 11, (2.0, 0.5), (3.5, 10.25))) == (slice(4, 24), slice(11, 16))


def test_offsets_go_to_their_organs() -> None:
    assert parse_offsets(["spleen=-0.1", "liver=0.3"], CHAOS_MR) == Offsets((0.0, 0.3, 0.0, 0.0, -0.1))
    assert parse_offsets([], CHAOS_MR) is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["lung=1"], "no organ is named 'lung'"),
        (["liver"], "as liver=0.3; came 'liver'"),
        (["liver=nan"], "came 'liver=nan'"),
        (["liver=1000"], "from -80 to 80"),
        (["liver=1", "liver=2"], "names liver twice"),
        (["background=1"], "no organ is named 'background'"),
    ],
)
def test_offsets_that_make_no_sense_are_refused(words: list[str], said: str) -> None:
    with pytest.raises(BadSpec, match=said):
        parse_offsets(words, CHAOS_MR)


def test_two_phases_are_two_channels(tmp_path: Path) -> None:
    model = load_model(write_run(tmp_path / "run", sequence="t1_in+t1_out"))
    both = replace(image(), intensities=np.stack([bright(), bright() // 2]).astype(np.float32))
    assert np.array_equal(predict_scan([model], both, Decision()).label_map.labels, organ_labels())
    folder = tmp_path / "scan"
    write_scan(folder / "InPhase")
    write_scan(folder / "OutPhase", pixels=bright() // 2, ProtocolName="T1DUAL_OutPhase", EchoTime="2.302")
    (case,) = find_inputs(folder, model).cases
    read = case.read().image.intensities
    assert np.array_equal(read[0], read_series(folder / "InPhase").intensities)
    assert np.array_equal(read[1], read_series(folder / "OutPhase").intensities)

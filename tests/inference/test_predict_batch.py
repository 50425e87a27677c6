"""Folders of scans through the command line's own function: files, volumes, records; broken scans and interruptions."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import signal
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from hand_made_runs import SECRETS, bright, write_run, write_scan
from phantoms import ORGAN_VOXELS, organ_labels
from steelyard.errors import BadData, BadSpec, Interrupted
from steelyard.inference import batch as batch_module
from steelyard.inference.batch import Prediction, predict_batch, summary
from steelyard.inference.inputs import find_inputs
from steelyard.inference.models import Ensemble, load_models
from steelyard.inference.outputs import Format
from steelyard.inference.predict_case import Decision
from steelyard.inference.preview import sections
from steelyard.inference.record import CaseRecord
from steelyard.io.dicom_seg import read_seg
from steelyard.labels import CHAOS_MR
from steelyard.postprocess.offsets import Offsets
from steelyard.volume import Geometry, LabelMap

ALL: tuple[Format, ...] = ("nifti", "dicom-seg", "rtstruct", "png")


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory: pytest.TempPathFactory) -> Ensemble:
    return load_models([write_run(tmp_path_factory.mktemp("run") / "run")])


def predict(
    ensemble: Ensemble, given: Path, out: Path, *, formats: tuple[Format, ...] = ("nifti",), **options: Any
) -> tuple[list[CaseRecord], str]:
    """The records and what was said."""
    console = Console(file=io.StringIO(), width=1000)
    inputs = find_inputs(given, ensemble.first)
    records = predict_batch(inputs, out, Prediction(ensemble, formats=formats, **options), console=console)
    return records, console.file.getvalue()  # type: ignore[attr-defined]


def whole(out: Path) -> None:
    """Nothing half-written is left: no temporary file, and every file can be read."""
    assert not [file for file in out.rglob("*") if ".tmp." in file.name]
    for file in out.rglob("*.json"):
        json.loads(file.read_text())
    for file in out.rglob("*.nii.gz"):
        np.asarray(nibabel.load(file).dataobj)
    for file in out.rglob("*.png"):
        Image.open(file).load()


@pytest.fixture(scope="module")
def predicted(ensemble: Ensemble, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("all")
    write_scan(folder / "scans" / "first", study="1")
    predict(ensemble, folder / "scans", folder / "out", formats=ALL)
    return folder / "out"


def test_every_format_holds_the_organs(predicted: Path) -> None:
    nifti = np.asarray(nibabel.load(predicted / "nifti" / "first.nii.gz").dataobj)
    assert np.array_equal(nifti.T, organ_labels())
    seg = read_seg(predicted / "dicom-seg" / "first.dcm")
    assert [organ.name for organ in seg.label_set.organs] == list(ORGAN_VOXELS)
    assert np.array_equal(seg.labels, organ_labels())
    assert (predicted / "rtstruct" / "first.dcm").stat().st_size > 1000
    masks = sorted((predicted / "png" / "first").iterdir())
    assert [mask.name for mask in masks] == [f"IMG-{k:03d}.png" for k in range(1, 7)]
    assert np.array_equal(np.stack([np.asarray(Image.open(mask)) for mask in masks]),
                          CHAOS_MR.source_from_classes(organ_labels()))  # fmt: skip
    with Image.open(predicted / "preview" / "first.png") as preview:
        assert min(preview.size) > 200


def test_volumes_are_written_for_people_and_programs(predicted: Path) -> None:
    with (predicted / "volumes.csv").open() as file:
        rows = list(csv.DictReader(file))
    voxel_ml = 3 * 2 * 1 / 1000
    assert {row["organ"]: float(row["ml"]) for row in rows} == {
        organ: pytest.approx(voxels * voxel_ml) for organ, voxels in ORGAN_VOXELS.items()
    }
    (case,) = json.loads((predicted / "volumes.json").read_text())
    assert {organ["organ"]: organ["voxels"] for organ in case["organs"]} == ORGAN_VOXELS


def test_the_record_says_what_was_done_with_what(predicted: Path, ensemble: Ensemble) -> None:
    record = json.loads((predicted / "run.json").read_text())
    assert record["models"][0]["weights_sha256"] == ensemble.first.weights_hash
    (case,) = record["cases"]
    assert (case["name"], case["place"], case["status"], case["formats"]) == ("first", "first", "done", list(ALL))
    assert len(case["input_sha256"]) == 64
    assert {"torch", "pydicom", "highdicom", "python"} <= set(record["versions"])


def test_no_identity_leaves_the_dicom_objects(predicted: Path) -> None:
    for file in predicted.rglob("*"):
        assert not any(secret in str(file) for secret in SECRETS)
        if file.is_file() and file.suffix != ".dcm":
            content = file.read_bytes()
            assert not any(part.encode() in content for secret in SECRETS for part in secret.split("^"))
    seg = (predicted / "dicom-seg" / "first.dcm").read_bytes()
    assert SECRETS[0].encode() in seg  # which stay with their patient


def test_a_pseudonym_stands_for_the_patient(tmp_path: Path, ensemble: Ensemble) -> None:
    write_scan(tmp_path / "scan")
    predict(ensemble, tmp_path / "scan", tmp_path / "out", formats=("dicom-seg", "rtstruct"), pseudonym="case-7")
    for kind in ("dicom-seg", "rtstruct"):
        content = (tmp_path / "out" / kind / "scan.dcm").read_bytes()
        assert b"case-7" in content
        assert not any(secret.encode() in content for secret in SECRETS)


def test_broken_scans_stop_no_other_and_are_told_in_a_line_each(tmp_path: Path, ensemble: Ensemble) -> None:
    scans = tmp_path / "scans"
    for number in range(1, 31):
        write_scan(scans / f"p{number:02d}", study=str(number))
    (scans / "p03" / "IMG-004.dcm").unlink()  # a gap
    pixels = scans / "p11" / "IMG-002.dcm"
    pixels.write_bytes(pixels.read_bytes()[:-100])
    for file in (scans / "p20").iterdir():
        file.write_bytes(b"")
    records, said = predict(ensemble, scans, tmp_path / "out")
    failed = {record.name: record.reason for record in records if not record.is_done}
    assert list(failed) == ["p03", "p11", "p20"]
    assert "1 slice is missing" in failed["p03"]
    assert "IMG-002.dcm is truncated or damaged" in failed["p11"]
    lines = summary(records)
    assert lines[0].startswith("27 of 30 predicted")
    assert [line.split(":")[1].strip() for line in lines[1:]] == ["p03", "p11", "p20"]
    assert len(list((tmp_path / "out" / "nifti").iterdir())) == 27
    assert "undefined" in (tmp_path / "out" / "volumes.csv").read_text()
    assert "30/30 p30" in said
    whole(tmp_path / "out")


def test_what_is_done_is_not_done_again_and_what_is_missing_is_added(tmp_path: Path, ensemble: Ensemble) -> None:
    for number in "12":
        write_scan(tmp_path / "scans" / number, study=number)
    out = tmp_path / "out"
    predict(ensemble, tmp_path / "scans", out)
    before = {file: file.stat().st_mtime_ns for file in out.rglob("*.nii.gz")}
    write_scan(tmp_path / "scans" / "3", study="3")
    _, said = predict(ensemble, tmp_path / "scans", out)
    assert said.count("done before") == 2
    assert all(file.stat().st_mtime_ns == at for file, at in before.items())
    assert len(list((out / "nifti").iterdir())) == 3
    (out / "nifti" / "2.nii.gz").unlink()
    _, said = predict(ensemble, tmp_path / "scans", out)
    assert said.count("done before") == 2
    _, said = predict(ensemble, tmp_path / "scans", out, formats=("nifti", "png"))
    assert "done before" not in said
    assert {case["name"] for case in json.loads((out / "run.json").read_text())["cases"]} == {"1", "2", "3"}


def test_a_folder_in_use_for_something_else_is_refused(tmp_path: Path, ensemble: Ensemble) -> None:
    write_scan(tmp_path / "scan")
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(BadData, match="holds something else than a prediction"):
        predict(ensemble, tmp_path / "scan", out)
    assert [file.name for file in out.iterdir()] == ["thesis.txt"]
    (out / "thesis.txt").unlink()
    predict(ensemble, tmp_path / "scan", out)
    with pytest.raises(BadData, match="holds a prediction with other offsets"):
        predict(ensemble, tmp_path / "scan", out, decide=Decision(offsets=Offsets((0.0, 1.0, 0.0, 0.0, 0.0))))
    other = load_models([write_run(tmp_path / "other", sharpness=3.0)])
    with pytest.raises(BadData, match="with other models"):
        predict(other, tmp_path / "scan", out)


def test_another_scan_of_the_same_name_does_not_take_its_place(tmp_path: Path, ensemble: Ensemble) -> None:
    write_scan(tmp_path / "a" / "scan")
    write_scan(tmp_path / "b" / "scan", pixels=bright(np.zeros((6, 24, 20), np.uint8)))
    predict(ensemble, tmp_path / "a", tmp_path / "out")
    (record,), _ = predict(ensemble, tmp_path / "b", tmp_path / "out")
    assert "holds another scan of that name" in record.reason
    found = np.asarray(nibabel.load(tmp_path / "out" / "nifti" / "scan.nii.gz").dataobj)
    assert np.array_equal(found.T, organ_labels())
    assert json.loads((tmp_path / "out" / "run.json").read_text())["cases"][0]["status"] == "done"


def test_a_signal_leaves_whole_files_and_the_same_call_goes_on(
    tmp_path: Path, ensemble: Ensemble, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        write_scan(tmp_path / "scans" / str(number), study=str(number + 1))
    real, calls = batch_module.predict_scan, []

    def interrupted(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return real(*arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(batch_module, "predict_scan", interrupted)
        with pytest.raises(Interrupted, match="2 of 5 cases are done") as stopped:
            predict(ensemble, tmp_path / "scans", tmp_path / "out")
    assert stopped.value.exit_code == 4
    whole(tmp_path / "out")
    assert len(json.loads((tmp_path / "out" / "run.json").read_text())["cases"]) == 2
    records, said = predict(ensemble, tmp_path / "scans", tmp_path / "out")
    assert said.count("done before") == 2
    assert all(record.is_done for record in records)


def test_a_full_disk_is_one_line_and_leaves_whole_files(
    tmp_path: Path, ensemble: Ensemble, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_scan(tmp_path / "scan")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for place in ("steelyard.io.nifti.nib.save", "steelyard.inference.preview.write_bytes"):
        with monkeypatch.context() as patched:
            patched.setattr(place, full)
            with pytest.raises(Interrupted, match="no space left"):
                predict(ensemble, tmp_path / "scan", tmp_path / "out")
        whole(tmp_path / "out")
    records, _ = predict(ensemble, tmp_path / "scan", tmp_path / "out")
    assert records[0].is_done


def test_a_failed_case_leaves_no_files_of_its_own(tmp_path: Path, ensemble: Ensemble) -> None:
    write_scan(tmp_path / "scan", StudyInstanceUID="", SeriesInstanceUID="")
    (record,), _ = predict(ensemble, tmp_path / "scan", tmp_path / "out", formats=("nifti", "dicom-seg"))
    assert "StudyInstanceUID" in record.reason
    assert not list((tmp_path / "out").rglob("*.nii.gz"))


def test_dicom_objects_of_nifti_files_are_refused_before_anything_is_written(
    tmp_path: Path, ensemble: Ensemble
) -> None:
    nibabel.save(nibabel.Nifti1Image(bright().T, np.eye(4)), tmp_path / "scan.nii.gz")
    with pytest.raises(BadSpec, match="dicom-seg refers to DICOM images, and the input is NIfTI"):
        predict(ensemble, tmp_path / "scan.nii.gz", tmp_path / "out", formats=("nifti", "dicom-seg"))
    assert not (tmp_path / "out").exists()


def test_masks_of_a_nifti_file_are_numbered(tmp_path: Path, ensemble: Ensemble) -> None:
    affine = np.array([[-1.0, 0, 0, 30], [0, -2, 0, 40], [0, 0, 3, -60], [0, 0, 0, 1]])
    nibabel.save(nibabel.Nifti1Image(bright().T, affine), tmp_path / "scan.nii")
    predict(ensemble, tmp_path / "scan.nii", tmp_path / "out", formats=("nifti", "png"))
    assert sorted(mask.name for mask in (tmp_path / "out" / "png" / "scan").iterdir())[0] == "slice-001.png"
    assert np.allclose(nibabel.load(tmp_path / "out" / "nifti" / "scan.nii.gz").affine, affine)


def test_the_preview_shows_the_largest_section_of_each_organ() -> None:
    labels = np.zeros((5, 8, 9), np.uint8)
    labels[1, 2:4, 2:4] = 1
    labels[3, 2:5, 2:5] = 1
    labels[3, 6, 6] = 4
    label_map = LabelMap(labels, Geometry(labels.shape, np.diag([3.0, 2, 1, 1])), CHAOS_MR)
    assert sections(label_map) == {3: "liver, spleen"}
    empty = LabelMap(np.zeros_like(labels), label_map.geometry, CHAOS_MR)
    assert sections(empty) == {2: "no organ found"}

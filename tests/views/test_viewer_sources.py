"""What `steelyard view` takes, where its page lies, and what it refuses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kept_study import GRID, write_study
from phantoms import organ_labels
from steelyard.cli.app import app
from steelyard.errors import BadData, BadSpec
from steelyard.io.nifti import write_label_map, write_volume
from steelyard.labels import CHAOS_MR
from steelyard.volume import LabelMap, Volume


def names(page: Path) -> list[str]:
    return re.findall(r'\{"name":"([^"]+)","block"', page.read_text(encoding="utf-8"))


def test_a_study_is_shown_beside_its_report_with_all_losses(tmp_path, capsys):
    folder = write_study(tmp_path / "kidneys", {"dice": "done", "iou": "done", "focal": "failed"})
    app(["view", str(folder)])
    page = folder / "report" / "viewer.html"
    assert capsys.readouterr().out == f"viewer: {page}\n"
    assert names(page) == ["dice", "iou"]
    app(["view", str(folder), "--prediction", "iou", "--out", str(tmp_path / "one.html")])
    assert names(tmp_path / "one.html") == ["iou"]


def test_a_run_is_shown_alone(tmp_path):
    folder = write_study(tmp_path / "kidneys", {"dice": "done", "iou": "done"})
    app(["view", str(folder / "net-iou")])
    assert names(folder / "net-iou" / "viewer.html") == ["iou"]


def test_a_label_map_of_any_tool_is_shown_on_its_image(tmp_path):
    labels = LabelMap(organ_labels(), GRID, CHAOS_MR)
    write_label_map(tmp_path / "found.nii.gz", labels)
    write_volume(tmp_path / "scan.nii.gz", Volume(labels.labels * 10.0, GRID))
    app(["view", str(tmp_path / "scan.nii.gz"), "--prediction", str(tmp_path / "found.nii.gz")])
    assert names(tmp_path / "scan-viewer.html") == ["found"]
    with pytest.raises(BadSpec, match="Name label maps of it"):
        app(["view", str(tmp_path / "scan.nii.gz")])


def test_what_cannot_be_shown_is_refused_in_a_line(tmp_path):
    folder = write_study(tmp_path / "kidneys", {"dice": "done"})
    (folder / "net-dice" / "DONE").unlink()
    with pytest.raises(BadData, match="holds no finished run"):
        app(["view", str(folder)])
    with pytest.raises(BadData, match="there is no folder"):
        app(["view", str(tmp_path / "none")])
    with pytest.raises(BadSpec, match="--reference and --labels go with an image"):
        app(["view", str(folder), "--reference", str(tmp_path / "scan.nii.gz")])
    with pytest.raises(BadData, match="neither a study's folder nor a run's"):
        app(["view", str(tmp_path)])


def test_predictions_of_one_file_name_are_told_by_their_folders(tmp_path):
    labels = LabelMap(organ_labels(), GRID, CHAOS_MR)
    write_volume(tmp_path / "scan.nii.gz", Volume(organ_labels().astype("float32"), GRID))
    files = [tmp_path / tool / "nifti" / "p7.nii.gz" for tool in ("plain", "crf")] + [tmp_path / "expert.nii.gz"]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_label_map(file, labels)
    page = tmp_path / "page.html"
    app(["view", str(tmp_path / "scan.nii.gz"), "--prediction", *map(str, files), "--out", str(page)])
    assert names(page) == ["plain", "crf", "expert"]
    with pytest.raises(BadSpec, match="two predictions have the same name"):
        app(["view", str(tmp_path / "scan.nii.gz"), "--prediction", str(files[0]), str(files[0]), "--out", str(page)])

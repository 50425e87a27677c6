"""The cases in a folder that `steelyard predict` wrote, joined with the scans that were predicted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from steelyard.errors import BadData
from steelyard.evaluate.label_sets import labels_of_names
from steelyard.io.dicom_folder import find_series
from steelyard.io.dicom_series import read_headers, read_pixels
from steelyard.io.nifti import SUFFIXES, read_label_map, read_volume
from steelyard.records import prediction_record
from steelyard.runstore import read_json
from steelyard.views.shown_cases import SCORES, ShownCase, ShownCases
from steelyard.volume import Geometry, Volume

KIND = "prediction"


def is_prediction(folder: Path) -> bool:
    """Whether `steelyard predict` wrote that folder."""
    return _record(folder).get("kind") == KIND


def cases_of_prediction(folder: Path, scans: Path | None = None) -> ShownCases:
    """The cases of a prediction, without reference and scores.

    Args:
        scans: what was predicted: the same folder or file that `predict` was given. Without it images are black.

    Raises:
        BadData: no case was predicted as NIfTI; a scan that is not there, not on the prediction's grid, or not the
            only series on it.
    """
    record = prediction_record(folder / "run.json")
    label_set = labels_of_names(dict.fromkeys(record["organs"]))
    name = " + ".join(dict.fromkeys(model["loss"] for model in record["models"]))
    places = {case["name"]: case["place"] for case in record["cases"] if case["status"] == "done"}
    files = {case_id: folder / "nifti" / f"{case_id}.nii.gz" for case_id in sorted(places)}
    kept = {case_id: file for case_id, file in files.items() if file.is_file()}
    if not kept:
        raise BadData(f"{folder} holds no case as NIfTI. Predict with --to nifti.")

    def read_one(case_id: str) -> ShownCase:
        prediction = read_label_map(kept[case_id], label_set)
        geometry = prediction.geometry
        image = (
            Volume(np.zeros(geometry.shape, np.float32), geometry)
            if scans is None
            else _scan(scans, places[case_id], geometry)
        )
        return ShownCase(case_id, image, None, {name: prediction})

    return ShownCases(str(folder), tuple(kept), label_set, (name,), pl.DataFrame(schema=SCORES), read_one)


def _scan(scans: Path, place: str, geometry: Geometry) -> Volume:
    """The NIfTI file or the DICOM series that lies on the grid."""
    path = scans / place if (scans / place).exists() else scans
    if path.name.endswith(SUFFIXES):
        volume = read_volume(path)
        if not volume.geometry.same_grid(geometry):
            raise BadData(f"{path} lies on another grid than the prediction. Name the scan that was predicted.")
        return volume
    found = []
    for series in find_series(path) if path.is_dir() else []:
        headers = read_headers(series.files)
        if headers.geometry.same_grid(geometry):
            found.append((series.title, headers))
    if len(found) != 1:
        which = f"{len(found)} series ({'; '.join(title for title, _ in found)})" if found else "no series"
        raise BadData(f"{path} holds {which} on the prediction's grid where one is wanted. Name the scan's own folder.")
    return read_pixels(found[0][1])


def _record(folder: Path) -> dict[str, Any]:
    try:
        content = read_json(folder / "run.json")
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}

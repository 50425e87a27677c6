"""What finished runs left behind, as the counts and probabilities that a calibration chooses by."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np
import polars as pl

from steelyard.calibrate.tally import Tally
from steelyard.calibrate.voxels import CaseVoxels, case_voxels
from steelyard.confusion import Confusion
from steelyard.errors import BadData
from steelyard.io.nifti import read_label_map
from steelyard.io.probabilities import read_probabilities
from steelyard.labels import LabelSet
from steelyard.records import read_table
from steelyard.runstore import RunFolder

COUNTS = ("tp", "fp", "fn", "tn")


def tally_of(runs: Iterable[RunFolder]) -> Tally:
    """The voxel counts of every held-out case of those runs; a case held out by several of them counts several times.

    Raises:
        BadData: the counts of a run are missing or damaged.
    """
    return reduce(add, (_tally(run.counts) for run in runs))


def voxels_of(run: RunFolder, study_folder: Path, label_set: LabelSet) -> list[CaseVoxels]:
    """Probabilities and reference of every held-out case of a run that kept its probabilities.

    Raises:
        BadData: a file is missing or damaged.
    """
    cases = _read(run.counts).unique("case_id", maintain_order=True)
    found = []
    for case_id, patient_id in cases.select("case_id", "patient_id").iter_rows():
        reference = read_label_map(study_folder / "cases" / case_id / "reference.nii.gz", label_set)
        found.append(
            case_voxels(
                read_probabilities(run.probabilities(case_id)),
                reference.labels,
                patient_id=patient_id,
                voxel_ml=reference.geometry.voxel_ml,
            )
        )
    return found


def _tally(path: Path) -> Tally:
    frame = _read(path).sort("case_id", "class_index")
    cases = frame.unique("case_id", keep="first", maintain_order=True)
    if not len(cases) or len(frame) % len(cases):
        raise BadData(f"{path}: every case has to have every class. Delete the run's folder and do it again.")
    shape = (len(cases), len(frame) // len(cases))
    counts = Confusion(*(frame[name].to_numpy().astype(np.int64).reshape(shape) for name in COUNTS))
    return Tally(tuple(cases["patient_id"]), counts, cases["voxel_ml"].to_numpy())


def _read(path: Path) -> pl.DataFrame:
    try:
        columns = ["case_id", "patient_id", "class_index", *COUNTS, "voxel_ml"]
        return read_table(path, remedy="Do the run again.").select(columns)
    except pl.exceptions.PolarsError as error:
        first_line = str(error).splitlines()[0]
        raise BadData(f"{path}: counts of a finished run cannot be read ({first_line}). Do the run again.") from error

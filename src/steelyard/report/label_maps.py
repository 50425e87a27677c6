"""The label maps that a study kept: what the expert drew and what a run found, in the study's own classes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from steelyard.io.nifti import read_label_map
from steelyard.labels import LabelSet
from steelyard.report.read import Run, Study


def image_file(study: Study, case_id: str) -> Path:
    return study.folder / "cases" / case_id / "image.nii.gz"


def reference_file(study: Study, case_id: str) -> Path:
    return study.folder / "cases" / case_id / "reference.nii.gz"


def reference_labels(study: Study, case_id: str, organ: str | None = None) -> np.ndarray:
    """Class indices (slice, row, column) of the expert's label map; of `organ` alone where one is named."""
    labels = read_label_map(reference_file(study, case_id), study.label_set).labels
    return labels if organ is None else np.where(labels == study.label_set.organ(organ).index, labels, 0)


def predicted_labels(study: Study, run: Run, case_id: str) -> np.ndarray:
    """Class indices of the run's prediction. A uniclass run writes 1 for its organ: it becomes the organ's index."""
    path = run.files.prediction(case_id)
    if run.organ is None:
        return read_label_map(path, study.label_set).labels
    organ = study.label_set.organ(run.organ)
    return read_label_map(path, LabelSet((replace(organ, index=1),))).labels * np.uint8(organ.index)

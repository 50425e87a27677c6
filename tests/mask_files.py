"""Masks of other tools as files: nnU-Net's and TotalSegmentator's layouts, on a grid whose three spacings differ."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import nibabel
import numpy as np

COLUMN_ROW_SLICE_MM = np.diag([3.0, 2.0, 1.0, 1.0])
LIVER, SPLEEN = (slice(0, 3), slice(0, 4), slice(1, 3)), (slice(4, 6), slice(1, 3), slice(1, 3))


def blocks(**values: int) -> np.ndarray:
    """A NIfTI array (column, row, slice) with blocks of 24 voxels (`liver`) and of 8 (`spleen`)."""
    found = np.zeros((6, 5, 4), np.uint8)
    for name, place in (("liver", LIVER), ("spleen", SPLEEN)):
        found[place] = values.get(name, 0)
    return found


def save(path: Path, data: np.ndarray, affine: np.ndarray = COLUMN_ROW_SLICE_MM, *, header: str | None = None) -> Path:
    """A NIfTI file; `header` goes into an extension."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(data, affine)
    if header is not None:
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension(0, header.encode()))
    nibabel.save(image, path)
    return path


def label_table(names: Mapping[int, str]) -> str:
    """The table of names that TotalSegmentator puts into the header of its `--ml` output."""
    rows = "\n".join(
        f'<Label Key="{value}" Red="1.0" Green="0.0" Blue="0.0" Alpha="1"><![CDATA[{name}]]></Label>'
        for value, name in names.items()
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?> <CaretExtension>  <Date><![CDATA[2013-07-14T05:45:09]]></Date>'
        f'   <VolumeInformation Index="0">   <LabelTable>\n{rows}\n  </LabelTable>  <StudyMetaDataLinkSet>  '
        "</StudyMetaDataLinkSet>  <VolumeType><![CDATA[Label]]></VolumeType>   </VolumeInformation></CaretExtension>"
        "\n              "
    )


def describe(folder: Path, labels: Mapping[str, object]) -> Path:
    """nnU-Net's dataset.json."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {"channel_names": {"0": "MR"}, "labels": labels, "numTraining": 2, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def organ_files(folder: Path, labels: np.ndarray, **values: int) -> Path:
    """TotalSegmentator's layout: a binary file for each organ of `values`."""
    for name, value in values.items():
        save(folder / f"{name}.nii.gz", (labels == value).astype(np.uint8))
    return folder

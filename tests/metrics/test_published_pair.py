"""The right kidney of CHAOS patient 1 as segmented by level sets: the values published for the pair are reproduced.

Source: KidneySegm, doi 10.1109/ACCESS.2021.3078430. Its border (6-neighbour), distances (mm between border voxels) and
pooled mean are those of the `chaos` convention; its volume error is RAVD as a share.
"""

import os
from pathlib import Path

import numpy as np
import pytest

from masks import pair_of
from steelyard.evaluate.label_sets import parse_labels
from steelyard.io.nifti import read_label_map
from steelyard.metrics import METRICS

PUBLISHED_SPACING_MM = (5.5, 1.89453, 1.89453)  # slice, row, column; the files' headers round it to 1.895

pytestmark = pytest.mark.real_data


@pytest.fixture(scope="module")
def masks():
    root = os.environ.get("STEELYARD_DATA")
    if not root or not (Path(root) / "kidneysegm" / "GT.nii").exists():
        pytest.skip("STEELYARD_DATA names no folder with kidneysegm/")
    maps = [
        read_label_map(Path(root) / "kidneysegm" / name, parse_labels("kidney=1"))
        for name in ("GT.nii", "T2w_LS-x-C.nii")
    ]
    assert maps[0].geometry.spacing_mm == pytest.approx(PUBLISHED_SPACING_MM, abs=5e-4)
    return [found.labels == 1 for found in maps]


@pytest.mark.parametrize(
    ("name", "published", "digits"),
    [("dice", 0.913, 3), ("iou", 0.839, 3), ("precision", 0.927, 3), ("sensitivity", 0.899, 3), ("assd_mm", 1.50, 2)],
)
def test_overlap_and_mean_distance_as_published(masks, name, published, digits):
    assert round(METRICS[name](pair_of(*masks, PUBLISHED_SPACING_MM)), digits) == published


def test_volume_error_as_published(masks):
    assert round(METRICS["ravd"](pair_of(*masks, PUBLISHED_SPACING_MM)) / 100, 3) == 0.030


def test_both_directed_hausdorff_distances_as_published(masks):
    distances = pair_of(*masks, PUBLISHED_SPACING_MM).distances
    assert round(float(distances.from_reference.max()), 2) == 9.47
    assert round(float(distances.from_prediction.max()), 2) == 9.36


def test_the_rounded_spacing_of_the_headers_moves_the_maximum_by_two_micrometres_only(masks):
    exact, rounded = (pair_of(*masks, (5.5, mm, mm)) for mm in (1.89453, 1.895))
    assert METRICS["mssd_mm"](rounded) - METRICS["mssd_mm"](exact) == pytest.approx(0.00235, abs=2e-5)


def test_swapping_slices_and_columns_would_not_give_the_published_values(masks):
    swapped = pair_of(*(np.ascontiguousarray(mask) for mask in masks), PUBLISHED_SPACING_MM[::-1])
    assert abs(METRICS["assd_mm"](swapped) - 1.50) > 0.1

"""What each metric says when the organ is in neither mask, in the prediction only, or in the reference only.

The table is written out by hand: 4 × 5 × 6 voxels of 1 × 2 × 3 mm, the organ's voxels are 2. V = √(4² + 10² + 18²) mm.
"""

import numpy as np
import pytest

from masks import grid, mask_of, pair_of
from steelyard.metrics import METRICS
from steelyard.metrics.organ_pair import OrganPair
from steelyard.metrics.score_histogram import ScoreHistogram

SHAPE = (4, 5, 6)
EMPTY, ORGAN = mask_of(SHAPE), mask_of(SHAPE, (1, 2, 3), (1, 2, 4))
MASKS = {"both empty": (EMPTY, EMPTY), "invented": (EMPTY, ORGAN), "missed": (ORGAN, EMPTY)}
V = (4**2 + 10**2 + 18**2) ** 0.5
ML = 2 * 6 / 1000

#                            both empty, invented, missed
TABLE = {
    "iou": (None, 0, 0),
    "dice": (None, 0, 0),
    "nsd_2mm": (None, 0, 0),
    "bf_score_missing_as_zero": (None, 0, 0),
    "bf_score": (None, None, None),
    "sensitivity": (None, None, 0),
    "precision": (None, 0, None),
    "specificity": (1, 118 / 120, 1),
    "false_positive_rate": (0, 2 / 120, 0),
    "accuracy": (1, 118 / 120, 118 / 120),
    "ravd": (None, None, 100),
    "assd_mm": (None, V, V),
    "mssd_mm": (None, V, V),
    "hd95_mm": (None, V, V),
    "assd_mm_monai": (None, V, V),
    "mssd_mm_monai": (None, V, V),
    "hd95_mm_monai": (None, V, V),
    "nsd_2mm_monai": (None, 0, 0),
    "assd_mm_deepmind": (None, V, V),
    "assd_from_reference_mm": (None, V, V),
    "assd_from_prediction_mm": (None, V, V),
    "mssd_mm_deepmind": (None, V, V),
    "hd95_mm_deepmind": (None, V, V),
    "nsd_2mm_deepmind": (None, 0, 0),
    "volume_error_ml": (0, ML, -ML),
    "chaos_dice_score": (None, 0, 0),
    "chaos_ravd_score": (None, 0, 0),
    "chaos_assd_score": (None, 0, 0),
    "chaos_mssd_score": (None, 0, 0),
    "chaos_score": (None, 0, 0),
}
CELLS = [(name, case, value) for name, row in TABLE.items() for case, value in zip(MASKS, row, strict=True)]


@pytest.mark.parametrize(("name", "situation", "expected"), CELLS)
def test_every_cell_of_the_empty_mask_table(name, situation, expected):
    score = METRICS[name].score(pair_of(*MASKS[situation]), organ="spleen")
    if expected is None:
        assert (score.value, score.status) == (None, "undefined")
    else:
        assert score.value == pytest.approx(expected, abs=1e-12)
        assert score.status == {"both empty": "ok"}.get(situation, situation)


def test_the_table_holds_every_metric_of_an_organs_masks():
    assert {name for name in METRICS if METRICS[name].reads in ("counts", "slices", "masks")} == set(TABLE)


@pytest.mark.parametrize("situation", ["both empty", "invented"])
def test_areas_under_curves_are_undefined_without_a_reference(situation):
    pair = OrganPair(*MASKS[situation], grid(SHAPE), ScoreHistogram(np.zeros((1, 4), int), np.array([[100, 15, 3, 2]])))
    assert METRICS["roc_auc"](pair) is None
    assert METRICS["pr_auc"](pair) is None


def test_areas_under_curves_of_a_missed_organ_come_from_its_probabilities():
    """Organ voxels in bins 1 and 3 of four, 115 others in bin 0 and 3 in bin 2; all were decided as background."""
    histogram = ScoreHistogram(np.array([[0, 1, 0, 1]]), np.array([[115, 0, 3, 0]]))
    pair = OrganPair(*MASKS["missed"], grid(SHAPE), histogram)
    assert METRICS["roc_auc"](pair) == pytest.approx((118 + 115) / (2 * 118))
    assert METRICS["pr_auc"](pair) == pytest.approx(0.5 * 1 + 0.5 * 2 / 5)
    assert METRICS["roc_auc"].score(pair).status == "missed"

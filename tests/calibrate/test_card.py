"""What the card says of decisions moved afterwards."""

from __future__ import annotations

import pytest

from steelyard.calibrate.card import _leads
from steelyard.calibrate.judge import Comparison


@pytest.mark.parametrize(
    ("low", "high", "higher_is_better", "leads"),
    [
        (0.01, 0.05, True, True),
        (-0.01, 0.05, True, False),
        (-0.05, -0.01, True, False),
        (-5.0, -1.0, False, True),  # ml: lower is better
        (1.0, 5.0, False, False),
        (None, None, True, False),
    ],
)
def test_the_calibrated_weights_lead_where_the_whole_interval_is_on_their_side(
    low: float | None, high: float | None, higher_is_better: bool, leads: bool
) -> None:
    found = Comparison("iou11, offsets", 14, 0.6, 0.6, 0.0, low, high, 1.0, 0.03, "undecided")
    assert _leads(found, higher_is_better=higher_is_better) is leads

"""The CHAOS challenge's points: four measures of an organ, each turned into 0–100, and their mean."""

from __future__ import annotations

from steelyard import confusion
from steelyard.metrics import METRICS
from steelyard.metrics.metric import UNDEFINED, organ_metric
from steelyard.metrics.organ_pair import OrganPair
from steelyard.metrics.surface import assd_mm, mssd_mm
from steelyard.metrics.volume_error import ravd

DICE_FLOOR = 0.8  # beyond these limits a measure earns nothing
RAVD_LIMIT_PERCENT = 5.0
ASSD_LIMIT_MM = 15.0
MSSD_LIMIT_MM = 60.0

# An organ that one mask lacks earns no points, also where a small field of view would make its distances look good.
_chaos_points = organ_metric(
    reads="masks", convention="chaos", unit="points", better="higher", both_empty=UNDEFINED, invented=0.0, missed=0.0
)


@METRICS.register("chaos_dice_score", "CHAOS points for Dice: 100 · Dice, or 0 below 0.8")
@_chaos_points
def chaos_dice_score(pair: OrganPair) -> float:
    """100 · Dice if Dice ≥ .8, else 0.

    Source of all four: Kavur et al., Medical Image Analysis 69 (2021), section 3.2; chaos.grand-challenge.org.
    """
    value = float(confusion.dice(pair.counts))
    return 100 * value if value >= DICE_FLOOR else 0.0


@METRICS.register("chaos_ravd_score", "CHAOS points for RAVD: 100 at 0 %, 0 from 5 %")
@_chaos_points
def chaos_ravd_score(pair: OrganPair) -> float | None:
    """100 − 20 · RAVD if RAVD ≤ 5 %, else 0."""
    return _falling(ravd(pair), RAVD_LIMIT_PERCENT)


@METRICS.register("chaos_assd_score", "CHAOS points for ASSD: 100 at 0 mm, 0 from 15 mm")
@_chaos_points
def chaos_assd_score(pair: OrganPair) -> float | None:
    """100 − (20/3) · ASSD if ASSD ≤ 15 mm, else 0. None when a mask has no border."""
    return _falling(assd_mm(pair), ASSD_LIMIT_MM)


@METRICS.register("chaos_mssd_score", "CHAOS points for MSSD: 100 at 0 mm, 0 from 60 mm")
@_chaos_points
def chaos_mssd_score(pair: OrganPair) -> float | None:
    """100 − (5/3) · MSSD if MSSD ≤ 60 mm, else 0. None when a mask has no border."""
    return _falling(mssd_mm(pair), MSSD_LIMIT_MM)


@METRICS.register("chaos_score", "CHAOS points of an organ: mean of the four")
@_chaos_points
def chaos_score(pair: OrganPair) -> float | None:
    """Mean of the points for Dice, RAVD, ASSD and MSSD. None when one of them is undefined."""
    parts = (chaos_dice_score(pair), chaos_ravd_score(pair), chaos_assd_score(pair), chaos_mssd_score(pair))
    defined = [part for part in parts if part is not None]
    return sum(defined) / len(parts) if len(defined) == len(parts) else None


def _falling(value: float | None, limit: float) -> float | None:
    """A straight line from 100 at 0 to 0 at the limit and beyond."""
    return None if value is None else max(0.0, 100 * (1 - value / limit))

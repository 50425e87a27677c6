"""The comparisons in one plain sentence per network: what is better, what is worse, and what cannot be seen."""

from __future__ import annotations

from steelyard.report.statistics import Difference, Statistics


def verdict_sentence(found: Statistics) -> str:
    """`Against crossE, iou0515 is better for the spleen (+5.1 points of IoU, 2.0 to 8.3); all else is undecided: …`"""
    titles = dict(found.organs)
    parts = []
    for loss in dict.fromkeys(d.loss for d in found.family):
        for verdict in ("better", "worse"):
            organs = [d for d in found.family if d.loss == loss and d.verdict == verdict]
            if organs:
                told = ", ".join(f"{titles[d.organ]} {_amount(d, found)}" for d in organs)
                parts.append(f"{loss} is {verdict} for {told}")
    left_out = f" Not compared, for want of runs: {', '.join(found.left_out)}." if found.left_out else ""
    open_ = [d for d in found.family if d.verdict not in ("better", "worse")]
    decided = "; ".join(parts)
    title = f" on {found.comparison.title}" if len(found.comparison.study.groups) > 1 else ""
    opening = f"Against {found.baseline}{title}, "
    if not open_:
        return f"{opening}{decided}.{left_out}"
    rest = f"{'all else' if decided else 'every difference'} is undecided{_unseen(open_, found)}.{left_out}"
    return f"{opening}{decided}; {rest}" if decided else f"{opening}{rest}"


def _amount(d: Difference, found: Statistics) -> str:
    interval = d.interval.replace(" (", f" {found.measure.unit} of {found.measure.title}, ", 1)
    return f"({interval.rstrip(')')})"


def _unseen(open_: list[Difference], found: Statistics) -> str:
    counts = sorted({d.patients for d in open_})
    patients = f"{counts[0]} to {counts[-1]} patients" if len(counts) > 1 else f"{counts[0]} patients"
    if all(d.verdict == "too few" for d in open_):
        return f": {patients} are too few for a test"
    seen = sorted(round(d.minimum_detectable) for d in open_ if d.minimum_detectable is not None)
    if not seen:
        return ""
    amount = f"{seen[0]} to {seen[-1]}" if seen[0] != seen[-1] else str(seen[0])
    return f": with {patients} differences under about {amount} {found.measure.unit} cannot be seen"

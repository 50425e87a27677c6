"""The comparisons in one plain sentence per network: what is better, what is worse, and what cannot be seen."""

from __future__ import annotations

from steelyard.report.statistics import Difference, Statistics


def verdict_sentence(found: Statistics) -> str:
    """`Against crossE, iou0515 is better for the spleen (+5.1 points of IoU, 2.0 to 8.3); all else is undecided: …`"""
    parts = []
    for loss in dict.fromkeys(d.loss for d in found.family):
        for verdict in ("better", "worse"):
            decided = [d for d in found.family if d.loss == loss and d.verdict == verdict]
            if decided:
                parts.append(f"{loss} is {verdict} for {_organs(decided, found)}")
    open_ = [d for d in found.family if d.verdict not in ("better", "worse")]
    if open_:
        parts.append(f"{'all else' if parts else 'every difference'} is undecided{_unseen(open_, found)}")
    title = f" on {found.comparison.title}" if len(found.comparison.study.groups) > 1 else ""
    return f"Against {found.baseline}{title}, {'; '.join(parts)}.{_left_out(found)}"


def _organs(decided: list[Difference], found: Statistics) -> str:
    """Each organ with its difference and interval; in one where the verdict is the same for every organ of several."""
    unit = f"{found.measure.unit} of {found.measure.title}"
    every = [organ for organ, _ in found.organs if organ is not None]
    if len(every) > 2 and len(decided) == len(every):
        amounts = sorted((d.difference for d in decided if d.difference is not None), key=abs)
        return f"every organ ({amounts[0]:+.1f} to {amounts[-1]:+.1f} {unit})".replace("-", "−")
    titles = dict(found.organs)
    told = []
    for d in decided:
        difference, _, interval = d.interval.partition(" (")
        told.append(
            f"{titles[d.organ]} ({difference} {unit}, {interval}" if interval else f"{titles[d.organ]} ({difference})"
        )
    return ", ".join(told)


def _unseen(open_: list[Difference], found: Statistics) -> str:
    counts = sorted({d.patients for d in open_})
    patients = f"{counts[0]} to {counts[-1]} patients" if len(counts) > 1 else f"{counts[0]} patients"
    if counts == [1]:
        patients = "1 patient"
    if all(d.verdict == "too few" for d in open_):
        return f": {patients} {'is' if counts == [1] else 'are'} too few for a test"
    seen = sorted(d.minimum_detectable for d in open_ if d.minimum_detectable is not None)
    if not seen:
        return ""
    ends = list(dict.fromkeys(f"{end:.1f}" for end in (seen[0], seen[-1])))
    within = "; within this family the power is less" if found.family_size > 1 else ""
    return (
        f" with {patients} (a single test would find a true difference of {' to '.join(ends)} {found.measure.unit} "
        f"with 80 % power{within})"
    )


def _left_out(found: Statistics) -> str:
    titles = {organ.name: organ.title for organ in found.comparison.study.label_set.organs}
    told = []
    for loss, organs in found.left_out.items():
        some = f" ({', '.join(titles[organ] for organ in organs)})" if len(organs) < len(titles) else ""
        told.append(f"{loss}{some}")
    return f" Not compared, for want of runs: {', '.join(told)}." if told else ""

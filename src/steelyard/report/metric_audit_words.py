"""The words of the metric audit: how each score is called, and which of them reveal what, counted and not presumed."""

from __future__ import annotations

from collections.abc import Iterable

from steelyard.report.metric_tables import FURTHER, MAIN
from steelyard.study.measures import ONE_POINT, Scope
from steelyard.study.metric_audit import AuditRow, MetricAudit, Skipped, Verdict

TITLES = {
    "iou": "IoU",
    "mean_iou": "mean IoU",
    "weighted_iou": "weighted IoU",
    "mean_bf_score": "mean BF score",
    "nsd_2mm": "NSD at 2 mm",
    ONE_POINT: "AUC of one point",
}
SCOPES: dict[Scope, str] = {"organ": "organ", "all classes": "all classes", "pooled multiclass counts": "pooled counts"}
HIDDEN: dict[Verdict, tuple[str, str]] = {  # of one score, and of several
    "hardly moves": ("hardly moves", "hardly move"),
    "looks better": ("looks better", "look better"),
    "undefined": ("loses its value", "lose their value"),
}
LABELS: dict[Verdict, str] = {
    "reveals": "reveals it",
    "moves": "moves",
    "hardly moves": "hardly moves",
    "looks better": "looks better",
    "undefined": "loses its value",
}


def score_title(row: AuditRow) -> str:
    """`BF score, matlab`: the convention is named where there are two."""
    shown = (MAIN | FURTHER).get(row.metric)
    title = TITLES.get(row.metric) or (shown.title if shown else row.metric.replace("_", " "))
    return f"{title}, {row.convention.replace('_', ' ')}" if "bf_score" in row.metric else title


def full_title(row: AuditRow) -> str:
    """`IoU (organ)`: with the scope, where several stand side by side."""
    return f"{score_title(row)} ({SCOPES[row.scope]})"


def mean_rows(audit: MetricAudit, damage: str) -> list[AuditRow]:
    """One row per score: the mean over organs of the mean over cases."""
    return [r for r in audit.rows if r.damage == damage and r.organ is None and r.over == "mean of cases"]


def least_rows(audit: MetricAudit, damage: str) -> list[AuditRow]:
    """One row per score: of the organ whose failure it shows least, since a score must show whichever organ fails.

    An organ for which the score loses its value is that organ.
    """
    own = [r for r in audit.rows if r.damage == damage and r.organ is not None and r.over == "mean of cases"]
    groups: dict[str, list[AuditRow]] = {}
    for row in own:
        groups.setdefault(full_title(row), []).append(row)
    return [
        min(rows, key=lambda row: float("-inf") if (drop := shown_drop(row)) is None else drop)
        for rows in groups.values()
    ]


def shown_drop(row: AuditRow) -> float | None:
    """The drop as the page prints it: in mm for distances, as a share of the range for all others."""
    return row.drop if row.unit == "mm" else row.share


def done_damages(audit: MetricAudit) -> list[str]:
    """Damages that could be done on at least one organ."""
    return [damage.name for damage in audit.damages if any(row.damage == damage.name for row in audit.rows)]


def headline(audit: MetricAudit) -> str:
    """The findings in one sentence: how many scores reveal the first damage, and which always miss an organ."""
    damages = done_damages(audit)
    found: dict[str, list[AuditRow]] = {}
    for damage in damages:
        for row in least_rows(audit, damage):
            found.setdefault(full_title(row), []).append(row)
    never = [rows[0] for rows in found.values() if not any(row.verdict == "reveals" for row in rows)]
    revealed = _count(least_rows(audit, damages[0]), "reveals")
    kinds = f"under each of the {len(damages)} kinds of failure" if len(damages) > 1 else "under this failure"
    blind = f" ({_by_scope(never)})" if never else ""
    return (
        f"An organ that was {damages[0]} is revealed, whichever it is, by {revealed} of {len(found)} scores; "
        f"{len(never)} may miss an organ {kinds}{blind}."
    )


def findings(audit: MetricAudit) -> list[tuple[str, str]]:
    """Per damage, which scores do not show it for some organ, and what they do instead; the others are counted."""
    found = []
    for damage in done_damages(audit):
        rows = least_rows(audit, damage)
        parts = [f"Whichever organ fails, it is revealed by {_count(rows, 'reveals')} of {len(rows)} scores"]
        for verdict, (singular, plural) in HIDDEN.items():
            own = [row for row in rows if row.verdict == verdict]
            if own:
                parts.append(f"{len(own)} {singular if len(own) == 1 else plural}: {_by_scope(own, numbers=True)}")
        found.append((damage, ". ".join(parts) + "."))
    return found


def skips(skipped: Iterable[Skipped]) -> list[str]:
    """Damages that were not done, one line per damage, organ and reason, with the number of cases."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for skip in skipped:
        groups.setdefault((skip.damage, skip.organ, skip.reason), []).append(skip.case_id)
    return [
        f"{organ.replace('_', ' ')} not {damage}: {reason} ({len(cases)} case{'s' if len(cases) > 1 else ''})."
        for (damage, organ, reason), cases in groups.items()
    ]


def signed(value: float, decimals: int = 3) -> str:
    """With a true minus sign, and no sign on what rounds to 0."""
    text = f"{value:.{decimals}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")


def _count(rows: list[AuditRow], verdict: Verdict) -> int:
    return sum(row.verdict == verdict for row in rows)


def _by_scope(rows: list[AuditRow], *, numbers: bool = False) -> str:
    """`organ: accuracy 0.001, specificity −0.004; all classes: accuracy 0.001`."""
    parts = []
    for scope, name in SCOPES.items():
        titles = [score_title(row) + (_number(row) if numbers else "") for row in rows if row.scope == scope]
        if titles:
            parts.append(f"{name}: {', '.join(titles)}")
    return "; ".join(parts)


def _number(row: AuditRow) -> str:
    drop = shown_drop(row)
    if drop is None:
        return ""
    return f" {signed(drop, 1)} mm" if row.unit == "mm" else f" {signed(drop)}"

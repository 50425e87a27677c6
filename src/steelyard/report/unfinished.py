"""The runs that no number holds: failed, unfinished or never started, each with what is known of the reason."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from steelyard.report.comparison import Comparison
from steelyard.report.read import Run, Study
from steelyard.runstore import read_json

WORDS = {"failed": "failed", "unfinished": "running or interrupted", "missing": "not started"}


@dataclass(frozen=True)
class Unfinished:
    """One planned run without result, in words."""

    run: Run
    state: str
    reason: str


def unfinished(study: Study) -> tuple[Unfinished, ...]:
    """Every planned run that is not done, failed ones first, else in the plan's order."""
    order = list(WORDS)
    lost = sorted((run for run in study.runs if run.state != "done"), key=lambda run: order.index(run.state))
    return tuple(Unfinished(run, WORDS[run.state], _reason(run)) for run in lost)


def unfinished_in_short(study: Study) -> str:
    """`3 of 35 planned runs have no result (1 failed, 2 not started) and enter no number.` Empty when all are done."""
    lost = unfinished(study)
    if not lost:
        return ""
    counts = Counter(one.state for one in lost)
    told = ", ".join(f"{counts[state]} {state}" for state in WORDS.values() if counts[state])
    some = "has no result" if len(lost) == 1 else "have no result"
    those = "it enters" if len(lost) == 1 else "they enter"
    return f"{len(lost)} of {len(study.runs)} planned runs {some} ({told}): listed below, {those} no number."


def baseline_in_short(comparison: Comparison) -> str:
    """Which of the baseline's runs have no result: where they are missing, nothing is compared. Empty if none."""
    study = comparison.study
    baseline = (study.spec.get("compare") or {}).get("baseline") or study.conditions[0].loss  # as the statistics do
    lost = [
        f"fold {one.run.fold}, seed {one.run.seed}{f', {one.run.organ}' if one.run.organ else ''} ({one.state})"
        for one in unfinished(study)
        if (one.run.network, one.run.task, one.run.loss) == (comparison.network, comparison.task, baseline)
    ]
    if not lost:
        return ""
    return f"Runs that the baseline {baseline} lacks{comparison.of_title}: {'; '.join(lost)}."


def _reason(run: Run) -> str:
    if run.state != "unfinished":
        return run.reason
    written = [path.stat().st_mtime for path in run.files.path.iterdir() if path.is_file()]
    if not written:
        return "nothing written yet"
    seen = f"last written {datetime.fromtimestamp(max(written)).astimezone().strftime('%Y-%m-%d %H:%M %Z')}"
    try:
        progress = read_json(run.files.path / "progress.json")  # its sign of life
        return f"epoch {progress['epoch']} of {progress['epochs']}, {seen}"
    except (OSError, ValueError, TypeError, KeyError):
        return seen

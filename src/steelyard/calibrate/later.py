"""Deciding later: the honest rivals of training anew. Networks stay as they are, and only their decision is moved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from steelyard.calibrate.bench import Bench
from steelyard.calibrate.fit_decision import fit_offsets, fit_optimal
from steelyard.calibrate.nested import OuterFold
from steelyard.calibrate.objective import MeanIndex, Objective
from steelyard.calibrate.results import voxels_of
from steelyard.calibrate.tally import Tally
from steelyard.calibrate.voxels import CaseVoxels, tally
from steelyard.postprocess.offsets import Offsets
from steelyard.postprocess.optimal import OptimalRule
from steelyard.study.plan import Run
from steelyard.study.spec import Part

Rule = Offsets | OptimalRule


@dataclass(frozen=True, eq=False)
class DecidedLater:
    """A network of a loss with a moved decision, in one outer fold.

    Attributes:
        title: `cross_entropy, offsets`.
        rule: fitted on the inner predictions.
        tally: what it gives on the outer patients.
    """

    title: str
    loss: Part
    rule: Rule
    tally: Tally


def inner_runs(bench: Bench, fold: OuterFold, loss: Part) -> list[Run]:
    """The runs on whose predictions the rules for that loss's network are fitted."""
    return [bench.run("inner", loss, inner, seed) for inner in fold.inner for seed in bench.seeds]


def fit_rules(cases: list[CaseVoxels], objective: Objective) -> Mapping[str, Rule]:
    """`offsets` for every objective; `optimal` for those that are an overlap index, which alone have that rule."""
    rules: dict[str, Rule] = {"offsets": fit_offsets(cases, objective, class_count=cases[0].class_count)}
    if isinstance(objective, MeanIndex):
        weight = {"iou": 1.0, "dice": 0.5}[objective.index]
        rules["optimal"] = fit_optimal(cases, fp_weight=weight, fn_weight=weight)
    return rules


def decide_later(
    bench: Bench, fold: OuterFold, outer_run: Callable[[Part, int], Run]
) -> tuple[list[DecidedLater], Mapping[str, list[CaseVoxels]]]:
    """Rules fitted on inner predictions and tried on the outer ones; also the inner cases, per loss.

    A loss of which a training failed is left out. `outer_run` gives the outer run of a loss and a seed.
    """
    found = []
    inner_cases = {}
    for loss in bench.decided_later:
        own = [outer_run(loss, seed) for seed in bench.seeds]
        if bench.failure("inner", inner_runs(bench, fold, loss)) or bench.failure("outer", own):
            continue
        cases = [case for run in inner_runs(bench, fold, loss) for case in _voxels(bench, "inner", run)]
        unseen = [case for run in own for case in _voxels(bench, "outer", run)]
        for name, rule in fit_rules(cases, bench.objective).items():
            found.append(DecidedLater(f"{loss.title}, {name}", loss, rule, tally(unseen, rule)))
        inner_cases[loss.title] = cases
    return found, inner_cases


def _voxels(bench: Bench, part: str, run: Run) -> list[CaseVoxels]:
    return voxels_of(bench.run_folder(part, run), bench.folder / part, bench.label_set)

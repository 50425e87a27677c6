"""What a study said it would compare, before any number was seen, and which of its runs are finished."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steelyard.errors import BadData, unknown_name
from steelyard.metrics import METRICS
from steelyard.metrics.metric import STUDY_CONVENTIONS, Metric
from steelyard.records import study_record
from steelyard.runstore import RunFolder
from steelyard.study.declaration import declared_when
from steelyard.study.spec import CompareTable, Part


@dataclass(frozen=True)
class FinishedRun:
    """A run whose scores can be read; `organ` is None where one network was trained on all organs."""

    name: str
    network: str
    task: str
    loss: str
    fold: int
    seed: int
    organ: str | None


@dataclass(frozen=True)
class Declared:
    """Baseline, metric and family of a study. `losses` and `organs` are all there are, in the study's own order."""

    study: str
    baseline: str
    metric: Metric
    losses: tuple[str, ...]
    organs: tuple[str, ...]
    family_losses: tuple[str, ...]
    family_organs: tuple[str, ...]
    groups: tuple[tuple[str, str], ...]  # network and task
    done: tuple[FinishedRun, ...]
    gaps: tuple[str, ...]  # a sentence for each network and task on which the baseline is not finished
    declared_when: str

    @property
    def family_size(self) -> int:
        """Declared comparisons within one network and task, finished or not."""
        return len(self.family_losses) * len(self.family_organs)

    @property
    def higher_is_better(self) -> bool:
        """Of signed errors the size is compared, so lower is better there."""
        return self.metric.better == "higher"

    def comparable(self, network: str, task: str, organ: str) -> list[str]:
        """The baseline, and the losses finished for that organ on all folds and seeds that the baseline has."""
        finished: dict[str, set[tuple[int, int]]] = {loss: set() for loss in self.losses}
        for run in self.done:
            if (run.network, run.task) == (network, task) and run.organ in (None, organ):
                finished[run.loss].add((run.fold, run.seed))
        wanted = finished.get(self.baseline)
        return [loss for loss in self.losses if wanted and finished[loss] >= wanted]


def read_declared(study_folder: Path) -> Declared:
    """`study.json`, and which of its runs are done. A study without a `[compare]` table has that table's defaults.

    Raises:
        BadData: `study.json` is missing, damaged, of another schema, or names a metric or an organ that is not there.
    """
    path = study_folder / "study.json"
    if not path.is_file():
        raise BadData(
            f"{study_folder} holds no study.json, so it is no study folder. Name the folder that `run` wrote."
        )
    try:
        plan = study_record(study_folder)
        compare = CompareTable.model_validate(plan["spec"].get("compare") or {})
        organs = tuple(organ["name"] for organ in plan["label_set"]["organs"])
        losses = _in_grid_order(plan, "loss")
        networks = _in_grid_order(plan, "network")
        runs = {(run["network"], run["task"]) for run in plan["runs"]}
        baseline = compare.baseline if compare.baseline is not None else losses[0] if losses else ""
        family = [loss for loss in compare.losses or losses if loss != baseline]
        done = (run for run in plan["runs"] if RunFolder(study_folder / run["run"]).is_done)
        return Declared(
            study=plan["name"],
            baseline=baseline,
            metric=_metric(compare.metric, path),
            losses=losses,
            organs=organs,
            family_losses=tuple(dict.fromkeys(family)),
            family_organs=tuple(dict.fromkeys(compare.organs or organs)),
            groups=tuple(sorted(runs, key=lambda group: (networks.index(group[0]), group[1]))),
            done=tuple(sorted((_finished(run) for run in done), key=lambda run: run.name)),
            gaps=_gaps(study_folder, plan["runs"], baseline),
            declared_when=declared_when(plan),
        )
    except (OSError, ValueError) as error:
        first_line = str(error).splitlines()[0]
        raise BadData(f"{path}: cannot be read as a study ({first_line}). Run the study again.") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise BadData(f"{path}: a field is missing or of the wrong kind ({error!r}). Run the study again.") from error


def _in_grid_order(plan: dict[str, Any], kind: str) -> tuple[str, ...]:
    """Titles as the grid lists them; those of the runs that no grid lists come after, by name."""
    listed = (plan["spec"].get("grid") or {}).get(kind, [])
    titles = [Part.model_validate(part).title for part in listed]
    ran = {run[kind] for run in plan["runs"]}
    return tuple(dict.fromkeys([*(title for title in titles if title in ran), *sorted(ran)]))


def _gaps(study_folder: Path, runs: list[dict[str, Any]], baseline: str) -> tuple[str, ...]:
    of_baseline: dict[tuple[str, str], list[bool]] = {}
    for run in runs:
        if run["loss"] == baseline:
            is_done = RunFolder(study_folder / run["run"]).is_done
            of_baseline.setdefault((run["network"], run["task"]), []).append(is_done)
    return tuple(
        f"The baseline {baseline} has finished {sum(done)} of its {len(done)} runs on {network}, {task}: losses are "
        "compared on the patients of those runs alone."
        for (network, task), done in of_baseline.items()
        if not all(done)
    )


def _metric(name: str, path: Path) -> Metric:
    """The metric per organ of that name; of two conventions the one in which a missed organ counts."""
    of_organs = [METRICS[key] for key in METRICS if METRICS[key].reads != "classes"]
    of_organs = [metric for metric in of_organs if metric.convention in STUDY_CONVENTIONS]
    found = [metric for metric in of_organs if metric.name == name]
    if not found:
        known = {metric.name for metric in of_organs}
        raise BadData(f"{path}: {unknown_name('metric per organ', name, known)}")
    return next((metric for metric in found if metric.convention == "missing_as_zero"), found[0])


def _finished(run: dict[str, Any]) -> FinishedRun:
    return FinishedRun(
        name=run["run"],
        network=run["network"],
        task=run["task"],
        loss=run["loss"],
        fold=run["fold"],
        seed=run["seed"],
        organ=run.get("organ"),
    )

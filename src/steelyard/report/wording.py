"""What the page says in words: what was run, what came out highest, and what must not be concluded."""

from __future__ import annotations

from typing import Any

import polars as pl

from steelyard.report.comparison import comparisons
from steelyard.report.overlays import shown_condition
from steelyard.report.read import Run, Study
from steelyard.report.statistics import read_statistics
from steelyard.report.tables import organ_table
from steelyard.report.unfinished import unfinished_in_short
from steelyard.report.verdicts import verdict_sentence

PRIVATE_KEYS = frozenset({"root", "out"})  # paths on the machine of whoever ran the study: not for readers of the page
FEWEST_FOR_A_TEST = 6  # a signed-rank test of 5 pairs cannot fall below p = 2 / 2⁵ = .0625


def what_was_run(study: Study) -> list[tuple[str, str]]:
    """Headed sentences: data, patients per fold, what was compared, preprocessing and training as resolved."""
    cases = study.scores.filter(pl.col("case_id").is_not_null())
    data, folds = study.spec.get("data", {}), study.spec.get("folds", {})
    sequences = data.get("sequences") or sorted(cases["sequence"].drop_nulls().unique())
    lines = [
        (
            "Data",
            f"{data.get('dataset', 'data set not recorded')}, {_listed(sequences) or 'one sequence'}; "
            f"{cases['case_id'].n_unique()} held-out cases of {cases['patient_id'].n_unique()} patients are scored.",
        ),
        ("Organs", _listed([organ.title for organ in study.label_set.organs]) + "."),
        ("Networks", _listed(dict.fromkeys(run.network for run in study.runs)) + "."),
        ("Losses", _listed(dict.fromkeys(run.loss for run in study.runs)) + "."),
        ("Runs", _runs(study)),
    ]
    split_by = f" (split by {folds['by']})" if "by" in folds else ""
    lines += [(f"Fold {fold}{split_by}", sentence) for fold, sentence in _splits(study)]
    for section, title in (("preprocess", "Preprocessing"), ("train", "Training")):
        if study.spec.get(section):
            lines.append((title, "; ".join(f"{k} {v}" for k, v in flattened(study.spec[section])) + "."))
    return lines


def in_short(study: Study) -> list[str]:
    """Per network the verdicts and the organ averages, highest first, of losses that may be ranked; then the lowest
    single result of the first.
    """
    sentences = []
    for comparison in comparisons(study):
        statistics = read_statistics(comparison)
        if statistics is not None and statistics.family:
            sentences.append(verdict_sentence(statistics))
        summary = organ_table(comparison).sections[-1].rows
        cells = next(row.cells for row in summary if row.header.label == "average of organs")
        found = [
            (cell.value, condition.loss)
            for cell, condition, ranked in zip(cells, comparison.conditions, comparison.ranked, strict=True)
            if cell.value is not None and ranked
        ]
        found.sort(key=lambda pair: (-pair[0], pair[1]))
        if found:
            averages = ", ".join(f"{loss} {value:.3f}" for value, loss in found)
            sentences.append(f"Average IoU of the organs{comparison.of_title}, pooled: {averages}.")
    shown = shown_condition(study)
    if shown is not None:
        rows = study.scores.filter(
            pl.col("case_id").is_not_null(),
            pl.col("metric") == "iou",
            pl.col("organ").is_in([organ.name for organ in study.label_set.organs]),
            pl.col("network") == shown.network,
            pl.col("loss") == shown.loss,
            pl.col("task") == shown.task,
        )
        lowest = rows.drop_nulls("value").sort("value", "case_id").head(1)
        for case in lowest.iter_rows(named=True):
            organ = study.label_set.organ(case["organ"]).title
            sentences.append(
                f"Lowest single result of {shown.loss} on {shown.network}: {case['patient_id']}, {organ}, "
                f"IoU {case['value']:.3f} ({case['case_id']})."
            )
    return sentences


def warnings(study: Study) -> list[str]:
    """What a reader must know before believing a number: the study's own warnings, then runs, patients, repetitions."""
    lines = list(study.warnings)
    lines += [said] if (said := unfinished_in_short(study)) else []
    if not study.done:
        return [*lines, "No run is finished: there is nothing to show yet."]
    patients = study.scores["patient_id"].drop_nulls().n_unique()
    held_out = f"{patients} held-out patient{'' if patients == 1 else 's'}"
    folds, seeds = ({getattr(run, key) for run in study.done} for key in ("fold", "seed"))
    if patients < FEWEST_FOR_A_TEST:
        lines.append(f"{held_out} {'is' if patients == 1 else 'are'} too few for any paired test to reach p < .05.")
    if patients < FEWEST_FOR_A_TEST or len(folds) * len(seeds) == 1:
        lines.append(f"No claim about differences between losses can be made from {_extent(held_out, folds, seeds)}.")
    return lines


def manifest(run: Run) -> list[tuple[str, str]]:
    """`run.json` as names and values, without paths of the machine that ran it."""
    taken = {"taken from the study": run.record["taken_from"]} if "taken_from" in run.record else {}
    return flattened({**taken, **run.manifest, "spec": run.record.get("spec", {})})


def flattened(values: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as `("train epochs", "60")` pairs, without `PRIVATE_KEYS`."""
    pairs: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f"{prefix} {key}".strip().replace("_", " ")
        if key in PRIVATE_KEYS:
            continue
        if isinstance(value, dict):
            pairs += flattened(value, name)
        elif isinstance(value, list):
            pairs.append((name, _listed(value)))
        else:
            pairs.append((name, "not set" if value is None else str(value)))
    return pairs


def _runs(study: Study) -> str:
    folds, seeds = ({getattr(run, key) for run in study.runs} for key in ("fold", "seed"))
    planned = f"{len(study.runs)} planned ({_count(folds, 'fold')}, {_count(seeds, 'seed')})"
    minutes = sum(float(run.manifest.get("training_seconds", 0)) for run in study.done) / 60
    devices = _listed(dict.fromkeys(str(run.manifest["device"]) for run in study.done if "device" in run.manifest))
    took = f"; {minutes:.0f} minutes of training" + (f" on {devices}" if devices else "") if minutes else ""
    return f"{planned}, {len(study.done)} finished{took}."


def _splits(study: Study) -> list[tuple[int, str]]:
    by_fold = {run.fold: run.manifest["split"] for run in study.done if "split" in run.manifest}
    return [
        (fold, f"trained on {_members(split.get('train', []))}; held out {_members(split.get('test', []))}.")
        for fold, split in sorted(by_fold.items())
    ]


def _members(names: list[str]) -> str:
    return f"{len(names)} ({', '.join(names)})"


def _extent(held_out: str, folds: set[int], seeds: set[int]) -> str:
    return f"{held_out}, {_count(folds, 'fold')} and {_count(seeds, 'seed')}"


def _count(things: set[int], noun: str) -> str:
    return f"{len(things)} {noun}{'' if len(things) == 1 else 's'}"


def _listed(things: Any) -> str:
    return ", ".join(map(str, things))

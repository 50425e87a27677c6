"""Compares the losses of a study patient by patient, and writes down which differences are more than chance.

Reads `study.json` and the scores of the finished runs; writes `comparisons.parquet`, `ranks.parquet` and `power.json`
beside them. The arithmetic is that of `steelyard.stats`; the choice of what is compared with what is made here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from steelyard.runstore import write_json, write_parquet
from steelyard.stats.paired import Floats, minimum_detectable, paired_differences, summarise
from steelyard.stats.power import STUDIES
from steelyard.stats.rank_stability import rank_shares
from steelyard.stats.signed_rank import signed_rank_p
from steelyard.stats.studentised import mean_p, studentised_interval
from steelyard.stats.verdict import family_p, resamples_for, verdicts
from steelyard.study.case_scores import case_scores
from steelyard.study.declared import Declared, read_declared
from steelyard.study.power_sentence import TRUE_DIFFERENCE, GroupPower, group_power

SEED = 20_250_101  # of all resamples and simulations; fixed, so that a study read twice says the same
COMPARISONS: dict[str, type[pl.DataType]] = {
    "study": pl.String,
    "network": pl.String,
    "task": pl.String,
    "metric": pl.String,
    "convention": pl.String,
    "organ": pl.String,
    "loss": pl.String,
    "baseline": pl.String,
    "patients": pl.Int64,
    "undefined": pl.Int64,
    "mean_baseline": pl.Float64,
    "mean_loss": pl.Float64,
    "mean_difference": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "sd": pl.Float64,
    "p": pl.Float64,
    "p_mean": pl.Float64,
    "p_holm": pl.Float64,
    "family_size": pl.Int64,
    "minimum_detectable": pl.Float64,
    "verdict": pl.String,
    "in_family": pl.Boolean,
}
RANKS: dict[str, type[pl.DataType]] = {
    "network": pl.String,
    "task": pl.String,
    "loss": pl.String,
    "organ": pl.String,
    "rank": pl.Float64,
    "share": pl.Float64,
    "mean_rank": pl.Float64,
}
MEASURED = ["patient_id", "case_id", "fold", "seed", "organ"]  # what two losses must share to be a pair


@dataclass(frozen=True)
class Comparisons:
    """Tables with the columns of `COMPARISONS` and `RANKS`, and the power of every network and task compared."""

    table: pl.DataFrame
    ranks: pl.DataFrame
    power: tuple[GroupPower, ...]


def write_comparisons(study_folder: Path) -> None:
    """Compare what is finished in a study folder, and write the three files there, each whole or not at all.

    With nothing to compare the tables are empty, with all their columns. The same finished runs give the same files.

    Raises:
        BadData: `study.json` or a finished run's scores are missing or damaged.
    """
    declared = read_declared(study_folder)
    found = compare(declared, case_scores(declared, study_folder, declared.metric))
    write_parquet(study_folder / "comparisons.parquet", found.table)
    write_parquet(study_folder / "ranks.parquet", found.ranks)
    resampling = {"seed": SEED, "resamples": resamples_for(declared.family_size), "simulated_studies": STUDIES}
    write_json(
        study_folder / "power.json",
        {
            "sentence": " ".join([declared.declared_when, *declared.gaps, *(group.sentence for group in found.power)]),
            "reason": " ".join(declared.gaps),
            "declaration": declared.declared_when,
            "true_difference": TRUE_DIFFERENCE,
            **resampling,
            "groups": [group.as_json() for group in found.power],
        },
    )


def compare(declared: Declared, scores: pl.DataFrame) -> Comparisons:
    """Every loss against the baseline, within each network and task, on each organ and on the mean of the organs.

    `scores`: one row per run and case and organ: network, task, loss, fold, seed, patient_id, case_id, organ, value
    (null where undefined). A case counts where both losses have a value from the same fold and seed; cases and seeds
    of a patient are averaged first, and a patient left without any such case is counted as undefined. A loss that lacks
    a fold or seed that the baseline has finished is left out; the family keeps its declared size.

    The mean of the organs, and all that `[compare]` does not declare, are described and not tested against the family:
    `p_holm` and `verdict` are null there. `undefined` ends of intervals and p values are null; an interval without
    bound on one side has an infinite end.
    """
    rows: list[dict[str, Any]] = []
    ranks: list[dict[str, Any]] = []
    power = []
    for network, task in declared.groups:
        own = scores.filter(pl.col("network") == network, pl.col("task") == task).sort(MEASURED)
        comparable = {organ: declared.comparable(network, task, organ) for organ in declared.organs}
        group = {"network": network, "task": task}
        found = [group | row for row in _differences(declared, own, comparable)]
        rows += found
        ranks += [group | row for row in _ranks(declared, own, comparable)]
        if found:
            power.append(group_power(declared, group, [row for row in found if row["in_family"]], seed=SEED))
    return Comparisons(pl.DataFrame(rows, schema=COMPARISONS), pl.DataFrame(ranks, schema=RANKS), tuple(power))


def _differences(declared: Declared, scores: pl.DataFrame, comparable: Mapping[str, list[str]]) -> list[dict[str, Any]]:
    """The rows of one network and task, losses in the grid's order, organs in the label set's, their mean last."""
    columns = [
        (loss, organ)
        for loss in declared.losses
        for organ in (*declared.organs, None)
        if loss != declared.baseline and loss in _on(organ, comparable)
    ]
    if not columns:
        return []
    patients = scores["patient_id"].unique().sort()
    baseline, values = np.full((2, len(patients), len(columns)), np.nan)
    for index, (loss, organ) in enumerate(columns):
        means = _patient_means(scores, [declared.baseline, loss], organ)
        at = patients.search_sorted(means["patient_id"]).to_numpy()
        baseline[at, index], values[at, index] = means[declared.baseline], means[loss]

    differences = paired_differences(values, baseline)
    resamples = resamples_for(declared.family_size)
    summary = summarise(differences)
    p, p_mean = signed_rank_p(differences), mean_p(differences, seed=SEED, resamples=resamples)
    low, high = studentised_interval(differences, seed=SEED, resamples=resamples)
    family = np.array([loss in declared.family_losses and organ in declared.family_organs for loss, organ in columns])
    p_holm = np.full(len(columns), np.nan)
    p_holm[family] = family_p(p[family], p_mean[family], family_size=declared.family_size)
    words = verdicts(
        p_holm[family],
        (low[family], high[family]),
        summary.patients[family],
        family_size=declared.family_size,
        higher_is_better=declared.higher_is_better,
    )
    word_of = dict(zip(np.flatnonzero(family).tolist(), words.tolist(), strict=True))
    detectable = minimum_detectable(summary.sd, summary.patients)
    return [
        {
            "study": declared.study,
            "metric": declared.metric.name,
            "convention": declared.metric.convention,
            "organ": organ,
            "loss": loss,
            "baseline": declared.baseline,
            "patients": int(summary.patients[i]),
            "undefined": int(summary.undefined[i]),
            "mean_baseline": _mean(baseline[:, i]),
            "mean_loss": _mean(values[:, i]),
            "mean_difference": _number(summary.mean[i]),
            "low": _number(low[i]),
            "high": _number(high[i]),
            "sd": _number(summary.sd[i]),
            "p": _number(p[i]),
            "p_mean": _number(p_mean[i]),
            "p_holm": _number(p_holm[i]),
            "family_size": declared.family_size,
            "minimum_detectable": _number(detectable[i]),
            "verdict": word_of.get(i),
            "in_family": bool(family[i]),
        }
        for i, (loss, organ) in enumerate(columns)
    ]


def _ranks(declared: Declared, scores: pl.DataFrame, comparable: Mapping[str, list[str]]) -> list[dict[str, Any]]:
    """How often each loss had which rank, over the patients for whom all ranked losses have values."""
    rows = []
    for organ in (*declared.organs, None):
        losses = [loss for loss in declared.losses if loss in _on(organ, comparable)]
        if len(losses) < 2:
            continue
        means = _patient_means(scores, losses, organ)
        if len(means) < 2:
            continue
        found = rank_shares(means.select(losses).to_numpy(), seed=SEED, higher_is_better=declared.higher_is_better)
        rows += [
            {"loss": loss, "organ": organ, "rank": float(rank), "share": float(share), "mean_rank": float(mean_rank)}
            for loss, shares, mean_rank in zip(losses, found.share, found.mean_rank, strict=True)
            for rank, share in zip(found.ranks, shares, strict=True)
            if share > 0
        ]
    return rows


def _on(organ: str | None, comparable: Mapping[str, list[str]]) -> list[str]:
    """The losses that can be compared on that organ; on the mean of the organs: those that can on each."""
    if organ is not None:
        return comparable[organ]
    first, *others = comparable.values()
    return [loss for loss in first if all(loss in other for other in others)]


def _patient_means(scores: pl.DataFrame, losses: list[str], organ: str | None) -> pl.DataFrame:
    """patient_id and a column per loss: means over the cases and seeds in which each of them has a value.

    `organ` None: the mean over the organs of those means.
    """
    own = scores if organ is None else scores.filter(pl.col("organ") == organ)
    keys = own.select(MEASURED).unique(maintain_order=True)
    for loss in losses:
        of_loss = own.filter(pl.col("loss") == loss).select(*MEASURED, pl.col("value").alias(loss))
        keys = keys.join(of_loss, on=MEASURED, how="left", maintain_order="left")
    organs = keys.drop_nulls(losses).group_by("patient_id", "organ", maintain_order=True).agg(pl.col(losses).mean())
    return organs.group_by("patient_id", maintain_order=True).agg(pl.col(losses).mean()).sort("patient_id")


def _mean(values: Floats) -> float | None:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else None


def _number(value: np.floating) -> float | None:
    return None if np.isnan(value) else float(value)

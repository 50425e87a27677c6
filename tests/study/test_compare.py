"""From the scores of a study's runs to its comparisons, on studies written by hand."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from steelyard.errors import BadData
from steelyard.scores import Score, to_frame
from steelyard.study.compare import COMPARISONS, RANKS, write_comparisons

ORGANS = ("liver", "spleen")
UNITS = {"iou": ("1", "counts"), "hd95_mm": ("mm", "chaos"), "volume_error_ml": ("ml", "counts")}
FOURTEEN = [f"p{number:02}" for number in range(1, 15)]

Values = dict[str, dict[str, float | None]]  # case id → organ → value; the patient is the part before the underscore


def run(loss: str, values: Values, *, metric: str = "iou", done: bool = True, **others: Any) -> dict[str, Any]:
    """One planned run; `others`: fold, seed, network, task, organ."""
    usual = {"loss": loss, "network": "net", "fold": 0, "seed": 1, "task": "multiclass", "organ": None} | others
    name = "-".join(str(value) for value in usual.values())
    return usual | {"run": name, "values": values, "metric": metric, "done": done}


def write_study(folder: Path, runs: list[dict[str, Any]], *, compare: dict[str, Any] | None = None) -> Path:
    keys = ("run", "network", "loss", "fold", "seed", "task", "organ")
    losses = list(dict.fromkeys(r["loss"] for r in runs))
    spec: dict[str, Any] = {"grid": {"loss": [{"name": loss} for loss in losses], "network": [{"name": "net"}]}}
    if compare is not None:
        spec["compare"] = compare
    plan = {
        "schema": 1,
        "name": "small",
        "spec": spec,
        "label_set": {"organs": [{"name": organ} for organ in ORGANS]},
        "runs": [{key: r[key] for key in keys} for r in runs],
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.json").write_text(json.dumps(plan))
    for r in runs:
        own = folder / r["run"]
        own.mkdir()
        unit, convention = UNITS[r["metric"]]
        scores = [
            Score(r["metric"], v, unit, convention, "undefined" if v is None else "ok", organ, case, case.split("_")[0])
            for case, organs in r["values"].items()
            for organ, v in organs.items()
        ]
        pooled = Score(r["metric"], 0.123, unit, convention, "ok", "liver")
        to_frame([*scores, pooled]).write_parquet(own / "scores.parquet")
        if r["done"]:
            (own / "DONE").write_text("")
    return folder


def compared(folder: Path, runs: list[dict[str, Any]], **options: Any) -> pl.DataFrame:
    write_comparisons(write_study(folder, runs, **options))
    return pl.read_parquet(folder / "comparisons.parquet")


def row(table: pl.DataFrame, loss: str, organ: str | None) -> dict[str, Any]:
    same_organ = pl.col("organ").is_null() if organ is None else pl.col("organ") == organ
    return table.filter(pl.col("loss") == loss, same_organ).row(0, named=True)


def of_fourteen(liver: float, spleen: float, growth: float = 0.001) -> Values:
    """14 patients; `growth` times the patient's number keeps the differences apart."""
    return {
        f"{patient}_t1": {"liver": liver + growth * i, "spleen": spleen + growth * i**2}
        for i, patient in enumerate(FOURTEEN)
    }


def test_seeds_and_cases_of_a_patient_are_averaged_before_anything_else(tmp_path):
    first = {"p1_t1": {"liver": 0.5, "spleen": 0.2}, "p1_t2": {"liver": 0.7, "spleen": 0.2}, "p2_t1": {"liver": 0.1}}
    second = {"p1_t1": {"liver": 0.6, "spleen": 0.9}, "p1_t2": {"liver": 0.9, "spleen": 0.4}, "p2_t1": {"liver": 0.2}}
    third = {"p1_t1": {"liver": 0.7, "spleen": 0.4}, "p1_t2": {"liver": 1.0, "spleen": 0.1}, "p2_t1": {"liver": 0.6}}
    runs = [run("a", first), run("a", first, seed=2), run("b", second), run("b", third, seed=2)]
    liver = row(compared(tmp_path, runs), "b", "liver")
    # patient 1: (.6 + .9 + .7 + 1) / 4 − .6 = .2; patient 2: .4 − .1 = .3
    assert liver["patients"] == 2
    assert liver["mean_baseline"] == pytest.approx(0.35)
    assert liver["mean_loss"] == pytest.approx(0.6)
    assert liver["mean_difference"] == pytest.approx(0.25)
    assert liver["sd"] == pytest.approx(0.1 / 2**0.5)
    assert liver["p"] == pytest.approx(0.5)
    assert liver["verdict"] == "too few"


def test_the_mean_of_the_organs_is_described_and_not_in_the_family(tmp_path):
    runs = [run("a", of_fourteen(0.5, 0.3)), run("b", of_fourteen(0.6, 0.6, 0.002))]
    table = compared(tmp_path, runs)
    every = row(table, "b", None)
    assert every["mean_difference"] == pytest.approx(
        (row(table, "b", "liver")["mean_difference"] + row(table, "b", "spleen")["mean_difference"]) / 2
    )
    assert (every["in_family"], every["p_holm"], every["verdict"]) == (False, None, None)
    assert every["p"] == pytest.approx(2 / 2**14)


def test_a_gain_of_every_patient_is_better_and_its_reverse_is_worse(tmp_path):
    runs = [run("a", of_fourteen(0.5, 0.3)), run("b", of_fourteen(0.6, 0.1, 0.003)), run("c", of_fourteen(0.5, 0.3))]
    table = compared(tmp_path, runs)
    liver, spleen = row(table, "b", "liver"), row(table, "b", "spleen")
    assert (liver["verdict"], spleen["verdict"]) == ("better", "undecided")
    assert liver["family_size"] == 4
    assert liver["p"] == pytest.approx(2 / 2**14)
    assert liver["p_mean"] == pytest.approx(2 / 10_000)
    assert liver["p_holm"] == pytest.approx(4 * 2 / 10_000)  # the larger of the two
    assert 0 < liver["low"] < liver["mean_difference"] < liver["high"]
    assert row(table, "c", "liver")["p_holm"] == 1
    turned = compared(tmp_path / "turned", runs, compare={"baseline": "b"})
    assert row(turned, "a", "liver")["verdict"] == "worse"
    assert row(turned, "a", "liver")["mean_difference"] == pytest.approx(-liver["mean_difference"])


@pytest.mark.parametrize("metric", ["hd95_mm", "volume_error_ml"])
def test_fewer_millimetres_and_smaller_errors_are_better(tmp_path, metric):
    """Signed errors are compared by size: −9 ml is worse than 4 ml."""
    sign = -1 if metric == "volume_error_ml" else 1
    before = {case: {"liver": sign * (9 + v["liver"])} for case, v in of_fourteen(0, 0, 0.2).items()}
    after = {case: {"liver": 4 + v["liver"]} for case, v in of_fourteen(0, 0, 0.1).items()}
    runs = [run("a", before, metric=metric), run("b", after, metric=metric)]
    found = row(compared(tmp_path, runs, compare={"metric": metric}), "b", "liver")
    assert found["mean_difference"] == pytest.approx(-5 - 0.65)
    assert found["high"] < 0
    assert found["verdict"] == "better"
    ranks = pl.read_parquet(tmp_path / "ranks.parquet").filter(pl.col("organ") == "liver")
    assert dict(zip(ranks["loss"], ranks["rank"], strict=True)) == {"a": 2, "b": 1}


def test_a_loss_without_all_folds_of_the_baseline_is_left_out_and_the_family_keeps_its_size(tmp_path):
    halves = [dict(itertools.islice(of_fourteen(0.5, 0.3).items(), start, start + 7)) for start in (0, 7)]
    runs = [
        run(loss, values, fold=fold, done=(loss, fold) != ("c", 1))
        for loss in "abc"
        for fold, values in enumerate(halves)
    ]
    table = compared(tmp_path, runs)
    assert set(table["loss"]) == {"b"}
    assert row(table, "b", "liver")["patients"] == 14
    assert row(table, "b", "liver")["family_size"] == 4
    assert set(pl.read_parquet(tmp_path / "ranks.parquet")["loss"]) == {"a", "b"}


def test_while_the_baseline_lacks_a_fold_losses_are_compared_on_its_others_and_the_page_is_told(tmp_path):
    halves = [dict(itertools.islice(of_fourteen(0.5, 0.3).items(), start, start + 7)) for start in (0, 7)]
    runs = [
        run(loss, values, fold=fold, done=(loss, fold) != ("a", 1))
        for loss in "ab"
        for fold, values in enumerate(halves)
    ]
    liver = row(compared(tmp_path, runs), "b", "liver")
    assert liver["patients"] == 7
    power = json.loads((tmp_path / "power.json").read_text())
    assert power["reason"].startswith("The baseline a has finished 1 of its 2 runs on net, multiclass")
    assert power["reason"] in power["sentence"]


def test_the_family_is_what_was_declared(tmp_path):
    runs = [run(loss, of_fourteen(start, 0.3, growth)) for loss, start, growth in
            (("a", 0.5, 0.001), ("b", 0.6, 0.002), ("c", 0.7, 0.003))]  # fmt: skip
    table = compared(tmp_path, runs, compare={"baseline": "b", "losses": ["c"], "organs": ["liver"]})
    assert row(table, "c", "liver")["family_size"] == 1
    declared = table.filter("in_family").select("loss", "organ", "baseline").rows()
    assert declared == [("c", "liver", "b")]
    assert table.filter(~pl.col("in_family"))["p_holm"].null_count() == 5


def test_a_case_undefined_on_one_side_is_no_pair_and_its_patient_is_counted(tmp_path):
    before, after = of_fourteen(0.5, 0.3), of_fourteen(0.6, 0.3)
    after["p03_t1"]["liver"] = None
    before["p05_t1"]["liver"] = None
    before["p07_t2"] = {"liver": 0.9}  # p07 keeps its other case
    after["p07_t2"] = {"liver": None}
    liver = row(compared(tmp_path, [run("a", before), run("b", after)]), "b", "liver")
    assert (liver["patients"], liver["undefined"]) == (12, 2)
    assert liver["mean_difference"] == pytest.approx(0.1)
    kept = [0.5 + 0.001 * i for i in range(14) if i not in (2, 4)]
    assert liver["mean_baseline"] == pytest.approx(sum(kept) / 12)


def test_an_organ_of_its_own_network_is_compared_as_soon_as_it_is_finished(tmp_path):
    runs = [
        run(
            loss,
            {case: {organ: value[organ]} for case, value in of_fourteen(*start).items()},
            task="uniclass",
            organ=organ,
            done=(loss, organ) != ("b", "spleen"),
        )
        for loss, start in (("a", (0.5, 0.3)), ("b", (0.7, 0.4)))
        for organ in ORGANS
    ]
    table = compared(tmp_path / "half", runs)
    assert table.select("task", "loss", "organ").rows() == [("uniclass", "b", "liver")]
    assert row(table, "b", "liver")["family_size"] == 2
    table = compared(tmp_path / "whole", [r | {"done": True} for r in runs])
    assert table["organ"].to_list() == ["liver", "spleen", None]
    assert row(table, "b", None)["mean_difference"] == pytest.approx(0.15)


def test_networks_are_families_of_their_own(tmp_path):
    runs = [run(loss, of_fourteen(v, v), network=net) for net, loss, v in
            (("n1", "a", 0.5), ("n1", "b", 0.6), ("n2", "a", 0.7), ("n2", "b", 0.4))]  # fmt: skip
    table = compared(tmp_path, runs).filter(pl.col("organ") == "liver")
    assert table.select("network", "mean_baseline", "family_size").rows() == [
        ("n1", pytest.approx(0.5065), 2),
        ("n2", pytest.approx(0.7065), 2),
    ]
    power = json.loads((tmp_path / "power.json").read_text())
    assert power["sentence"].count("within this family of 2") == 2


def test_the_order_of_the_runs_changes_nothing(tmp_path):
    runs = [
        run(loss, of_fourteen(v, 0.3, g)) for loss, v, g in (("a", 0.5, 0.01), ("b", 0.52, 0.004), ("c", 0.6, 0.02))
    ]
    forward = compared(tmp_path / "forward", runs)
    assert len(forward) == 6
    write_study(tmp_path / "back", runs)
    plan = json.loads((tmp_path / "back" / "study.json").read_text())
    plan["runs"] = plan["runs"][::-1]
    (tmp_path / "back" / "study.json").write_text(json.dumps(plan))
    write_comparisons(tmp_path / "back")
    for name in ("comparisons.parquet", "ranks.parquet"):
        assert_frame_equal(
            pl.read_parquet(tmp_path / "forward" / name), pl.read_parquet(tmp_path / "back" / name), check_exact=True
        )
    assert (tmp_path / "forward" / "power.json").read_text() == (tmp_path / "back" / "power.json").read_text()


def test_the_power_is_told_in_one_sentence(tmp_path):
    """Liver differences .1 + .001 i: SD .1 · √17.5 = .418 points; spleen differences are equal: SD 0."""
    compared(tmp_path, [run("a", of_fourteen(0.5, 0.3)), run("b", of_fourteen(0.6, 0.3, 0.002))])
    group = json.loads((tmp_path / "power.json").read_text())["groups"][0]
    squares = [i**2 - sum(j**2 for j in range(14)) / 14 for i in range(14)]
    spleen = 0.1 * (sum(s**2 for s in squares) / 13) ** 0.5
    assert group["median_sd"] == pytest.approx((0.1 * 17.5**0.5 + spleen) / 2)
    assert 0 < group["in_family"] <= group["alone"] <= 1
    assert group["sentence"].startswith("With 14 patients and the median SD of the paired differences seen here, 3.0 ")
    assert "a true difference of 5 points would be found with probability" in group["sentence"]


def test_one_patient_is_too_few_and_no_reason_to_fail(tmp_path):
    one = {"p1_t1": {"liver": 0.5, "spleen": None}}
    table = compared(tmp_path, [run("a", one), run("b", {"p1_t1": {"liver": 0.7, "spleen": 0.1}})])
    liver, spleen = row(table, "b", "liver"), row(table, "b", "spleen")
    assert (liver["patients"], liver["verdict"], spleen["verdict"]) == (1, "too few", "too few")
    assert [liver[key] for key in ("low", "high", "sd", "minimum_detectable")] == [None] * 4
    assert (spleen["patients"], spleen["undefined"], spleen["mean_difference"]) == (0, 1, None)
    assert pl.read_parquet(tmp_path / "ranks.parquet").is_empty()
    assert "too few patients" in json.loads((tmp_path / "power.json").read_text())["sentence"]


@pytest.mark.parametrize("losses", [["a", "b"], ["a"]])
def test_nothing_to_compare_gives_empty_tables_with_all_columns(tmp_path, losses):
    table = compared(tmp_path, [run(loss, of_fourteen(0.5, 0.3), done=len(losses) == 1) for loss in losses])
    assert table.is_empty()
    assert table.schema == COMPARISONS
    assert pl.read_parquet(tmp_path / "ranks.parquet").schema == RANKS
    assert json.loads((tmp_path / "power.json").read_text())["groups"] == []


def test_damaged_files_are_named(tmp_path):
    with pytest.raises(BadData, match=r"study\.json"):
        write_comparisons(tmp_path)
    broken = run("a", of_fourteen(0.5, 0.3))
    write_study(tmp_path / "study", [broken])
    (tmp_path / "study" / broken["run"] / "scores.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(BadData, match=r"scores\.parquet.*Run the study again"):
        write_comparisons(tmp_path / "study")

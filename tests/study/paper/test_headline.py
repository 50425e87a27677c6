"""The headline by hand: gains over base crossE in points, per organ and summed."""

from __future__ import annotations

import polars as pl
import pytest
from paper_scores import extremes, ours, run

from steelyard.study.paper.headline import headline
from steelyard.study.paper.printed import printed_tables

TABLE = printed_tables()["table3"]
TWO = ("liver", "spleen")


def one(gains: pl.DataFrame, **key: str | None) -> dict[str, object]:
    found = gains.filter(*(pl.col(name).eq_missing(pl.lit(value)) for name, value in key.items()))
    assert len(found) == 1
    return found.row(0, named=True)


@pytest.fixture
def gains() -> pl.DataFrame:
    runs = [
        run("crossE", {"liver": 0.50, "spleen": 0.40}, {"p1_a": {"liver": 0.5, "spleen": 0.3}}),
        run("iou0515", {"liver": 0.61, "spleen": 0.43}, {"p1_a": {"liver": 0.6, "spleen": 0.5}}),
        run("dice", {"liver": 0.52, "spleen": 0.45}, {"p2_a": {"liver": 0.9, "spleen": 0.9}}),
        run("cross_entropy", {"liver": 0.60, "spleen": 0.44}, {"p1_a": {"liver": 0.6, "spleen": 0.6}}),
    ]
    return headline(TABLE, ours(*runs, organs=TWO), extremes)


def test_each_organ_takes_its_best_loss_and_the_gains_are_summed(gains):
    liver = one(gains, side="ours", base="crossE", kind="organ", organ="liver")
    spleen = one(gains, side="ours", base="crossE", kind="organ", organ="spleen")
    assert (liver["loss"], liver["points"]) == ("iou0515", pytest.approx(11))
    assert (spleen["loss"], spleen["points"]) == ("dice", pytest.approx(5))
    points = {kind: one(gains, side="ours", base="crossE", kind=kind)["points"] for kind in ("least", "most", "sum")}
    assert points == {"least": pytest.approx(5), "most": pytest.approx(11), "sum": pytest.approx(16)}


def test_over_the_unweighted_baseline_little_is_left(gains):
    assert one(gains, side="ours", base="cross_entropy", kind="sum")["points"] == pytest.approx(2)  # 1 + 1


def test_one_loss_in_all_organs_gains_less_than_the_best_of_each(gains):
    assert one(gains, side="ours", base="crossE", kind="loss", loss="iou0515")["points"] == pytest.approx(14)  # 11 + 3
    assert one(gains, side="ours", base="crossE", kind="loss", loss="dice")["points"] == pytest.approx(7)  # 2 + 5


def test_the_baselines_themselves_are_no_rivals(gains):
    assert set(gains.filter(pl.col("kind") == "loss", pl.col("side") == "ours")["loss"]) == {"iou0515", "dice"}


def test_a_patients_sum_pairs_the_same_patient():
    values = {"p1_a": (0.2, 0.3, 0.6, 0.5), "p2_a": (0.5, 0.5, 0.6, 0.8)}  # base liver, spleen; loss liver, spleen
    base = run("crossE", {"liver": 0.4, "spleen": 0.4}, {c: {"liver": v[0], "spleen": v[1]} for c, v in values.items()})
    loss = run("dice", {"liver": 0.6, "spleen": 0.6}, {c: {"liver": v[2], "spleen": v[3]} for c, v in values.items()})
    row = one(headline(TABLE, ours(base, loss, organs=TWO), extremes), side="ours", base="crossE", kind="loss")
    assert (row["low"], row["high"], row["patients"]) == (pytest.approx(40), pytest.approx(60), 2)


def test_the_printed_organ_means_give_each_losss_sum_back():
    gains = headline(TABLE, None, extremes)
    sums = dict(gains.filter(pl.col("kind") == "loss").select("loss", "points").iter_rows())
    assert sums == pytest.approx({"iou0515": 22, "iou11": -2, "iou1505": -32, "dice": -2, "diceBK": 0})
    assert one(gains, side="printed", kind="organ", organ="liver")["points"] is None  # its cells are not at hand
    assert one(gains, side="printed", kind="sum")["points"] is None


def test_without_the_base_nothing_is_gained():
    gains = headline(TABLE, ours(run("dice", {"liver": 0.9, "spleen": 0.8}), organs=TWO), extremes)
    assert gains.filter(pl.col("side") == "ours")["points"].null_count() == len(gains.filter(pl.col("side") == "ours"))


def test_a_loss_finished_on_fewer_folds_cannot_be_the_best():
    both = [
        run(loss, {"liver": v, "spleen": v}, fold=f) for loss, v in (("crossE", 0.4), ("dice", 0.5)) for f in (0, 1)
    ]
    lucky = run("iou11", {"liver": 0.95, "spleen": 0.95}, fold=0)
    gains = headline(TABLE, ours(*both, lucky, organs=TWO), extremes)
    assert one(gains, side="ours", base="crossE", kind="organ", organ="liver")["loss"] == "dice"

"""The headline by hand: gains over base crossE in points, per organ and summed."""

from __future__ import annotations

import polars as pl
import pytest

from paper_scores import extremes, ours, run
from steelyard.study.paper.headline import headline
from steelyard.study.paper.printed import printed_tables

TABLE = printed_tables()["table3"]
TWO = ("liver", "spleen")
RIVALS = ("iou11", "iou1505", "iou0515", "dice", "diceBK")


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
        *(run(loss, {"liver": 0.1, "spleen": 0.2}) for loss in ("iou11", "iou1505", "diceBK")),
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
    assert set(gains.filter(pl.col("kind") == "loss", pl.col("side") == "ours")["loss"]) == set(RIVALS)


def test_a_patients_sum_pairs_the_same_patient():
    values = {"p1_a": (0.2, 0.3, 0.6, 0.5), "p2_a": (0.5, 0.5, 0.6, 0.8)}  # base liver, spleen; loss liver, spleen
    base = run("crossE", {"liver": 0.4, "spleen": 0.4}, {c: {"liver": v[0], "spleen": v[1]} for c, v in values.items()})
    loss = run("dice", {"liver": 0.6, "spleen": 0.6}, {c: {"liver": v[2], "spleen": v[3]} for c, v in values.items()})
    gains = headline(TABLE, ours(base, loss, organs=TWO), extremes)
    row = one(gains, side="ours", base="crossE", kind="loss", loss="dice")
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


def every(values: dict[str, float], *, folds: dict[str, int] | None = None) -> list[pl.DataFrame]:
    """Runs of each loss, with one value in both organs, on two folds or as many as `folds` says."""
    return [
        run(loss, {"liver": value, "spleen": value}, fold=fold)
        for loss, value in values.items()
        for fold in range((folds or {}).get(loss, 2))
    ]


def test_the_best_of_fewer_losses_than_the_papers_is_not_given():
    values = {"crossE": 0.4, **dict.fromkeys(RIVALS, 0.3), "dice": 0.5, "iou11": 0.95}
    summed = {"kind": "sum", "side": "ours", "base": "crossE"}
    whole = headline(TABLE, ours(*every(values), organs=TWO), extremes)
    assert one(whole, **summed)["points"] == pytest.approx(110)  # iou11: .55 twice
    part = headline(TABLE, ours(*every(values, folds={"iou11": 1, "diceBK": 0}), organs=TWO), extremes)
    for key in ({"kind": "organ", "organ": "liver"}, {"kind": "least"}, {"kind": "most"}, {"kind": "sum"}):
        row = one(part, side="ours", base="crossE", **key)
        assert (row["points"], row["loss"], row["word"]) == (None, None, "3 of 5 losses finished")


def test_a_loss_is_compared_alone_though_others_are_unfinished():
    values = {"crossE": 0.4, "dice": 0.5, "iou11": 0.95}
    gains = headline(TABLE, ours(*every(values, folds={"iou11": 1}), organs=TWO), extremes)
    rows = {loss: one(gains, side="ours", base="crossE", kind="loss", loss=loss) for loss in RIVALS}
    assert (rows["dice"]["points"], rows["dice"]["word"]) == (pytest.approx(20), "")
    assert {loss: row["word"] for loss, row in rows.items() if loss != "dice"} == {
        "iou11": "fewer runs finished", "iou1505": "not run", "iou0515": "not run", "diceBK": "not run"
    }  # fmt: skip


def test_an_unfinished_base_is_the_reason_why_nothing_is_gained():
    values = {"crossE": 0.4, **dict.fromkeys(RIVALS, 0.3)}
    gains = headline(TABLE, ours(*every(values, folds={"crossE": 1}), organs=TWO), extremes)
    mine = gains.filter(pl.col("side") == "ours")
    assert set(mine.filter(pl.col("base") == "crossE")["word"]) == {"fewer runs finished"}
    assert set(mine.filter(pl.col("base") == "cross_entropy")["word"]) == {"not run"}
    assert set(gains.filter(pl.col("side") == "printed", pl.col("points").is_null())["word"]) == {"not at hand"}

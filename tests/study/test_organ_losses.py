"""A loss per organ and a head per organ in a study: from TOML to scores, under names that tell them apart."""

from __future__ import annotations

import io
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console
from safetensors.torch import load_file

from steelyard.errors import BadSpec
from steelyard.runstore import RunFolder
from steelyard.study.objects import loss_of, network_of
from steelyard.study.plan import Plan, make_plan
from steelyard.study.run import run_study
from steelyard.study.spec import Part, StudySpec, read_spec
from studies import tiny_study, write_patients, write_toml

FN_DEAR = {"name": "tversky", "fn_weight": 1.5, "fp_weight": 0.5}
ORGANS = [FN_DEAR, "crossE", {"name": "tversky", "absent": "skip"}, "iou11"]
HEADS = {"name": "per_organ", "against": "background", "organs": ORGANS, "weights": [1, 2, 0, 1]}
UNSEEN = 2  # the organ of weight 0


@pytest.fixture(scope="module")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_patients(tmp_path_factory.mktemp("patients"))


def read(patients: Path, out: Path, *, loss: list[Any], network: str = "unet_resnet18_heads", **grid: Any) -> StudySpec:
    """The study, by way of a file."""
    study = tiny_study(patients, out, grid={"network": [network], "loss": loss, **grid})
    study["train"] |= {"epochs": 2, "l2": 0.0}
    return read_spec(write_toml(out / "study.toml", study))


def trained(plan: Plan) -> RunFolder:
    run_study(plan, console=Console(file=io.StringIO()))
    return plan.run_folder(plan.runs[0])


def test_heads_are_trained_each_with_its_own_loss_from_a_study_file(patients: Path, tmp_path: Path) -> None:
    plan = make_plan(read(patients, tmp_path, loss=[HEADS]))
    run = trained(plan)
    assert run.is_done
    losses = pl.read_parquet(run.history).filter(quantity="training_loss")["value"].to_list()
    assert len(losses) == 2
    assert losses[1] < losses[0]
    organs = set(pl.read_parquet(run.scores).filter(pl.col("metric") == "iou")["organ"].drop_nulls())
    assert organs == {"liver", "right_kidney", "left_kidney", "spleen", "background"}

    before = network_of(plan.runs[0].network, channels=1, classes=5, size=32, seed=1).state_dict()
    after = load_file(run.weights)
    moved = {key for key in before if key.endswith("logits.weight") and not before[key].equal(after[key])}
    assert moved == {f"heads.{organ}.logits.weight" for organ in range(4) if organ != UNSEEN}


def test_names_and_tables_tell_organs_losses_shortly_and_apart(patients: Path, tmp_path: Path) -> None:
    rest = {"name": "per_organ", "organs": ["dice", "dice", FN_DEAR, "dice"]}
    plan = make_plan(read(patients, tmp_path, loss=[HEADS, rest, rest | {"weights": [1, 1, 1, 2]}]))
    assert [run.loss.title for run in plan.runs] == [
        "per_organ(against=background, tversky 0.5/1.5, crossE, tversky(absent=skip), iou11, weights=[1, 2, 0, 1])",
        "per_organ(dice, dice, tversky 0.5/1.5, dice)",
        "per_organ(dice, dice, tversky 0.5/1.5, dice, weights=[1, 1, 1, 2])",
    ]
    names = [run.name for run in plan.runs]
    assert len(set(names)) == 3
    assert names[1].startswith("unet-resnet18-heads-per-organ-dice-dice-tversky-0.5-1.5-dice-f0-s1-")
    other = make_plan(read(patients, tmp_path, loss=[rest | {"organs": ["dice", FN_DEAR, "dice", "dice"]}]))
    assert other.runs[0].name not in names
    assert json.loads(json.dumps(plan.runs[0].loss.model_dump())) == HEADS


@pytest.mark.parametrize(
    ("part", "title"),
    [
        (Part(name="per_organ", organs="iou11"), "per_organ(organs=iou11)"),
        (Part(name="per_organ", organs=FN_DEAR), "per_organ(organs=tversky 0.5/1.5)"),
        (Part(name="per_organ", organs=[{"name": "dice"}, 3, {"x": 1}]), "per_organ(dice, 3, {'x': 1})"),
        (
            Part(name="per_organ", organs=[FN_DEAR | {"absent": "skip"}]),
            "per_organ(tversky(fn_weight=1.5, fp_weight=0.5, absent=skip))",
        ),
        (
            Part(name="per_organ", organs=[{"name": "tversky", "fp_weight": [1, 2], "fn_weight": 1}]),
            "per_organ(tversky(fp_weight=[1, 2], fn_weight=1))",
        ),
    ],
)
def test_titles_shorten_prices_and_nothing_else(part: Part, title: str) -> None:
    assert part.title == title


def test_the_training_slices_frequencies_reach_an_organs_cross_entropy() -> None:
    loss = loss_of(Part(name="per_organ", organs=["dice", "crossE"]), [0.7, 0.2, 0.1])
    assert loss.losses[1].class_weights == pytest.approx([1 / 0.9, 1 / 0.1])


def test_the_example_in_the_documentation_can_be_planned(patients: Path, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "per-organ.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```toml\n(.*?)```", page, flags=re.DOTALL)
    (loss,) = tomllib.loads(example)["grid"]["loss"]
    assert len(make_plan(read(patients, tmp_path, loss=[loss])).runs) == 1


@pytest.mark.usefixtures("unchecked_types")
def test_what_does_not_fit_is_told_before_anything_runs(patients: Path, tmp_path: Path) -> None:
    wrong = [
        {"name": "per_organ", "organs": ["dice", "dice", "dice"]},
        {"name": "per_organ", "organs": ["dice", "dice", "tverski", "dice"]},
        {"name": "per_organ", "organs": ["dice", "dice", "dice", {"name": "tversky", "fn": 1}]},
        {"name": "per_organ", "organ": ["dice"]},
        {"name": "per_organ", "organs": 3},
        {"name": "per_organ", "against": "all"},
    ]
    with pytest.raises(BadSpec) as caught:
        make_plan(read(patients, tmp_path, loss=wrong, network="tiny_network:TinyNetwork"))
    lines = caught.value.errors
    assert len(lines) == len(wrong)
    for line, said in zip(
        lines,
        (
            "3 entries for 4 organs",
            "organ 3: no loss is named 'tverski'",
            "argument 'fn'",
            "argument 'organ'",
            "organs must",
            "against must be one of",
        ),
        strict=True,
    ):
        assert said in line
        assert "per_organ" in line
        assert "\n" not in line


def test_one_entry_for_all_organs_serves_tasks_of_many_and_of_one(patients: Path, tmp_path: Path) -> None:
    both = make_plan(
        read(patients, tmp_path, loss=[{"name": "per_organ", "organs": "crossE"}], task=["multiclass", "uniclass"])
    )
    assert len(both.runs) == 1 + 4

"""A study file is checked whole: all errors at once, each with what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from steelyard.errors import BadSpec
from steelyard.study.spec import Part, parse_spec, read_spec
from studies import tiny_study, write_toml


def errors_of(study: dict) -> tuple[str, ...]:
    with pytest.raises(BadSpec) as caught:
        parse_spec(study, source="s.toml")
    return caught.value.errors


def test_defaults_are_the_studys() -> None:
    train = parse_spec(tiny_study(Path("d"), Path("o")) | {"train": {}}, source="s").train
    assert (train.optimiser, train.momentum, train.learning_rate) == ("sgdm", 0.9, 0.005)
    assert (train.drop_factor, train.drop_every, train.batch_size, train.epochs) == (0.9, 20, 32, 500)
    assert (train.l2, train.augment) == (1e-4, "study")
    spec = parse_spec({k: v for k, v in tiny_study(Path("d"), Path("o")).items() if k != "preprocess"}, source="s")
    assert spec.preprocess.size == 256


def test_an_unknown_key_is_answered_with_the_nearest_known_one() -> None:
    (line,) = errors_of(tiny_study(Path("d"), Path("o"), train={"epoch": 3}))
    assert line.startswith("s.toml: [train] has no key 'epoch'. Did you mean 'epochs'? Known: augment, ")


def test_an_unknown_table_is_answered_with_the_known_ones() -> None:
    (line,) = errors_of(tiny_study(Path("d"), Path("o"), trian={"epochs": 3}))
    assert "a study has no table 'trian'. Did you mean 'train'?" in line


def test_all_errors_come_at_once() -> None:
    lines = errors_of(
        tiny_study(
            Path("d"),
            Path("o"),
            train={"epochs": 0, "optimizer": "sgdm"},
            grid={"network": ["unet"], "loss": ["tverski", "iou11"]},
            data={"dataset": "kaos"},
            folds={"count": 3, "use": [3]},
        )
    )
    text = "\n".join(lines)
    assert len(lines) == 6
    assert "[train] epochs: wanted greater than or equal to 1; came 0." in text
    assert "[train] has no key 'optimizer'. Did you mean 'optimiser'?" in text
    assert "no network is named 'unet'. Did you mean 'unet_" in text
    assert "no loss is named 'tverski'. Did you mean 'tversky'?" in text
    assert "no dataset is named 'kaos'. Did you mean 'chaos'?" in text
    assert "use must list different folds from 0 to 2; came [3]" in text


def test_a_missing_table_is_named() -> None:
    study = tiny_study(Path("d"), Path("o"))
    del study["grid"]
    assert errors_of(study) == ("s.toml: [grid] is missing. Add it.",)


def test_a_part_may_carry_options_and_shows_them() -> None:
    loss = {"name": "tversky", "fp_weight": 0.3, "fn_weight": 1.7}
    spec = parse_spec(tiny_study(Path("d"), Path("o"), grid={"loss": ["iou11", loss]}), source="s")
    assert [part.title for part in spec.grid.loss] == ["iou11", "tversky(fp_weight=0.3, fn_weight=1.7)"]
    assert spec.grid.loss[0] == Part(name="iou11")
    assert spec.grid.loss[1].options == {"fp_weight": 0.3, "fn_weight": 1.7}


def test_the_root_may_use_environment_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_DATA", "/elsewhere")
    spec = parse_spec(tiny_study(Path("$SOME_DATA/MR"), Path("o")), source="s")
    assert spec.root == Path("/elsewhere/MR")
    monkeypatch.delenv("SOME_DATA")
    assert errors_of(tiny_study(Path("$SOME_DATA/MR"), Path("o"))) == (
        "s.toml: [data] root uses $SOME_DATA, which is not set. Set it to the folder of the data.",
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [("[study\n", "is not valid TOML"), (b"\xff\xfe\x00", "cannot be read as a study file")],
)
def test_a_file_that_is_not_toml_ends_in_one_line(tmp_path: Path, content: str | bytes, said: str) -> None:
    file = tmp_path / "s.toml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(BadSpec, match=said) as caught:
        read_spec(file)
    assert len(caught.value.errors) == 1
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadSpec, match="no study file is at"):
        read_spec(tmp_path / "absent.toml")


def test_a_written_study_reads_back(tmp_path: Path) -> None:
    study = tiny_study(Path("d"), tmp_path)
    assert read_spec(write_toml(tmp_path / "s.toml", study)) == parse_spec(study, source="s")


def test_every_shipped_study_is_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEELYARD_DATA", "/somewhere")
    files = sorted((Path(__file__).parents[2] / "studies").glob("*.toml"))
    assert {"chaos-quick.toml", "chaos-t1.toml"} <= {file.name for file in files}
    for file in files:
        assert read_spec(file).study.name == file.stem


@pytest.mark.parametrize("sequences", [["t1_in", "t1_in"], ["t1_in+t1_out", "t1_out+t1_in"]])
def test_a_sequence_listed_twice_is_refused(sequences: list[str]) -> None:
    (line,) = errors_of(tiny_study(Path("d"), Path("o"), data={"sequences": sequences}))
    assert "sequences must differ, or cases count twice" in line


@pytest.mark.parametrize(
    ("table", "key", "value"),
    [
        ("train", "epochs", "7"),
        ("train", "batch_size", True),
        ("train", "learning_rate", True),
        ("train", "learning_rate", float("inf")),
        ("train", "l2", float("nan")),
        ("preprocess", "size", 64.0),
        ("grid", "seed", ["1"]),
    ],
)
def test_a_value_of_another_type_is_never_bent_into_place(table: str, key: str, value: object) -> None:
    (line,) = errors_of(tiny_study(Path("d"), Path("o"), **{table: {key: value}}))
    assert line.startswith(f"s.toml: [{table}] {key}")


def test_a_whole_number_may_stand_for_a_real_one() -> None:
    assert parse_spec(tiny_study(Path("d"), Path("o"), train={"learning_rate": 1}), source="s").train.learning_rate == 1


def test_files_of_weights_appear_by_name_in_titles() -> None:
    part = Part(name="unet_resnet18", weights="/home/someone/resnet.pth")
    assert part.title == "unet_resnet18(weights=resnet.pth)"

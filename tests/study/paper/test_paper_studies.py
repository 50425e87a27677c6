"""The paper's study files: complete, alike where they must be, and different in one thing where that is the point."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from steelyard.errors import BadSpec
from steelyard.study.paper.printed import LOSSES, printed_tables
from steelyard.study.paper.studies import STUDIES, paper_studies
from steelyard.study.spec import StudySpec, read_spec

ROOT = Path(__file__).parents[3] / "studies"
SIZES = ("paper", "paper-laptop")


@pytest.fixture(autouse=True)
def data_folder(monkeypatch):
    monkeypatch.setenv("STEELYARD_DATA", "/nowhere")


def spec(size: str, name: str) -> StudySpec:
    return read_spec(ROOT / size / f"{name}.toml")


@pytest.mark.parametrize("size", SIZES)
def test_a_folder_holds_all_studies_and_they_run_table_1_first(size):
    assert [path.stem for path in paper_studies(ROOT / size)] == list(STUDIES)


@pytest.mark.parametrize("size", SIZES)
def test_the_studies_of_a_folder_share_data_and_training_so_that_equal_runs_are_one(size):
    first = spec(size, "table3")
    for name in STUDIES:
        other = spec(size, name)
        assert (other.data, other.preprocess, other.study.out) == (first.data, first.preprocess, first.study.out)
        if name != "sequence-split":
            assert other.folds == first.folds
        if name != "augmentation-off":
            assert other.train == first.train
    assert len({spec(size, name).study.name for name in STUDIES}) == len(STUDIES)
    assert spec(size, "table2").grid == first.grid


@pytest.mark.parametrize("size", SIZES)
def test_each_partner_differs_from_table_3_in_one_setting_and_its_losses(size):
    third = spec(size, "table3")
    augmented = {"train": third.train.model_copy(update={"augment": "none"})}
    divided = {"folds": third.folds.model_copy(update={"by": "sequence"})}
    assert (third.train.augment, third.folds.by) == ("study", "patient")
    for name, setting in (("augmentation-off", augmented), ("sequence-split", divided)):
        partner = spec(size, name)
        grid = third.grid.model_copy(update={"loss": partner.grid.loss})
        study = third.study.model_copy(update={"name": partner.study.name})
        assert partner == third.model_copy(update={"study": study, "grid": grid, **setting})
        assert {loss.title for loss in partner.grid.loss} < {loss.title for loss in third.grid.loss}
    assert len(third.data.sequences) > 1  # with one sequence a patient, both splits would be the same


@pytest.mark.parametrize("size", SIZES)
def test_the_grids_hold_what_the_tables_print(size):
    tables = printed_tables()
    assert [network.name for network in spec(size, "table1").grid.network] == list(tables["table1"].columns)
    assert set(LOSSES) < {loss.title for loss in spec(size, "table3").grid.loss}
    fourth = spec(size, "table4").grid
    assert [f"{task}/{loss.title}" for task in fourth.task for loss in fourth.loss] == list(tables["table4"].columns)
    assert [network.name for network in spec(size, "table3-fcn").grid.network] == ["fcn8s_vgg16"]


def test_the_papers_settings_are_the_papers():
    study = spec("paper", "table3")
    train = study.train
    assert (study.preprocess.size, train.epochs, train.batch_size) == (256, 500, 32)
    assert (train.optimiser, train.learning_rate, train.drop_factor, train.drop_every) == ("sgdm", 0.005, 0.9, 20)
    assert (study.folds.count, study.data.sequences) == (5, ["t1_in", "t1_out"])


@pytest.mark.parametrize("size", SIZES)
def test_every_study_opens_with_a_sentence(size):
    for path in paper_studies(ROOT / size):
        assert path.read_text().startswith("# ")
        assert path.read_text().split("\n\n")[0].endswith(".")


def test_a_study_left_out_is_skipped_and_one_of_another_name_refused(tmp_path):
    for name in ("table3", "sequence-split"):
        shutil.copy(ROOT / "paper" / f"{name}.toml", tmp_path)
    assert [path.stem for path in paper_studies(tmp_path)] == ["table3", "sequence-split"]
    (tmp_path / "table7.toml").write_text("")
    with pytest.raises(BadSpec, match=r"table7\.toml: the page of the paper has no place"):
        paper_studies(tmp_path)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(BadSpec, match="holds no study of the paper"):
        paper_studies(tmp_path)

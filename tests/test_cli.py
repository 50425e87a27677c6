"""The command line: quick to answer, one line per error, exit codes that a script may rely on."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from damages import DAMAGES
from mask_files import blocks, organ_files, save
from phantoms import write_chaos_patient
from steelyard.cli.contents import NARROWEST, VERBS
from steelyard.io.nifti import write_label_map, write_volume
from steelyard.labels import CHAOS_MR
from steelyard.volume import Geometry, LabelMap, Volume
from studies import tiny_study, write_patients, write_toml


@pytest.fixture
def steelyard(command_line):
    """Calls the command line in this process."""
    return command_line


def test_help_answers_before_a_third_of_a_second() -> None:
    """The quickest of several calls; on a machine so busy that none is, in less work than loading a parser takes."""
    steelyard, parser = 9.0, 9.0
    for _ in range(20):
        waited, worked = seconds(Path(sys.executable).with_name("steelyard"), "--help")
        if waited < 0.3:
            return
        steelyard = min(steelyard, worked)
        parser = min(parser, seconds(sys.executable, "-c", "import cyclopts, rich.console")[1])
    assert steelyard < parser


def seconds(*command: object) -> tuple[float, float]:
    """How long a command takes, and how long it computes."""
    started = time.perf_counter()
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return time.perf_counter() - started, used.ru_utime + used.ru_stime


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["ls", "losses"], ["ls", "networks"], ["run", "--help"]]
)
def test_help_and_lists_import_no_torch(arguments: list[str]) -> None:
    code = (
        f"import sys; sys.argv = {['steelyard', *arguments]!r}\nfrom steelyard.cli import main\n"
        "try: main()\nfinally: print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


@pytest.mark.parametrize(
    ("arguments", "loaded", "left"),
    [
        (["--help"], {"contents"}, {"cyclopts", "rich"}),
        (["ls", "losses"], {"app", "contents", "data", "fetch"}, {"numpy"}),
        (["export-loss", "--help"], {"app", "contents", "export_loss"}, {"numpy"}),
    ],
)
def test_a_command_loads_no_other_verb(arguments: list[str], loaded: set[str], left: set[str]) -> None:
    code = (
        f"import sys; sys.argv = {['steelyard', *arguments]!r}\nfrom steelyard.cli import main\n"
        "try: main()\nfinally: print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = done.stdout.splitlines()[-1].split()
    start = "steelyard.cli."
    assert {name.removeprefix(start) for name in modules if name.startswith(start)} == loaded
    assert not left & set(modules)


def test_the_list_of_verbs_fits_the_width_and_says_what_each_verb_says_of_itself(steelyard, monkeypatch) -> None:
    wide = steelyard("--help").out
    assert wide == steelyard().out == steelyard("-h").out
    for name, verb in VERBS.items():
        assert re.search(rf"^  {name} +{re.escape(verb.sentence)}$", wide, re.MULTILINE)
        said = steelyard(name, "--help")
        assert said.code == 0
        assert verb.sentence in " ".join(said.out.split())
    for columns, longest in ((60, 60), (9, NARROWEST)):
        monkeypatch.setenv("COLUMNS", str(columns))
        assert longest - 10 < max(map(len, steelyard("--help").out.splitlines())) <= longest


@pytest.mark.parametrize(
    ("kind", "some"),
    [
        ("losses", {"crossE", "cross_entropy", "iou11", "iou1505", "iou0515", "dice", "diceBK", "dice_ce", "tversky"}),
        ("networks", {"unet_vgg16", "unet_matlab", "fcn8s_vgg16", "deeplabv3_resnet18", "deeplabv3plus_resnet18"}),
        ("metrics", {"dice", "iou", "hd95_mm", "assd_mm", "mssd_mm", "ravd", "bf_score"}),
        ("datasets", {"chaos", "nnunet", "phantom"}),
    ],
)
def test_ls_lists_every_part_with_a_sentence(steelyard, kind: str, some: set[str]) -> None:
    said = steelyard("ls", kind)
    assert said.code == 0
    rows = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in said.out.splitlines())
    assert some <= set(rows)
    assert all(len(summary) > 10 for summary in rows.values())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["runn", "x.toml"], "runn"),
        (["run"], "study"),
        (["run", "absent.toml"], "no study file is at absent.toml"),
        (["ls", "lozzes"], "lozzes"),
        (["evaluate", "a.nii.gz", "b.nii.gz", "--convention", "mine"], "mine"),
        (["data", "phantom", "x", "--patients", "0"], "patients"),
        (["data", "phantom", "x", "--patients", "many"], "many"),
        (["check", "x.toml", "--frobnicate"], "frobnicate"),
    ],
)
def test_bad_usage_ends_in_one_line_and_exit_code_two(
    steelyard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = steelyard(*arguments)
    assert done.code == 2
    assert said in done.err
    assert len(done.err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_check_lists_the_runs_and_their_cost_and_writes_nothing(steelyard, tmp_path: Path) -> None:
    root = write_patients(tmp_path / "data")
    file = write_toml(tmp_path / "s.toml", tiny_study(root, tmp_path / "out"))
    said = steelyard("check", file)
    assert said.code == 0, said.err
    assert "cross_entropy" in said.out
    assert "iou0515" in said.out
    assert re.search(r"2 runs, about \d+ s to go, \d+\.\d GiB of memory, 0\.0\d GiB on disk", said.out)
    assert not (tmp_path / "out").exists()


def test_check_tells_all_errors_at_once(steelyard, tmp_path: Path) -> None:
    losses = ["iou", {"name": "tversky", "fn_weight": -1}, {"name": "tversky", "alpha": 1}]
    networks = ["unet", {"name": "unet_resnet18", "depth": 3}]
    grid = {"loss": losses, "network": networks}
    study = tiny_study(tmp_path, tmp_path, train={"epoch": 1}, data={"root": "$NOWHERE_AT_ALL"}, grid=grid)
    said = steelyard("check", write_toml(tmp_path / "s.toml", study))
    assert said.code == 2
    assert len(said.err.splitlines()) == 7
    for piece in ("'epochs'?", "$NOWHERE_AT_ALL", "named 'iou'", "named 'unet'", "fn_weight must", "alpha", "'depth'"):
        assert piece in said.err


def test_check_tells_errors_of_the_data_beside_those_of_the_parts(steelyard, tmp_path: Path) -> None:
    root = write_patients(tmp_path / "data")
    grid = {"loss": [{"name": "tversky", "fn_weight": -1}]}
    study = tiny_study(root, tmp_path / "out", folds={"count": 9}, grid=grid)
    said = steelyard("check", write_toml(tmp_path / "s.toml", study))
    assert said.code == 2
    assert len(said.err.splitlines()) == 2


def test_check_says_which_training_cannot_work(steelyard, tmp_path: Path) -> None:
    root = write_patients(tmp_path / "data")
    study = tiny_study(root, tmp_path / "out", train={"learning_rate": 1e30})
    said = steelyard("check", write_toml(tmp_path / "s.toml", study))
    assert said.code == 2
    assert re.search(r"cannot train on this machine: the loss became nan", said.err)
    assert len(said.err.splitlines()) == 1


def test_square_brackets_in_a_path_are_printed_as_they_are(steelyard, tmp_path: Path) -> None:
    root = write_patients(tmp_path / "data")
    out = tmp_path / "runs[a] [/b]"
    said = steelyard("run", write_toml(tmp_path / "s.toml", tiny_study(root, out, grid={"loss": ["dice"]})))
    assert said.code == 0, said.err
    assert said.out.splitlines()[-1] == f"report: {out / 'tiny' / 'report' / 'index.html'}"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
@pytest.mark.parametrize("closed", ["data", "data/Train_Sets", "data/Train_Sets/MR/13"])
def test_a_folder_that_may_not_be_entered_is_bad_data(closed: str) -> None:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to others as they are
        root = Path(folder)
        root.chmod(0o755)
        for number in (12, 13):
            write_chaos_patient(root / "data" / "Train_Sets" / "MR", number)
        (root / closed).chmod(0o000)
        code = (
            "import os, sys, steelyard.cli.data, steelyard.datasets.chaos, steelyard.report.data_check\n"
            "from steelyard.cli import main\n"
            f"os.setuid(65534); sys.argv = ['steelyard', 'data', 'check', {str(root / 'data')!r}]\n"
            "main()"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_data_check_describes_the_cases_as_table_and_json(steelyard, tmp_path: Path) -> None:
    root = write_patients(tmp_path / "data")
    said = steelyard("data", "check", root, "--json", tmp_path / "found.json")
    assert said.code == 0, said.err
    assert "12 cases read, 0 errors" in said.out
    found = json.loads((tmp_path / "found.json").read_text())
    organs = {organ["organ"]: organ for organ in found["cases"][0]["organs"]}
    assert organs["liver"]["voxels"] == 192
    assert organs["liver"]["volume_ml"] == pytest.approx(192 * 3 * 2 * 1 / 1000)
    assert (organs["spleen"]["slices_with"], organs["spleen"]["slices_without"]) == (2, 4)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.name)
def test_every_damage_ends_in_one_line_and_exit_code_three(steelyard, tmp_path: Path, damage) -> None:
    for number in (12, 13):
        write_chaos_patient(tmp_path / "data" / "Train_Sets" / "MR", number)
    damage.damage(tmp_path / "data" / "Train_Sets" / "MR" / "13")
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    said = steelyard("data", "check", tmp_path / "data")
    assert said.code == 3
    assert len(said.err.splitlines()) == 1
    assert "13" in said.err
    assert "Traceback" not in said.err + said.out
    assert sorted(str(path) for path in tmp_path.rglob("*")) == before


def test_a_study_on_damaged_data_ends_in_one_line_before_training(steelyard, tmp_path: Path) -> None:
    root = write_patients(tmp_path / "data")
    next(root.glob("Train_Sets/MR/2/T1DUAL/Ground/*.png")).unlink()
    said = steelyard("run", write_toml(tmp_path / "s.toml", tiny_study(root, tmp_path / "out")))
    assert said.code == 3
    assert len(said.err.splitlines()) == 1
    assert "patient 2" in said.err
    assert not list(tmp_path.rglob("run.json"))


def test_phantoms_are_written_and_pass_their_own_check(steelyard, tmp_path: Path) -> None:
    assert steelyard("data", "phantom", tmp_path / "p", "--patients", 1, "--seed", 3).code == 0
    said = steelyard("data", "check", tmp_path / "p")
    assert said.code == 0, said.err
    assert "3 cases read, 0 errors" in said.out
    refused = steelyard("data", "phantom", tmp_path / "p")
    assert refused.code in (2, 3)
    assert len(refused.err.splitlines()) == 1


def test_evaluate_shows_and_writes_the_scores(steelyard, tmp_path: Path) -> None:
    labels = np.zeros((3, 6, 8), np.uint8)
    labels[1, 1:5, 2:6] = 1  # 16 voxels
    moved = np.roll(labels, 1, axis=2)  # 12 of them shared: IoU 12 / 20
    geometry = Geometry((3, 6, 8), np.diag([3.0, 2.0, 1.0, 1.0]))
    for name, array in (("reference", labels), ("prediction", moved)):
        write_label_map(tmp_path / f"{name}.nii.gz", LabelMap(array, geometry, CHAOS_MR))
    for suffix in ("csv", "parquet"):
        out = tmp_path / f"scores.{suffix}"
        said = steelyard("evaluate", tmp_path / "reference.nii.gz", tmp_path / "prediction.nii.gz", "--out", out)
        assert said.code == 0, said.err
        assert "0.600" in said.out
        assert out.exists()
    import polars as pl

    frame = pl.read_csv(tmp_path / "scores.csv")
    assert {"case_id", "patient_id", "organ", "metric", "value", "unit"} <= set(frame.columns)
    value = frame.filter((pl.col("metric") == "iou") & pl.col("case_id").is_not_null())["value"][0]
    assert value == pytest.approx(0.6)


def test_evaluate_takes_names_for_the_values_of_other_tools(steelyard, tmp_path: Path) -> None:
    labels = np.zeros((2, 4, 4), np.uint8)
    labels[:, 1:3, 1:3] = 3
    volume = Volume(labels, Geometry((2, 4, 4), np.diag([3.0, 2.0, 1.0, 1.0])))
    write_volume(tmp_path / "a.nii.gz", volume)
    said = steelyard("evaluate", tmp_path / "a.nii.gz", tmp_path / "a.nii.gz", "--labels", "spleen=3")
    assert said.code == 0, said.err
    assert "spleen" in said.out
    wrong = steelyard("evaluate", tmp_path / "a.nii.gz", tmp_path / "a.nii.gz", "--labels", "spleen")
    assert (wrong.code, len(wrong.err.splitlines())) == (2, 1)


def test_evaluate_tells_why_tools_differ_and_gives_points(steelyard, tmp_path: Path) -> None:
    save(tmp_path / "truth.nii.gz", blocks(liver=1, spleen=2))
    mine = np.roll(blocks(liver=5, spleen=8), 1, axis=1)
    save(tmp_path / "mine.nii.gz", mine)
    (tmp_path / "map.toml").write_text("[organs]\nliver = 1\nspleen = 2\n[prediction]\nliver = 5\nspleen = 8\n")
    options = ["--labels", tmp_path / "map.toml", "--convention", "all", "--why", "--points", "--workers", "1"]
    out = tmp_path / "scores.csv"
    said = steelyard("evaluate", tmp_path / "truth.nii.gz", tmp_path / "mine.nii.gz", *options, "--out", out)
    assert said.code == 0, said.err
    for told in ("Conventions side by side", "surface between voxels", "CHAOS points", "liver 1 | 5; spleen 2 | 8"):
        assert told in said.out
    assert said.err == ""
    assert {"monai", "deepmind"} <= set(out.read_text().replace("\n", ",").split(","))
    assert "weighed by area" in (tmp_path / "scores-why.csv").read_text()


def test_evaluate_says_what_the_reference_does_not_name(steelyard, tmp_path: Path) -> None:
    organ_files(tmp_path / "truth" / "s1", blocks(liver=1), liver=1)
    organ_files(tmp_path / "mine" / "s1", blocks(liver=1), liver=1, stomach=3, aorta=4)
    said = steelyard("evaluate", tmp_path / "truth", tmp_path / "mine")
    assert said.code == 0, said.err
    assert "Left out, without a counterpart: aorta, stomach." in said.out


def test_evaluate_scores_the_cases_that_it_can_and_ends_in_exit_code_three(steelyard, tmp_path: Path) -> None:
    """A broken case, one without prediction and a third that is whole: its scores are shown and written."""
    for case in ("a", "b", "c"):
        save(tmp_path / "truth" / f"{case}.nii", blocks(liver=63))
    save(tmp_path / "mine" / "a.nii", blocks(liver=63))
    (tmp_path / "mine" / "b.nii").write_bytes(b"no NIfTI")
    folders = [tmp_path / "truth", tmp_path / "mine"]
    refused = steelyard("evaluate", *folders)
    assert (refused.code, len(refused.err.splitlines())) == (3, 1)
    assert "lacks a counterpart of c" in refused.err
    said = steelyard("evaluate", *folders, "--allow-missing", "--workers", "1", "--out", tmp_path / "s.csv")
    assert said.code == 3
    assert "Not scored: 1 without a prediction (c)" in said.out
    assert "1.000" in said.out
    broken, last = said.err.splitlines()
    assert broken.startswith("case b: ")
    assert last.startswith("1 of 2 cases could not be scored; what is shown is of the other 1.")
    rows = (tmp_path / "s.csv").read_text().splitlines()
    assert [row for row in rows if ",failed," in row or ",no prediction," in row] == [
        "b,,,,,,,failed,,",
        "c,,,,,,,no prediction,,",
    ]


def test_evaluate_refuses_an_unknown_ending_before_it_works(steelyard, tmp_path: Path) -> None:
    said = steelyard("evaluate", tmp_path, tmp_path, "--out", tmp_path / "scores.xlsx")
    assert said.code == 2
    assert said.err == f"scores are written as .csv or .parquet; came {tmp_path / 'scores.xlsx'}. Change the ending.\n"


def test_a_place_that_cannot_be_written_ends_in_one_line(steelyard, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    root = write_patients(tmp_path / "data")
    study = write_toml(tmp_path / "s.toml", tiny_study(root, tmp_path / "file"))
    said = steelyard("run", study)
    assert said.code == 3
    assert len(said.err.splitlines()) == 1
    assert "cannot be used" in said.err


def test_a_defect_of_our_own_ends_in_one_line_too(steelyard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEELYARD_DATA", "/somewhere")

    def broken(*_: object) -> None:
        raise KeyError("an\ninner secret")

    monkeypatch.setattr("steelyard.cli.studies.report_on", broken)
    said = steelyard("report", Path(__file__).parents[1] / "studies" / "chaos-quick.toml")
    assert said.code == 1
    assert said.err.startswith("a defect of Steelyard itself, please report it: KeyError")
    assert len(said.err.splitlines()) == 1

"""A study carried out: every artefact is there, is right, is made once, and survives what happens to processes."""

from __future__ import annotations

import io
import json
import os
import random
import re
import signal
import subprocess
import threading
import time
from pathlib import Path

import nibabel
import numpy as np
import polars as pl
import pytest
from PIL import Image
from rich.console import Console
from safetensors.numpy import load_file

from steelyard.errors import BadData, Interrupted, RunsFailed
from steelyard.runstore import RunFolder
from steelyard.study.plan import make_plan
from steelyard.study.run import run_study
from studies import steelyard, tiny_spec, tiny_study, write_patients, write_toml
from warm_process import WarmProcess

SAVE_EVERY_EPOCH = "import steelyard.train as t; t.SECONDS_BETWEEN_SAVES = 0.0; "
SLOW_STEPS = "import time; step = t.autocast; t.autocast = lambda *a: (time.sleep(0.01), step(*a))[1]; "
MAIN = "from steelyard.cli import main; main()"


@pytest.fixture(scope="module")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_patients(tmp_path_factory.mktemp("patients"))


@pytest.fixture(scope="module")
def study(patients: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished tiny study with two losses."""
    plan = make_plan(tiny_spec(patients, tmp_path_factory.mktemp("out")))
    return run_study(plan, console=quiet())


def quiet() -> Console:
    return Console(file=io.StringIO(), width=200)


def runs_of(study: Path) -> list[RunFolder]:
    return [RunFolder(study / run["run"]) for run in json.loads((study / "study.json").read_text())["runs"]]


def test_every_run_ends_with_all_its_files(study: Path) -> None:
    first, second = runs_of(study)
    for run in (first, second):
        assert run.is_done
        assert not run.failure.exists()
        assert not run.checkpoint.exists()
        for file in (run.manifest, run.weights, run.history, run.counts, run.scores):
            assert file.stat().st_size > 0
    assert not list(study.rglob("*.tmp*"))
    assert first.name != second.name


def test_predictions_lie_on_the_scans_own_grid(study: Path) -> None:
    run = runs_of(study)[0]
    predictions = sorted((run.path / "predictions").glob("*.nii.gz"))
    assert len(predictions) == 2  # four patients in two folds, one of them used
    for file in predictions:
        case = study / "cases" / file.name.removesuffix(".nii.gz")
        prediction, reference = nibabel.load(file), nibabel.load(case / "reference.nii.gz")
        assert prediction.shape == reference.shape == (20, 24, 6)
        np.testing.assert_allclose(prediction.affine, reference.affine)
        np.testing.assert_allclose(prediction.affine, nibabel.load(case / "image.nii.gz").affine)


def test_counts_are_those_of_the_label_maps_on_disk(study: Path) -> None:
    for run in runs_of(study):
        counts = pl.read_parquet(run.counts)
        for row in counts.iter_rows(named=True):
            prediction = np.asarray(nibabel.load(run.prediction(row["case_id"])).dataobj) == row["class_index"]
            reference = nibabel.load(study / "cases" / row["case_id"] / "reference.nii.gz")
            reference = np.asarray(reference.dataobj) == row["class_index"]
            assert row["tp"] == (prediction & reference).sum()
            assert row["fp"] == (prediction & ~reference).sum()
            assert row["fn"] == (~prediction & reference).sum()
            assert row["tn"] == (~prediction & ~reference).sum()


def test_pooled_iou_is_that_of_the_summed_counts_and_carries_its_run(study: Path) -> None:
    run = runs_of(study)[1]
    counts = pl.read_parquet(run.counts).filter(pl.col("class_name") == "liver").sum()
    row = pl.read_parquet(run.scores).filter(
        pl.col("case_id").is_null() & (pl.col("organ") == "liver") & (pl.col("metric") == "iou")
    )
    assert row["value"].item() == pytest.approx(
        counts["tp"].item() / (counts["tp"] + counts["fp"] + counts["fn"]).item()
    )
    assert (row["run"].item(), row["loss"].item(), row["fold"].item(), row["seed"].item()) == (
        run.name,
        "iou0515",
        0,
        1,
    )


def test_every_look_at_the_gradient_adds_up_to_one(study: Path) -> None:
    for run in runs_of(study):
        looks = pl.read_parquet(run.history).filter(pl.col("quantity").str.starts_with("gradient_"))
        sums = dict(looks.group_by("epoch").agg(pl.col("value").sum()).iter_rows())
        assert sums == pytest.approx({1: 1, 2: 1, 3: 1})  # after the first epoch, and with each validation
        assert {"liver", "spleen", "background"} < set(looks["organ"])


def test_losses_start_from_equal_weights_and_see_equal_batches(patients: Path, tmp_path: Path) -> None:
    twice = ["iou11", {"name": "tversky", "fp_weight": 1, "fn_weight": 1}]  # one formula under two names
    study = run_study(make_plan(tiny_spec(patients, tmp_path, grid={"loss": twice})), console=quiet())
    first, second = (load_file(run.weights) for run in runs_of(study))
    for name, values in first.items():
        np.testing.assert_array_equal(values, second[name])


def test_phases_and_neighbours_become_channels_and_everything_optional_runs(patients: Path, tmp_path: Path) -> None:
    spec = tiny_spec(
        patients,
        tmp_path,
        data={"sequences": ["t1_in+t1_out"]},
        preprocess={"size": 32, "spacing_mm": 1.25, "context": 1},
        train={"augment": "strong", "optimiser": "adamw", "precision": "bf16"},
        grid={"loss": [{"name": "tversky", "absent": "penalise", "scope": "slice", "background": False}]},
    )
    (run,) = runs_of(run_study(make_plan(spec), console=quiet()))
    assert load_file(run.weights)["0.weight"].shape == (4, 2 * 3, 3, 3)
    assert set(pl.read_parquet(run.scores)["sequence"].drop_nulls()) == {"t1_in+t1_out"}


def test_the_losses_make_different_networks(study: Path) -> None:
    first, second = (load_file(run.weights) for run in runs_of(study))
    assert any((values != second[name]).any() for name, values in first.items())


def test_a_manifest_tells_what_is_needed_to_do_it_again_and_no_patient_name(study: Path) -> None:
    text = runs_of(study)[0].manifest.read_text()
    about = json.loads(text)["manifest"]
    assert about["split"]["train"] + about["split"]["test"] != []
    assert set(about["split"]["train"]) & set(about["split"]["test"]) == set()
    assert about["training_slices"] == 2 * 6
    assert {"torch", "numpy", "python"} <= set(about["versions"])
    assert re.fullmatch(r"[0-9a-f]{64}", about["data_hash"])
    assert "CHAOS^MR" not in text


def test_a_finished_study_is_not_done_again(study: Path) -> None:
    before = {file: file.stat().st_mtime_ns for run in runs_of(study) for file in run.path.rglob("*") if file.is_file()}
    spec = json.loads((study / "study.json").read_text())["spec"]
    plan = make_plan(tiny_spec(Path(spec["data"]["root"]), study.parent))
    run_study(plan, console=quiet())
    changed = [file.name for file, at in before.items() if file.stat().st_mtime_ns != at]
    assert set(changed) <= {"lock"}


def test_pictures_are_taken_from_the_data_of_the_runs_shown(tmp_path: Path) -> None:
    root = write_patients(tmp_path / "data")
    spec = tiny_spec(root, tmp_path, grid={"loss": ["dice"]})
    study = run_study(make_plan(spec), console=quiet())
    kept = sorted(study.glob("cases/*/reference.nii.gz"))
    before = [file.read_bytes() for file in kept]
    mask = next(root.glob(f"Train_Sets/MR/{int(kept[0].parent.name[3:5])}/T1DUAL/Ground/*2.png"))
    original = mask.read_bytes()
    Image.fromarray(np.full((24, 20), 63, np.uint8)).save(mask)
    run_study(make_plan(spec), console=quiet())
    assert [file.read_bytes() for file in kept] != before
    mask.write_bytes(original)
    run_study(make_plan(spec), console=quiet())  # its runs are done, yet the pictures must go back as well
    assert [file.read_bytes() for file in kept] == before


def test_a_run_that_another_worker_holds_is_left_to_it(patients: Path, tmp_path: Path) -> None:
    plan = make_plan(tiny_spec(patients, tmp_path))
    first, second = (plan.run_folder(run) for run in plan.runs)
    has_it = threading.Event()

    def other_worker() -> None:
        with first.locked() as mine:
            assert mine
            has_it.set()
            while not second.is_done:
                time.sleep(0.02)
            first.mark_failed("the other one could not do it")

    other = threading.Thread(target=other_worker)
    other.start()
    has_it.wait()
    with pytest.raises(RunsFailed, match="1 of 2 runs failed"):
        run_study(plan, console=quiet())
    other.join()
    assert not first.manifest.exists()
    assert second.is_done


def test_a_failed_run_leaves_its_reason_and_stops_no_other(patients: Path, tmp_path: Path) -> None:
    networks = [f"tiny_network:{name}" for name in ("ExplodingNetwork", "StumblingNetwork", "TinyNetwork")]
    grid = {"network": networks, "loss": ["iou11"]}
    plan = make_plan(tiny_spec(patients, tmp_path, grid=grid))
    with pytest.raises(RunsFailed, match="2 of 3 runs failed") as caught:
        run_study(plan, console=quiet())
    assert caught.value.exit_code == 1
    failed, stumbled, fine = (plan.run_folder(run) for run in plan.runs)
    assert stumbled.failure.read_text() == "NotImplementedError\n"
    assert failed.failure.read_text().startswith("ArithmeticError: the loss became nan in epoch 1")
    assert not failed.is_done
    assert fine.is_done


def test_a_case_without_reference_is_refused(patients: Path, tmp_path: Path) -> None:
    from phantoms import write_chaos_patient

    for number in (1, 2):
        write_chaos_patient(tmp_path / "Train_Sets" / "MR", number, ground=False)
    with pytest.raises(BadData, match="a reference is needed to train and score"):
        run_study(make_plan(tiny_spec(tmp_path, tmp_path / "out")), console=quiet())


@pytest.mark.slow
def test_ten_kills_at_random_moments_change_no_bit(patients: Path, tmp_path: Path) -> None:
    train = {"epochs": 150, "batch_size": 4, "validate_every": 50, "precision": "fp32", "device": "cpu"}
    grid = {"loss": ["iou0515"]}
    undisturbed = write_toml(tmp_path / "a.toml", tiny_study(patients, tmp_path / "a", train=train, grid=grid))
    killed = write_toml(tmp_path / "b.toml", tiny_study(patients, tmp_path / "b", train=train, grid=grid))
    assert finish(undisturbed) == 0

    random.seed(20)
    states_seen = set()
    for kill in range(10):
        process = start(killed)
        assert process.stdout is not None
        with process.stdout as said:
            next(line for line in said if line.startswith("run 1/1"))
            while kill % 3 and process.poll() is None and saved_at(tmp_path / "b") in states_seen | {0}:
                time.sleep(0.02)  # two of three kills come after this process has saved a state of its own
            time.sleep(random.uniform(0.0, 0.3))
            process.kill()
        assert process.wait() == -signal.SIGKILL
        states_seen.add(saved_at(tmp_path / "b"))
    assert len(states_seen) >= 6
    assert finish(killed) == 0

    (one,) = (tmp_path / "a").rglob("weights.safetensors")
    (two,) = (tmp_path / "b").rglob("weights.safetensors")
    assert one.read_bytes() == two.read_bytes()
    scores = [pl.read_parquet(file.with_name("scores.parquet")) for file in (one, two)]
    assert scores[0].equals(scores[1])


def saved_at(folder: Path) -> int:
    """When the last state was saved; 0 where none is."""
    return max((file.stat().st_mtime_ns for file in folder.rglob("checkpoint.pt")), default=0)


def finish(study: Path) -> int:
    """The exit code of the same process when nothing disturbs it."""
    process = start(study)
    process.communicate(timeout=120)
    return process.returncode


def start(study: Path) -> WarmProcess:
    """`steelyard run` in a process of its own that saves its state after every epoch and takes its time."""
    return WarmProcess(SAVE_EVERY_EPOCH + SLOW_STEPS + MAIN, "run", study, stderr=subprocess.DEVNULL)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_in_one_line_and_exit_code_four(patients: Path, tmp_path: Path, number: int) -> None:
    train = {"epochs": 5000, "validate_every": 1000}
    file = write_toml(tmp_path / "s.toml", tiny_study(patients, tmp_path / "out", train=train))
    process = WarmProcess(MAIN, "run", file)
    assert process.stdout is not None
    next(line for line in process.stdout if line.startswith("run 1/2"))
    time.sleep(0.5)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 4
    assert re.fullmatch(r"stopped in epoch \d+ of 5000; the same command goes on from the last saved state\n", said)


@pytest.fixture
def small_disk(tmp_path: Path):
    """A file system of 300 kB; needs root and a kernel that mounts."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("a small file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)  # cached cases are mapped while anything holds them


def test_a_full_disk_ends_in_one_line_and_the_same_command_goes_on(patients: Path, small_disk: Path) -> None:
    spec = tiny_spec(patients, small_disk, train={"epochs": 4}, grid={"loss": ["iou11"]})
    plan = make_plan(spec)
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"0" * 240_000)
    with pytest.raises(Interrupted, match=r"no space left for .* Free some and run the same command again") as caught:
        run_study(plan, console=quiet())
    assert "\n" not in str(caught.value)
    assert not list(small_disk.rglob("*.tmp.*"))
    ballast.unlink()
    run_study(plan, console=quiet())
    assert plan.run_folder(plan.runs[0]).is_done


def test_the_command_line_runs_reports_and_resumes(patients: Path, tmp_path: Path) -> None:
    file = write_toml(tmp_path / "s.toml", tiny_study(patients, tmp_path / "out", grid={"loss": ["dice"]}))
    done = steelyard("run", file)
    assert done.returncode == 0, done.stderr
    page = tmp_path / "out" / "tiny" / "report" / "index.html"
    assert done.stdout.splitlines()[-1] == f"report: {page}"
    assert "tiny" in page.read_text()
    again = steelyard("run", file)
    assert again.returncode == 0
    assert re.search(r"run 1/1: \S+: done", again.stdout)


def test_the_command_line_reports_a_failed_run_and_ends_with_one(patients: Path, tmp_path: Path) -> None:
    networks = ["tiny_network:ExplodingNetwork", "tiny_network:TinyNetwork"]
    grid = {"network": networks, "loss": ["iou11"]}
    done = steelyard("run", write_toml(tmp_path / "s.toml", tiny_study(patients, tmp_path / "out", grid=grid)))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "1 of 2 runs failed" in done.stderr
    page = (tmp_path / "out" / "tiny" / "report" / "index.html").read_text()
    assert "the loss became nan" in page

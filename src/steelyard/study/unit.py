"""One run, the unit of work: whoever holds its lock trains, predicts and scores it, once, whatever interrupts it."""

from __future__ import annotations

import time
import warnings
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import polars as pl
from rich.console import Console

from steelyard.batches.order import Batches
from steelyard.batches.slices import SliceSet, stack_slices
from steelyard.checkpoint import TrainingState, load_state, save_state, save_weights
from steelyard.datasets import CaseKey
from steelyard.errors import BadData, SteelyardError
from steelyard.records import read_table
from steelyard.runstore import SCHEMA_VERSION, RunFolder, write_json, write_parquet
from steelyard.study.cases import Cases, Stop, cache_folder
from steelyard.study.gradient_probe import gradient_probe
from steelyard.study.heartbeat import Heartbeat, beat_file, tell_each
from steelyard.study.manifest import manifest
from steelyard.study.objects import augmentation_of, device_of, loss_of, network_of, preprocessing_of, schedule_of
from steelyard.study.parallel import ProcessKilled, fit_in_parallel
from steelyard.study.plan import Plan, Run, describe, public_spec
from steelyard.study.progress import TrainingProgress
from steelyard.study.score import held_out_iou, score_run
from steelyard.study.task import task_label_set, task_slices
from steelyard.train import fit


def do_run(plan: Plan, run: Run, cases: Cases, *, title: str, console: Console, stop: Stop) -> str | None:
    """Carry the run out; its lock must be held. Goes on from the last saved state where there is one.

    Returns None when the run got done, else the reason why it failed, which is also left in its folder.

    Raises:
        Interrupted, BadData, OSError: what stops the whole study.
        ProcessKilled: one of several processes of the training was killed; to be tried again.
    """
    folder = plan.run_folder(run)
    try:
        _carry_out(plan, run, folder, cases, title=title, console=console, stop=stop)
    except (SteelyardError, OSError, ProcessKilled):
        raise
    except Exception as error:  # a diverged loss, no memory left, whatever a foreign network does
        said = str(error).splitlines()
        reason = f"{type(error).__name__}: {said[0]}" if said else type(error).__name__
        folder.mark_failed(reason)
        return reason
    return None


def _carry_out(
    plan: Plan, run: Run, folder: RunFolder, cases: Cases, *, title: str, console: Console, stop: Stop
) -> None:
    device = device_of(plan.spec.train)
    label_set = task_label_set(plan.dataset.label_set, run.organ)
    context = preprocessing_of(plan.spec).context
    schedule = replace(schedule_of(plan.spec.train, plan.precision), epochs=plan.epochs_of(run))

    def slices_of(keys: tuple[CaseKey, ...]) -> SliceSet:
        chosen = [cases[key] for key in keys]
        stacked = stack_slices(chosen, context=context, device=device, overflow=cache_folder(plan))
        return task_slices(stacked, plan.dataset.label_set, run.organ)

    training = slices_of(run.fold.train)
    held_out = slices_of(run.fold.test) if run.fold.test else None  # a final network is trained on everybody
    network = network_of(
        run.network,
        channels=training.images.shape[1],
        classes=label_set.class_count,
        size=plan.spec.preprocess.size,
        seed=run.seed,
    ).to(device)
    about = manifest(
        plan,
        run,
        device=device,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        slices=len(training),
    )
    sees = {
        "phases": training.images.shape[1] // (2 * context + 1),
        "label_set": {"organs": [asdict(organ) for organ in label_set.organs]},
    }
    _write_manifest(plan, run, folder, sees, about)

    resume = _state_to_go_on_from(plan, run, folder)
    first_epoch = 0 if resume is None else resume.epoch
    with (
        TrainingProgress(console, title, epochs=schedule.epochs, first_epoch=first_epoch) as progress,
        warnings.catch_warnings(record=True) as warned,
    ):
        train = fit if plan.spec.train.devices == 1 else partial(fit_in_parallel, devices=plan.spec.train.devices)
        loss = loss_of(run.loss, training.class_frequencies(label_set.class_count)).to(device)
        history = train(
            network,
            loss,
            Batches(
                training,
                batch_size=plan.spec.train.batch_size,
                seed=run.seed,
                augmentation=augmentation_of(plan.spec.train),
            ),
            schedule,
            resume=resume,
            save=lambda state: save_state(folder.checkpoint, state),
            validate=lambda network: {} if held_out is None else held_out_iou(network, held_out, label_set, plan),
            progress=tell_each(progress, Heartbeat(folder, epochs=schedule.epochs, first_epoch=first_epoch)),
            stop=stop,
            observe=gradient_probe(
                training,
                loss,
                batch_size=plan.spec.train.batch_size,
                class_names=label_set.class_names,
                precision=plan.precision,
            ),
        )
    save_weights(folder.weights, network)
    frame = pl.DataFrame(
        history, schema={"epoch": pl.Int64, "quantity": pl.String, "organ": pl.String, "value": pl.Float64}
    )
    write_parquet(folder.history, frame)
    started = time.monotonic()
    score_run(plan, run, folder, network, cases, device=device, stop=stop)
    before = 0 if run.start is None else _epochs_of_start(plan.folder / run.start)
    training_seconds = sum(row["value"] for row in history if row["quantity"] == "seconds" and row["epoch"] > before)
    about |= {
        "training_seconds": round(training_seconds, 1),
        "seconds": round(training_seconds + time.monotonic() - started, 1),
        "warnings": sorted({str(warning.message) for warning in warned}),
    }
    _write_manifest(plan, run, folder, sees, about)
    if run.keeps_state and folder.checkpoint.exists():
        folder.checkpoint.replace(folder.state)
    folder.mark_done()
    folder.checkpoint.unlink(missing_ok=True)
    beat_file(folder).unlink(missing_ok=True)


def _state_to_go_on_from(plan: Plan, run: Run, folder: RunFolder) -> TrainingState | None:
    """The run's own last state, else the one of the run that it starts from, else None.

    Raises:
        BadData: a state is damaged, or the run to start from has none.
    """
    own = load_state(folder.checkpoint) or load_state(folder.state)
    if own is not None or run.start is None:
        return own
    before = RunFolder(plan.folder / run.start).state
    state = load_state(before)
    if state is None:
        raise BadData(f"{run.name} starts from {before}, which is not there. Delete that run's folder and try again.")
    return state


def _epochs_of_start(start: Path) -> int:
    """How many epochs of a run's history are those of the run that it started from."""
    return int(read_table(RunFolder(start).history, {"epoch": pl.Int64})["epoch"].max() or 0)


def _write_manifest(plan: Plan, run: Run, folder: RunFolder, sees: dict[str, object], about: dict[str, object]) -> None:
    """`run.json`. With what the network takes and finds (`sees`) the folder can be used without its study."""
    write_json(
        folder.manifest,
        {
            "schema": SCHEMA_VERSION,
            "study": plan.spec.study.name,
            **describe(run),
            **sees,
            "spec": public_spec(plan.spec),
            "manifest": about,
        },
    )

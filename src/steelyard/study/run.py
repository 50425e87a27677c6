"""Carries out a study: each run trains, predicts and scores its held-out patients, once, whatever interrupts it."""

from __future__ import annotations

import contextlib
import dataclasses
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import polars as pl
import torch
from rich.console import Console
from torch import nn

from steelyard.batches.order import Batches
from steelyard.batches.slices import SliceSet, stack_slices
from steelyard.checkpoint import load_state, save_state, save_weights
from steelyard.confusion import count_labels, iou
from steelyard.datasets import CaseKey, Dataset
from steelyard.errors import BadData, Interrupted, RunsFailed, SteelyardError
from steelyard.evaluate import CaseEvaluation, evaluate_case, pool
from steelyard.io.nifti import write_label_map, write_volume
from steelyard.labels import LabelSet
from steelyard.metrics.score_histogram import histogram_scores
from steelyard.predict import predict_classes, predict_probabilities, to_label_map
from steelyard.preprocess.cache import PreparedCase, prepare_cached
from steelyard.runstore import DISK_FULL, SCHEMA_VERSION, RunFolder, disk_full, read_json, write_json, write_parquet
from steelyard.scores import to_frame
from steelyard.study.interrupt import stop_on_signals
from steelyard.study.manifest import manifest
from steelyard.study.objects import augmentation_of, device_of, loss_of, network_of, preprocessing_of, schedule_of
from steelyard.study.plan import Plan, Run, describe, public_spec, write_plan
from steelyard.study.progress import TrainingProgress
from steelyard.train import fit
from steelyard.volume import Case, LabelMap, Volume

Cases = Mapping[CaseKey, PreparedCase]
Stop = Callable[[], bool]


def run_study(plan: Plan, *, console: Console) -> Path:
    """Do every run of the plan that is not done yet; returns the study's folder.

    A run that another process holds is left to it. A run that fails leaves its reason in FAILED and does not stop the
    others.

    Raises:
        Interrupted: a signal or a full disk; the same call goes on from where it stopped.
        BadData: a case is broken or has no reference.
        RunsFailed: all runs were tried and some failed.
    """
    failed = []
    try:
        with stop_on_signals() as stop:
            write_plan(plan)
            cases = prepare_cases(plan, console=console, stop=stop)
            keep_cases(plan, stop=stop)
            for number, run in enumerate(plan.runs, 1):
                title = f"run {number}/{len(plan.runs)}: {run.name}"
                with plan.run_folder(run).locked() as mine:
                    if not mine:
                        console.print(f"{title}: another process is at it", highlight=False)
                    elif plan.run_folder(run).is_done:
                        console.print(f"{title}: done", highlight=False)
                    elif (reason := _try(plan, run, cases, title=title, console=console, stop=stop)) is not None:
                        console.print(f"{title}: failed: {reason}", highlight=False)
                        failed.append(run.name)
    except OSError as error:
        if error.errno in DISK_FULL:
            raise disk_full(error, plan.folder) from error
        raise
    if failed:
        raise RunsFailed(f"{len(failed)} of {len(plan.runs)} runs failed ({', '.join(failed)}). The rest is done.")
    return plan.folder


def prepare_cases(plan: Plan, *, console: Console, stop: Stop) -> Cases:
    """Every case of the plan on the network's grid, from the cache where it is there."""
    preprocessing = preprocessing_of(plan.spec)
    needed = sorted({key for run in plan.runs for key in run.fold.train + run.fold.test})
    cases = {}
    with console.status("reading cases") if console.is_terminal else contextlib.nullcontext():
        for key in needed:
            _stop_if_asked(stop, "while reading cases")
            cases[key] = prepare_cached(
                plan.folder.parent / "cache",
                key.case_id,
                plan.data_hashes[key],
                preprocessing,
                lambda key=key: _read_labelled(plan.dataset, key)[0],  # type: ignore[misc]
            )
    return cases


def keep_cases(plan: Plan, *, stop: Stop) -> None:
    """Image (first channel) and reference of every held-out case, for pictures and viewers; anew when data change."""
    for key in sorted({key for run in plan.runs for key in run.fold.test}):
        folder = plan.folder / "cases" / key.case_id
        source = {"data_hash": plan.data_hashes[key]}
        if (folder / "source.json").exists() and read_json(folder / "source.json") == source:
            continue
        _stop_if_asked(stop, "while keeping cases")
        case, reference = _read_labelled(plan.dataset, key)
        intensities = case.image.intensities
        first = intensities if intensities.ndim == 3 else intensities[0]
        (folder / "source.json").unlink(missing_ok=True)
        write_volume(folder / "image.nii.gz", Volume(first, case.image.geometry))
        write_label_map(folder / "reference.nii.gz", reference)
        write_json(folder / "source.json", source)


def _try(plan: Plan, run: Run, cases: Cases, *, title: str, console: Console, stop: Stop) -> str | None:
    """None when the run got done, else the reason why it failed, which is also left in its folder."""
    folder = plan.run_folder(run)
    try:
        _carry_out(plan, run, folder, cases, title=title, console=console, stop=stop)
    except (SteelyardError, OSError):
        raise
    except Exception as error:  # a diverged loss, no memory left, whatever a foreign network does
        said = str(error).splitlines()
        reason = f"{type(error).__name__}: {said[0]}" if said else type(error).__name__
        folder.failure.write_text(reason + "\n", encoding="utf-8")
        return reason
    return None


def _carry_out(
    plan: Plan, run: Run, folder: RunFolder, cases: Cases, *, title: str, console: Console, stop: Stop
) -> None:
    device = device_of(plan.spec.train)
    label_set = plan.dataset.label_set
    context = preprocessing_of(plan.spec).context
    schedule = schedule_of(plan.spec.train, plan.precision)
    training = stack_slices([cases[key] for key in run.fold.train], context=context, device=device)
    held_out = stack_slices([cases[key] for key in run.fold.test], context=context, device=device)
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
    _write_manifest(plan, run, folder, about)

    resume = load_state(folder.checkpoint)
    with (
        TrainingProgress(
            console, title, epochs=schedule.epochs, first_epoch=0 if resume is None else resume.epoch
        ) as progress,
        warnings.catch_warnings(record=True) as warned,
    ):
        history = fit(
            network,
            loss_of(run.loss, training.class_frequencies(label_set.class_count)).to(device),
            Batches(
                training,
                batch_size=plan.spec.train.batch_size,
                seed=run.seed,
                augmentation=augmentation_of(plan.spec.train),
            ),
            schedule,
            resume=resume,
            save=lambda state: save_state(folder.checkpoint, state),
            validate=lambda network: held_out_iou(network, held_out, label_set, plan),
            progress=progress,
            stop=stop,
        )
    save_weights(folder.weights, network)
    frame = pl.DataFrame(
        history, schema={"epoch": pl.Int64, "quantity": pl.String, "organ": pl.String, "value": pl.Float64}
    )
    write_parquet(folder.history, frame)
    started = time.monotonic()
    score_run(plan, run, folder, network, cases, device=device, stop=stop)
    training_seconds = sum(row["value"] for row in history if row["quantity"] == "seconds")
    about |= {
        "training_seconds": round(training_seconds, 1),
        "seconds": round(training_seconds + time.monotonic() - started, 1),
        "warnings": sorted({str(warning.message) for warning in warned}),
    }
    _write_manifest(plan, run, folder, about)
    folder.mark_done()
    folder.checkpoint.unlink(missing_ok=True)


def held_out_iou(network: nn.Module, held_out: SliceSet, label_set: LabelSet, plan: Plan) -> dict[str, float | None]:
    """IoU per organ pooled over the held-out slices on the network's grid; None where nobody has the organ."""
    predicted = predict_classes(network, held_out.images, precision=plan.precision).cpu().numpy()
    values = iou(count_labels(held_out.labels.cpu().numpy(), predicted, label_set.class_count))
    return {
        organ.name: None if values[organ.index] != values[organ.index] else float(values[organ.index])
        for organ in label_set.organs
    }


def score_run(
    plan: Plan, run: Run, folder: RunFolder, network: nn.Module, cases: Cases, *, device: torch.device, stop: Stop
) -> None:
    """Predict every held-out case on its own grid, write the label maps, and score them there."""
    evaluations = []
    for key in run.fold.test:
        _stop_if_asked(stop, "while scoring")
        case, reference = _read_labelled(plan.dataset, key)
        probabilities = predict_probabilities(
            network, cases[key], context=preprocessing_of(plan.spec).context, device=device, precision=plan.precision
        )
        prediction = to_label_map(probabilities, case.image.geometry, plan.dataset.label_set)
        write_label_map(folder.prediction(case.case_id), prediction)
        evaluations.append(
            evaluate_case(
                reference,
                prediction,
                case_id=case.case_id,
                patient_id=case.patient_id,
                sequence=case.sequence,
                histograms=histogram_scores(probabilities, reference),
            )
        )
    scores = [score for evaluation in evaluations for score in evaluation.scores] + list(pool(evaluations))
    stamp = {"study": plan.spec.study.name} | describe(run)
    write_parquet(folder.counts, _counts_frame(evaluations, plan.dataset.label_set))
    write_parquet(folder.scores, to_frame(dataclasses.replace(score, **stamp) for score in scores))


def _read_labelled(dataset: Dataset, key: CaseKey) -> tuple[Case, LabelMap]:
    case = dataset.read(key)
    if case.reference is None:
        raise BadData(
            f"case {key.case_id}: a reference is needed to train and score; there is none. Leave the case out."
        )
    return case, case.reference


def _counts_frame(evaluations: list[CaseEvaluation], label_set: LabelSet) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "case_id": evaluation.case_id,
                "patient_id": evaluation.patient_id,
                "sequence": evaluation.sequence,
                "class_index": index,
                "class_name": name,
                **{field: int(getattr(evaluation.counts, field)[index]) for field in ("tp", "fp", "fn", "tn")},
            }
            for evaluation in evaluations
            for index, name in enumerate(label_set.class_names)
        ]
    )


def _write_manifest(plan: Plan, run: Run, folder: RunFolder, about: dict[str, object]) -> None:
    write_json(
        folder.manifest,
        {
            "schema": SCHEMA_VERSION,
            "study": plan.spec.study.name,
            **describe(run),
            "spec": public_spec(plan.spec),
            "manifest": about,
        },
    )


def _stop_if_asked(stop: Stop, when: str) -> None:
    if stop():
        raise Interrupted(f"stopped {when}")

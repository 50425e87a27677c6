"""The final network of a card: trained on all patients with the recommended loss, and the bound that it may keep."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from steelyard.calibrate.bench import Bench, make_bench
from steelyard.calibrate.conformal import fit_bound, organ_changes
from steelyard.calibrate.named_objective import objective_of
from steelyard.calibrate.read_card import read_card
from steelyard.calibrate.results import voxels_of
from steelyard.errors import BadData, BadSpec, RunsFailed
from steelyard.postprocess.offsets import Offsets
from steelyard.study.folds import Fold
from steelyard.study.objects import part_errors
from steelyard.study.plan import Run
from steelyard.study.run import run_study
from steelyard.study.spec import Part, parse_spec


def train_final(path: Path, *, seed: int | None, console: Console) -> Path:
    """Train on every patient but those set aside for a bound; returns the run's folder, which holds the weights.

    Raises:
        BadData: no card, or the card's patients are not there any more.
        BadSpec: the card's study does not fit this version.
        RunsFailed: the training failed.
    """
    card = read_card(path)
    spec = parse_spec(card["spec"], source=str(path))
    if spec.train.precision == "auto":
        spec = spec.model_copy(update={"train": spec.train.model_copy(update={"precision": card["precision"]})})
    out = path.absolute().parent.parent
    spec = spec.model_copy(
        update={"study": spec.study.model_copy(update={"out": str(out), "name": path.absolute().parent.name})}
    )
    bench = make_bench(spec, objective_of=objective_of, carry_out=lambda plan: run_study(plan, console=console))
    keys = bench.nested.others + bench.nested.bound
    if bench.base.hash_of(keys) != card["data"]["hash"]:
        raise BadData(
            f"{path} was made from other data than {spec.root} holds now ({card['data']['cases']} cases then, "
            f"{len(bench.nested.others)} now). Point the study's root to the same data, or calibrate again."
        )
    if seed not in (None, bench.seeds[0]) and bench.nested.bound:
        raise BadSpec(f"{path} bounds the network of seed {bench.seeds[0]} alone; came --seed {seed}. Leave it out.")
    loss = Part.model_validate(card["loss"])
    if errors := part_errors([], [loss], classes=bench.label_set.class_count):
        raise BadData(f"{path}: its loss cannot be built: {errors[0]}")
    run = _final_run(bench, loss, bench.seeds[0] if seed is None else seed)
    _train(bench, run)
    return bench.run_folder("final", run).path


def final_bound(bench: Bench, loss: Part) -> dict[str, Any]:
    """Train the final network, and fit its offset of one organ on the patients set aside.

    The offset never lies below 0, so that no more is missed than before.

    Raises:
        BadSpec: no offset within reach keeps the bound.
    """
    assert bench.table.max_miss is not None
    ((organ, max_miss),) = bench.table.max_miss.items()
    run = _final_run(bench, loss, bench.seeds[0])
    _train(bench, run)
    cases = voxels_of(bench.run_folder("final", run), bench.folder / "final", bench.label_set)
    before = Offsets.none(bench.label_set.class_count)
    found = fit_bound(cases, bench.label_set.organ(organ).index, max_miss, base=before, lowest=0.0)
    names = bench.label_set.class_names
    return {
        "organ": organ,
        "max_miss": max_miss,
        "offset": found.offset,
        "offsets": list(found.offsets.values),
        "patients": found.patients,
        "smallest_certifiable": found.smallest_certifiable,
        "miss_before": found.miss_before,
        "miss_after": found.empirical_miss,
        "promise": found.promise(bench.label_set.organ(organ).title),
        "run": run.name,
        "changes": [
            asdict(change) | {"organ": names[change.organ_index]}
            for change in organ_changes(cases, before, found.offsets)
        ],
    }


def _train(bench: Bench, run: Run) -> None:
    bench.train("final", [run])
    if (reason := bench.failure("final", [run])) is not None:
        raise RunsFailed(f"there is no final network: {reason}.")


def _final_run(bench: Bench, loss: Part, seed: int) -> Run:
    """On all patients but those set aside, who are its held-out ones, with their probabilities."""
    fold = Fold(0, train=bench.nested.others, test=bench.nested.bound)
    return bench.run("final", loss, fold, seed, keeps_probabilities=bool(bench.nested.bound))

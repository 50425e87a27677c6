"""The runs that a study asks for, each with a name that changes when anything changes that can change its result."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from steelyard.datasets import CaseKey, Dataset
from steelyard.datasets.fingerprint import data_hash
from steelyard.errors import BadData, BadSpec
from steelyard.labels import LabelSet
from steelyard.precision import Precision
from steelyard.runstore import SCHEMA_VERSION, RunFolder, write_json
from steelyard.study.folds import LEAK_WARNING, Fold, make_folds
from steelyard.study.objects import channel_count, dataset_of, device_of, part_errors, precision_of
from steelyard.study.spec import Part, StudySpec, known_parts, parse_spec, read_toml

FEW_TEST_PATIENTS = 5
NEVER_CHANGES_A_RESULT = {"device", "precision", "validate_every"}  # keys of [train]; the resolved precision counts


@dataclass(frozen=True)
class Run:
    """One network trained with one loss on one fold from one seed."""

    name: str
    network: Part
    loss: Part
    fold: Fold
    seed: int
    task: str = "multiclass"


@dataclass(frozen=True)
class Plan:
    """A study with its data looked at: what will be run, on what, and where it goes."""

    spec: StudySpec
    dataset: Dataset
    data_hashes: Mapping[CaseKey, str]
    precision: Precision
    runs: tuple[Run, ...]
    warnings: tuple[str, ...]

    @property
    def folder(self) -> Path:
        return self.spec.folder

    def run_folder(self, run: Run) -> RunFolder:
        """Where a run's files go."""
        return RunFolder(self.folder / run.name)

    def hash_of(self, keys: tuple[CaseKey, ...]) -> str:
        """One hash over the files of those cases."""
        return _digest([self.data_hashes[key] for key in sorted(keys)])


def plan_file(path: Path) -> Plan:
    """The plan of a study file, or everything that is wrong with the file at once."""
    content = read_toml(path)
    try:
        spec = parse_spec(content, source=str(path))
    except BadSpec as error:
        raise BadSpec(
            *error.errors, *part_errors(known_parts(content, "network"), known_parts(content, "loss"))
        ) from None
    return make_plan(spec)


def make_plan(spec: StudySpec) -> Plan:
    """List the cases, hash their files, deal the folds, build every part once, name the runs.

    Writes nothing, save what data set and networks fetch for themselves: phantoms not made yet, ImageNet weights.

    Raises:
        BadSpec: names, options or counts that do not fit.
        BadData: the data's folder is missing or broken.
    """
    try:
        precision = precision_of(spec.train, device_of(spec.train))
        dataset = dataset_of(spec)
        keys = dataset.keys(tuple(spec.data.sequences))
        if not keys:
            raise BadData(
                f"no case of {', '.join(spec.data.sequences)} is in {spec.root}. Check [data] root and sequences."
            )
        folds = make_folds(keys, count=spec.folds.count, by=spec.folds.by, seed=spec.folds.seed)
        channels = _channels(spec, dataset, keys)
    except BadSpec as error:  # the parts can be tried all the same
        raise BadSpec(*error.errors, *part_errors(spec.grid.network, spec.grid.loss)) from None
    errors = part_errors(
        spec.grid.network,
        spec.grid.loss,
        channels=channels,
        classes=dataset.label_set.class_count,
        size=spec.preprocess.size,
    )
    if errors:
        raise BadSpec(*errors)
    used = folds if spec.folds.use is None else [folds[index] for index in spec.folds.use]
    hashes = {key: data_hash(dataset, (key,)) for key in keys}
    runs = [
        _named_run(spec, dataset.label_set, network, loss, fold, seed, hashes, precision)
        for network, loss, fold, seed in itertools.product(spec.grid.network, spec.grid.loss, used, spec.grid.seed)
    ]
    if len({run.name for run in runs}) < len(runs):
        raise BadSpec("[grid] asks for the same run twice. List each network, loss and seed once.")
    return Plan(spec, dataset, hashes, precision, tuple(runs), tuple(_warnings(spec, used)))


def write_plan(plan: Plan) -> None:
    """`study.json`: the resolved study, its label set and its runs, for every later reader."""
    write_json(
        plan.folder / "study.json",
        {
            "schema": SCHEMA_VERSION,
            "name": plan.spec.study.name,
            "spec": public_spec(plan.spec),
            "label_set": _label_set_json(plan.dataset.label_set),
            "runs": [describe(run) for run in plan.runs],
            "warnings": list(plan.warnings),
        },
    )


def describe(run: Run) -> dict[str, Any]:
    """The columns by which scores and tables know a run."""
    return {
        "run": run.name,
        "network": run.network.title,
        "loss": run.loss.title,
        "fold": run.fold.index,
        "seed": run.seed,
        "task": run.task,
    }


def public_spec(spec: StudySpec) -> dict[str, Any]:
    """The resolved study file, as JSON; the data's root as it was written, with variables unexpanded."""
    return spec.model_dump(mode="json")


def _channels(spec: StudySpec, dataset: Dataset, keys: tuple[CaseKey, ...]) -> int:
    """Channels of the first case of each sequence, which must agree: one network sees them all."""
    first = {key.sequence: key for key in reversed(keys)}
    counts = {sequence: channel_count(spec, dataset.read(key)) for sequence, key in first.items()}
    if len(set(counts.values())) > 1:
        said = ", ".join(f"{sequence} {count}" for sequence, count in sorted(counts.items()))
        raise BadSpec(f"sequences of one study need equally many channels; came {said}. Make each its own study.")
    return next(iter(counts.values()))


def _named_run(
    spec: StudySpec,
    label_set: LabelSet,
    network: Part,
    loss: Part,
    fold: Fold,
    seed: int,
    hashes: Mapping[CaseKey, str],
    precision: Precision,
) -> Run:
    decides = {
        "train": [hashes[key] for key in fold.train],
        "test": [hashes[key] for key in fold.test],
        "dataset": [spec.data.dataset, spec.data.options],
        "labels": [(organ.name, organ.source_value) for organ in label_set.organs],
        "preprocess": spec.preprocess.model_dump(),
        "schedule": spec.train.model_dump(exclude=NEVER_CHANGES_A_RESULT) | {"precision": precision},
        "network": [network.model_dump(), _content_of(network.options.get("weights"))],
        "loss": loss.model_dump(),
        "seed": seed,
    }
    slug = re.sub(r"[^A-Za-z0-9.]+", "-", f"{network.title}-{loss.title}").strip("-")[:60]
    return Run(f"{slug}-f{fold.index}-s{seed}-{_digest(decides)[:8]}", network, loss, fold, seed)


def _content_of(weights: object) -> str | None:
    """The hash of a file of starting weights; a name such as `imagenet` stands for itself."""
    file = Path(str(weights)).expanduser()
    return hashlib.sha256(file.read_bytes()).hexdigest() if weights is not None and file.is_file() else None


def _warnings(spec: StudySpec, folds: list[Fold] | tuple[Fold, ...]) -> list[str]:
    warnings = [LEAK_WARNING] if spec.folds.by == "sequence" else []
    tested = {key.patient_id for fold in folds for key in fold.test}
    if len(tested) < FEW_TEST_PATIENTS:
        warnings.append(f"only {len(tested)} patients are tested: differences between losses are not evidence.")
    if len(folds) == 1:
        warnings.append("one fold: each loss was tested on one split of the patients.")
    if len(spec.grid.seed) == 1:
        warnings.append("one seed: differences may be due to the initial weights.")
    return warnings


def _label_set_json(label_set: LabelSet) -> dict[str, Any]:
    return {"organs": [asdict(organ) for organ in label_set.organs]}


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()

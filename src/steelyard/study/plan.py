"""The runs that a study asks for, each with a name that changes when anything changes that can change its result."""

from __future__ import annotations

import hashlib
import inspect
import itertools
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from steelyard.datasets import CaseKey, Dataset
from steelyard.datasets.fingerprint import data_hashes
from steelyard.errors import BadData, BadSpec, unknown_name
from steelyard.labels import LabelSet
from steelyard.metrics import METRICS
from steelyard.metrics.metric import STUDY_CONVENTIONS
from steelyard.precision import Precision
from steelyard.records import study_record
from steelyard.runstore import SCHEMA_VERSION, RunFolder, write_json
from steelyard.study.declaration import declaration
from steelyard.study.folds import LEAK_WARNING, Fold, make_folds
from steelyard.study.objects import channel_count, dataset_of, device_of, part_errors, precision_of
from steelyard.study.parallel import device_errors
from steelyard.study.spec import Part, StudySpec, Task, known_parts, parse_spec, read_toml

UNICLASS_CLASSES = 2  # the organ and everything else
FEW_TEST_PATIENTS = 5
NEVER_CHANGES_A_RESULT = {"device", "precision", "validate_every"}  # keys of [train]; the resolved precision counts


@dataclass(frozen=True)
class Run:
    """One network trained with one loss on one fold from one seed: on all organs, or (`uniclass`) on one of them.

    Attributes:
        epochs: of this run; those of [train] when None.
        start: the name of a run of the same study from whose last state this one goes on, instead of from new
            weights; that run must be done and have kept its state.
        keeps_state: leave the last state of the training behind, for runs that start from it.
        keeps_probabilities: leave the probabilities of every held-out voxel behind.
    """

    name: str
    network: Part
    loss: Part
    fold: Fold
    seed: int
    task: Task = "multiclass"
    organ: str | None = None
    epochs: int | None = None
    start: str | None = None
    keeps_state: bool = False
    keeps_probabilities: bool = False


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

    def epochs_of(self, run: Run) -> int:
        """How many epochs a run's network has seen at its end, those of the run that it started from among them."""
        return self.spec.train.epochs if run.epochs is None else run.epochs

    def named(self, run: Run) -> Run:
        """The run with its name, which changes when anything changes that can change its result."""
        return _named_run(self.spec, self.dataset.label_set, run, self.data_hashes, self.precision)

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
        raise BadSpec(
            *error.errors, *device_errors(spec.train), *part_errors(spec.grid.network, spec.grid.loss)
        ) from None
    errors = device_errors(spec.train) + [
        error
        for task in spec.grid.task
        for error in part_errors(
            spec.grid.network,
            spec.grid.loss,
            channels=channels,
            classes=dataset.label_set.class_count if task == "multiclass" else UNICLASS_CLASSES,
            size=spec.preprocess.size,
        )
    ]
    errors += _title_errors(spec) + _compare_errors(spec, dataset.label_set)
    if errors:
        raise BadSpec(*errors)
    used = folds if spec.folds.use is None else [folds[index] for index in spec.folds.use]
    hashes = data_hashes(dataset, keys)
    runs = [
        _named_run(spec, dataset.label_set, Run("", network, loss, fold, seed, *target), hashes, precision)
        for network, target, loss, fold, seed in itertools.product(
            spec.grid.network, _targets(spec, dataset.label_set), spec.grid.loss, used, spec.grid.seed
        )
    ]
    if len({run.name for run in runs}) < len(runs):
        raise BadSpec("[grid] asks for the same run twice. List each network, loss, seed and task once.")
    return Plan(spec, dataset, hashes, precision, tuple(runs), tuple(_warnings(spec, used)))


def write_plan(plan: Plan) -> None:
    """`study.json`: the resolved study, its label set and its runs, for every later reader.

    Raises:
        BadSpec: the study was begun on hardware for which `precision = "auto"` means something else.
    """
    _check_precision(plan)
    # done here, or in a study beside this one from which they will be taken
    done = sum(any(plan.folder.parent.glob(f"*/{run.name}/DONE")) for run in plan.runs)
    write_json(
        plan.folder / "study.json",
        {
            "schema": SCHEMA_VERSION,
            "name": plan.spec.study.name,
            "spec": public_spec(plan.spec),
            "precision": plan.precision,
            "declaration": declaration(plan.folder, plan.spec.compare, done=done, runs=len(plan.runs)),
            "label_set": _label_set_json(plan.dataset.label_set),
            "runs": [describe(run) | {"organ": run.organ, "epochs": plan.epochs_of(run)} for run in plan.runs],
            "warnings": list(plan.warnings),
        },
    )


def _check_precision(plan: Plan) -> None:
    """A machine without bf16 must not begin a second set of runs beside the first."""
    file = plan.folder / "study.json"
    begun = study_record(plan.folder) if file.is_file() else {}
    before = begun.get("precision", plan.precision)
    now, then = public_spec(plan.spec), begun.get("spec", {})
    if before != plan.precision and now["train"] == then.get("train") and now["grid"] == then.get("grid"):
        raise BadSpec(
            f'{plan.folder} was begun in {before}, and [train] precision "auto" is {plan.precision} on this machine. '
            f'Write precision = "{before}" to go on with it here, or give the study another name.'
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


def _title_errors(spec: StudySpec) -> list[str]:
    """Tables know networks and losses by their titles, in which files have no folder."""
    return [
        f"[grid] {kind}: tables would call two different ones {first.title}. Give their files different names."
        for kind, parts in (("network", spec.grid.network), ("loss", spec.grid.loss))
        for first, second in itertools.combinations(parts, 2)
        if first.title == second.title and first != second
    ]


def _compare_errors(spec: StudySpec, label_set: LabelSet) -> list[str]:
    """[compare] may name losses of the grid, organs of the data and metrics with a value per organ and patient."""
    losses = [loss.title for loss in spec.grid.loss]
    named = [*([] if spec.compare.baseline is None else [spec.compare.baseline]), *(spec.compare.losses or [])]
    errors = [unknown_name("loss of this grid", title, losses) for title in named if title not in losses]
    errors += [
        unknown_name("organ", name, label_set.class_names[1:])
        for name in spec.compare.organs or []
        if name not in label_set.class_names[1:]
    ]
    of_organs = [METRICS[name] for name in METRICS if METRICS[name].reads != "classes"]
    known = sorted({metric.name for metric in of_organs if metric.convention in STUDY_CONVENTIONS})
    if spec.compare.metric not in known:
        errors.append(unknown_name("metric per organ", spec.compare.metric, known))
    return errors


def _channels(spec: StudySpec, dataset: Dataset, keys: tuple[CaseKey, ...]) -> int:
    """Channels of the first case of each sequence, which must agree: one network sees them all."""
    first = {key.sequence: key for key in reversed(keys)}
    counts = {sequence: channel_count(spec, dataset.read(key)) for sequence, key in first.items()}
    if len(set(counts.values())) > 1:
        said = ", ".join(f"{sequence} {count}" for sequence, count in sorted(counts.items()))
        raise BadSpec(f"sequences of one study need equally many channels; came {said}. Make each its own study.")
    return next(iter(counts.values()))


def _targets(spec: StudySpec, label_set: LabelSet) -> list[tuple[Task, str | None]]:
    """(task, organ) of every network that one loss, fold and seed need."""
    organs: dict[Task, list[str | None]] = {
        "multiclass": [None],
        "uniclass": [organ.name for organ in label_set.organs],
    }
    return [(task, organ) for task in spec.grid.task for organ in organs[task]]


def _named_run(
    spec: StudySpec, label_set: LabelSet, run: Run, hashes: Mapping[CaseKey, str], precision: Precision
) -> Run:
    epochs = {} if run.epochs is None else {"epochs": run.epochs}
    never = NEVER_CHANGES_A_RESULT | ({"devices"} if spec.train.devices == 1 else set())
    decides = {
        "train": [hashes[key] for key in run.fold.train],
        "test": [hashes[key] for key in run.fold.test],
        "dataset": [spec.data.dataset, spec.data.options],
        "labels": [(organ.name, organ.source_value) for organ in label_set.organs],
        "preprocess": spec.preprocess.model_dump(),
        "schedule": spec.train.model_dump(exclude=never) | {"precision": precision} | epochs,
        "network": [
            run.network.model_dump(),
            _content_of(run.network.options.get("weights")),
            *_source_of(run.network),
        ],
        "loss": run.loss.model_dump(),
        "seed": run.seed,
    }
    if run.organ is not None:
        decides["organ"] = run.organ
    if run.start is not None:
        decides["start"] = run.start
    if kept := [kind for kind in ("keeps_state", "keeps_probabilities") if getattr(run, kind)]:
        decides["kept"] = kept  # a run without them is of no use to those that ask for them
    slug = re.sub(r"[^A-Za-z0-9.]+", "-", f"{run.network.title}-{run.loss.title}").strip("-")[:60]
    only = "" if run.organ is None else "-" + re.sub(r"[^A-Za-z0-9.]+", "-", run.organ)
    return replace(run, name=f"{slug}{only}-f{run.fold.index}-s{run.seed}-{_digest(decides)[:8]}")


def _content_of(weights: object) -> str | None:
    """The hash of a file of starting weights; a name such as `imagenet` stands for itself."""
    file = Path(str(weights)).expanduser()
    return hashlib.sha256(file.read_bytes()).hexdigest() if weights is not None and file.is_file() else None


def _source_of(network: Part) -> list[str]:
    """The hash of the file that holds a network of the user's own; nothing for one of ours."""
    if ":" not in network.name:
        return []
    file = inspect.getsourcefile(sys.modules[network.name.partition(":")[0]])
    return [hashlib.sha256(Path(file).read_bytes()).hexdigest()] if file is not None else []


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

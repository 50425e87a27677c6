"""Names become objects here, and nowhere else."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import nn

from steelyard.batches.affine import RandomAffine
from steelyard.batches.order import Augmentation
from steelyard.batches.strong import StrongAugmentation
from steelyard.datasets import DATASETS, Dataset
from steelyard.errors import BadData, BadSpec
from steelyard.losses import LOSSES
from steelyard.networks.build import build_network
from steelyard.postprocess.crf import DenseCrf
from steelyard.precision import Precision, fastest_precision
from steelyard.preprocess.cache import Preprocessing
from steelyard.study.spec import CrfTable, Part, StudySpec, TrainTable
from steelyard.train import Schedule
from steelyard.volume import Case

T = TypeVar("T")
ASSUMED_CLASSES = 5  # to try options with, where no data tell


def dataset_of(spec: StudySpec) -> Dataset:
    """The data set on its root."""
    return call(DATASETS[spec.data.dataset], "dataset", spec.data.dataset, spec.root, **spec.data.options)


def preprocessing_of(spec: StudySpec) -> Preprocessing:
    """[preprocess] as an object."""
    return Preprocessing(**spec.preprocess.model_dump())


def device_of(train: TrainTable) -> torch.device:
    """`auto` is the first GPU where there is one, else the CPU."""
    if train.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if train.device.startswith("cuda") and not torch.cuda.is_available():
        raise BadSpec(f'[train] device {train.device!r} was wanted, but torch sees no GPU here. Use "auto" or "cpu".')
    return torch.device(train.device)


def precision_of(train: TrainTable, device: torch.device) -> Precision:
    """`auto` is bf16 where the hardware has it, else float32."""
    return fastest_precision(device) if train.precision == "auto" else train.precision


def schedule_of(train: TrainTable, precision: Precision) -> Schedule:
    """[train] as a schedule."""
    return Schedule(
        epochs=train.epochs,
        optimiser=train.optimiser,
        learning_rate=train.learning_rate,
        drop_factor=train.drop_factor,
        drop_every=train.drop_every,
        momentum=train.momentum,
        l2=train.l2,
        precision=precision,
        validate_every=train.validate_every,
    )


def crf_of(table: CrfTable) -> DenseCrf:
    """[crf] as an object."""
    return DenseCrf(**table.model_dump())


def augmentation_of(train: TrainTable) -> Augmentation | None:
    """The study's affine, the stronger set, or none."""
    kinds: dict[str, Augmentation | None] = {"study": RandomAffine(), "strong": StrongAugmentation(), "none": None}
    return kinds[train.augment]


def network_of(part: Part, *, channels: int, classes: int, size: int, seed: int) -> nn.Module:
    """A registered network or `module:callable`, with initial weights that depend on `seed` alone."""
    network = build_network(part.name, channels, classes, seed=seed, size_px=(size, size), **part.options)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def loss_of(part: Part, class_frequencies: Sequence[float]) -> nn.Module:
    """A registered loss; one that asks for `class_frequencies` is told those of the training slices."""
    factory = LOSSES[part.name]
    options = dict(part.options)
    if "class_frequencies" in inspect.signature(factory).parameters:
        options["class_frequencies"] = class_frequencies
    return call(factory, "loss", part.name, **options)


def channel_count(spec: StudySpec, case: Case) -> int:
    """Channels that a network sees: those of the case, times the slices taken together."""
    phases = 1 if case.image.intensities.ndim == 3 else len(case.image.intensities)
    return phases * (2 * spec.preprocess.context + 1)


def part_errors(
    networks: Sequence[Part], losses: Sequence[Part], *, channels: int = 1, classes: int | None = None, size: int = 64
) -> list[str]:
    """Builds every network and loss once; a line for each that cannot be built.

    While `classes` is not known, numbers per class are not counted.
    """
    assumed = classes or ASSUMED_CLASSES
    errors: list[str] = []
    for part in networks:
        try:
            network_of(part, channels=channels, classes=assumed, size=size, seed=0)
        except BadSpec as error:
            errors += error.errors
        except BadData as error:  # weights that are broken or cannot be fetched
            errors.append(str(error))
    for part in losses:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                loss = loss_of(part, [1 / assumed] * assumed)
            if classes is not None:
                loss(torch.zeros(1, classes, 2, 2), torch.zeros(1, 2, 2, dtype=torch.long))
        except BadSpec as error:
            errors += error.errors
        except ValueError as error:
            errors.append(f"loss {part.title}: {error}")
    return list(dict.fromkeys(errors))


def call(factory: Callable[..., T], kind: str, name: str, /, *arguments: object, **options: object) -> T:
    """Build a part from a spec's options; a wrong option is the spec's error, in one line."""
    try:
        inspect.signature(factory).bind(*arguments, **options)
    except TypeError as error:
        known = [p.name for p in inspect.signature(factory).parameters.values() if p.kind is p.KEYWORD_ONLY]
        raise BadSpec(f"{kind} {name!r}: {error}. Its options: {', '.join(known) or 'none'}.") from None
    try:
        return factory(*arguments, **options)
    except (ValueError, TypeError) as error:
        raise BadSpec(f"{kind} {name!r}: {error}") from error

"""A trained network ready for use: read from the folder of a finished run, with everything that its images need."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from pydantic import ValidationError
from torch import nn

from steelyard.checkpoint import load_weights
from steelyard.errors import BadData, BadSpec
from steelyard.labels import CodedConcept, LabelSet, Organ
from steelyard.networks import NETWORKS
from steelyard.precision import Precision
from steelyard.predict import predict_probabilities
from steelyard.preprocess.cache import PreparedCase, Preprocessing, prepare
from steelyard.records import label_set_of
from steelyard.runstore import SCHEMA_VERSION, RunFolder, read_json
from steelyard.study.objects import network_of
from steelyard.study.spec import CrfTable, Part, PreprocessTable
from steelyard.study.task import task_label_set
from steelyard.volume import Case, Volume

AGAIN = "Copy the whole run folder again, or train the run again."
MOST_PHASES = 64  # channels of one image, registered with each other
AXIAL_DICOM = ("chaos", "phantom")  # data sets of axial DICOM series; others keep their files' own order


@dataclass(frozen=True, eq=False)
class Model:
    """A run's network in eval mode and what it was trained on.

    Attributes:
        name: of the run: network, loss, fold, seed and a hash.
        label_set: the network's classes; of a uniclass run the one organ.
        sequences: that it was trained on, such as `t1_in`, or `t1_in+t1_out` for registered phases as channels.
        is_axial: whether it was trained on axial DICOM: slices towards the head, rows to the back, columns to the left.
            Images of files that store voxels in another order are to be turned so.
        phases: channels of an image that it takes, before neighbouring slices are added.
        channels: that the network itself takes: phases times the slices taken together.
        weights_hash: SHA-256 of the weights' file.
        crf: the study's [crf] table, None where it has none.
    """

    name: str
    study: str
    network: nn.Module
    network_title: str
    loss_title: str
    label_set: LabelSet
    preprocessing: Preprocessing
    sequences: tuple[str, ...]
    is_axial: bool
    phases: int
    precision: Precision
    device: torch.device
    weights_hash: str
    crf: Mapping[str, Any] | None

    @property
    def channels(self) -> int:
        return self.phases * (2 * self.preprocessing.context + 1)

    def prepared(self, image: Volume) -> PreparedCase:
        """An image on the network's grid, with its place in the image's own (`plane`).

        Raises:
            BadData: the image has another number of phases, or holds values that are not finite.
        """
        came = 1 if image.intensities.ndim == 3 else len(image.intensities)
        if came != self.phases:
            raise BadData(
                f"{self.name} takes images of {self.phases} channels ({' or '.join(self.sequences)}); came {came}. "
                "Give it the sequence that it was trained on."
            )
        return prepare(Case("given", "", self.sequences[0], image, None), self.preprocessing)

    def probabilities_of(self, prepared: PreparedCase) -> np.ndarray:
        """Softmax probabilities (class, slice, row, column), float32, on the image's own grid."""
        return predict_probabilities(
            self.network, prepared, context=self.preprocessing.context, device=self.device, precision=self.precision
        )

    def probabilities(self, image: Volume) -> np.ndarray:
        """Both in one: from an image to the probabilities of its voxels."""
        return self.probabilities_of(self.prepared(image))


def load_model(path: Path, *, device: str = "auto") -> Model:
    """The network of a finished run, from its folder `runs/<study>/<run>`.

    A folder copied elsewhere works on its own; one of a version that did not keep the label set with the run needs its
    `study.json` beside it.

    Args:
        device: `auto` (the first GPU, else the CPU), `cpu`, `cuda` or `cuda:1`.

    Raises:
        BadData: no finished run is there, or its files are damaged or of a newer version.
        BadSpec: its network is one of the user's own that cannot be imported or built; a device that is not there.
    """
    folder = RunFolder(path)
    _check_is_run(folder)
    record = _record(folder)
    try:
        part = _network_part(record, folder)
        preprocessing = Preprocessing(**PreprocessTable.model_validate(record["spec"]["preprocess"]).model_dump())
        sequences = tuple(record["spec"]["data"]["sequences"])
        label_set = _label_set(record, folder)
        precision = record["manifest"]["precision"]
        phases = _phases(record, sequences)
        is_axial = record["spec"]["data"]["dataset"] in AXIAL_DICOM
        about = {
            "name": str(record["run"]),
            "study": str(record["study"]),
            "loss_title": str(record["loss"]),
            "network_title": part.title,
        }
        crf = _last_crf(record, folder)
        CrfTable.model_validate(crf or {})
    except ValidationError as error:
        what = error.errors()[0]
        raise _damaged(folder, f"{'.'.join(map(str, what['loc']))}: {what['msg']}") from None
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise _damaged(folder, f"a field is missing or of the wrong kind ({error!r})") from None
    if precision not in get_args(Precision):
        raise _damaged(folder, f"precision is {precision!r}, not one of {', '.join(get_args(Precision))}")
    network = _network(part, phases, preprocessing, label_set)
    load_weights(folder.weights, network)
    used = device_named(device)
    return Model(
        network=network.to(used).eval(),
        label_set=label_set,
        preprocessing=preprocessing,
        sequences=sequences,
        is_axial=is_axial,
        phases=phases,
        precision=precision,
        device=used,
        weights_hash=hashlib.sha256(folder.weights.read_bytes()).hexdigest(),
        crf=crf,
        **about,
    )


def _last_crf(record: dict[str, Any], folder: RunFolder) -> Any:
    """The [crf] that the run's cases were last decided with, which may be younger than the run; else its study's."""
    used = folder.crf.manifest
    return read_json(used)["crf"] if folder.crf.is_done and used.is_file() else record["spec"].get("crf")


def device_named(device: str) -> torch.device:
    """`auto` is the first GPU where there is one, else the CPU.

    Raises:
        BadSpec: torch knows no such device here.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
        torch.zeros(1, device=found)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise BadSpec(f"device {device!r} was wanted, but torch has none such here. Use auto, cpu or cuda:0.") from None
    return found


def check_agree(models: tuple[Model, ...]) -> None:
    """Refuses models whose probabilities cannot be averaged: of other classes, or for other sequences.

    Preprocessing, networks and losses may differ.

    Raises:
        BadSpec: they differ.
    """
    first = models[0]
    for other in models[1:]:
        if other.label_set.class_names != first.label_set.class_names:
            said = [", ".join(model.label_set.class_names[1:]) for model in (first, other)]
            raise BadSpec(
                f"models of one ensemble must find the same organs; {first.name} finds {said[0]}, {other.name} "
                f"{said[1]}. Predict with each alone."
            )
        if set(other.sequences) != set(first.sequences):
            said = [", ".join(model.sequences) for model in (first, other)]
            raise BadSpec(
                f"models of one ensemble must be trained on the same sequence; {first.name} was on {said[0]}, "
                f"{other.name} on {said[1]}. Predict with each alone."
            )


def _check_is_run(folder: RunFolder) -> None:
    path = folder.path
    if not path.exists():
        raise BadData(f"there is no {path}. Name the folder of a finished run, as runs/<study>/<run>.")
    if not path.is_dir():
        raise BadData(f"{path} is a file, not the folder of a run. Name a folder such as runs/<study>/<run>.")
    if not folder.manifest.is_file():
        if (path / "study.json").is_file():
            done = sorted(child.parent.name for child in path.glob("*/DONE"))
            said = f"name one of its finished runs: {', '.join(done)}" if done else "none of its runs is finished"
            raise BadData(f"{path} is a study, not a run; {said}. Several folders of runs make an ensemble.")
        raise BadData(
            f"{path} holds no run.json, so it is not the folder of a run. Name a folder such as runs/<study>/<run>."
        )
    if not folder.is_done:
        reason = ""
        if folder.failure.is_file():
            reason = f" It failed: {folder.failure_reason()}."
        raise BadData(
            f"the run in {path} is not finished (it has no file DONE).{reason} Run its study again, or copy it again."
        )
    if not folder.weights.is_file():
        raise BadData(f"{path} holds no {folder.weights.name}. {AGAIN}")


def _record(folder: RunFolder) -> dict[str, Any]:
    try:
        record = read_json(folder.manifest)
    except (OSError, ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise BadData(f"{folder.manifest} cannot be read as the record of a run ({reason}). {AGAIN}") from None
    if not isinstance(record, dict):
        raise BadData(f"{folder.manifest} holds a {type(record).__name__}, not the record of a run. {AGAIN}")
    if record.get("schema") != SCHEMA_VERSION:
        raise BadData(
            f"{folder.manifest}: schema {SCHEMA_VERSION} is known, came {record.get('schema')!r}. "
            "Use the version of Steelyard that wrote it."
        )
    return record


def _damaged(folder: RunFolder, reason: str) -> BadData:
    return BadData(f"{folder.manifest} cannot be used as the record of a run: {reason}. {AGAIN}")


def _network_part(record: dict[str, Any], folder: RunFolder) -> Part:
    """The grid's network of the run's title; a custom one keeps its options."""
    listed = [Part.model_validate(part) for part in record["spec"]["grid"]["network"]]
    found = next((part for part in listed if part.title == record["network"]), None)
    if found is None:
        raise _damaged(folder, f"its network {record['network']!r} is not in its spec's grid")
    return found


def _phases(record: dict[str, Any], sequences: tuple[str, ...]) -> int:
    """Channels of an image: as recorded, else one per sequence that is joined by `+`."""
    if not sequences or not all(isinstance(sequence, str) for sequence in sequences):
        raise ValueError(f"sequences {sequences!r}")
    recorded = record.get("phases")
    phases = int(recorded) if recorded is not None else len(sequences[0].split("+"))
    if not 1 <= phases <= MOST_PHASES:
        raise ValueError(f"phases {phases}")
    return phases


def _label_set(record: dict[str, Any], folder: RunFolder) -> LabelSet:
    if "label_set" in record:
        return label_set_of(record, folder.manifest)
    beside = folder.path.absolute().parent / "study.json"
    try:
        study = read_json(beside)
        organ = next(run["organ"] for run in study["runs"] if run["run"] == record["run"])
        return task_label_set(label_set_from_json(study["label_set"]), organ)
    except (OSError, ValueError, KeyError, TypeError, StopIteration):
        raise BadData(
            f"{folder.manifest} does not say which organs the run finds, and no {beside} tells. "
            "Copy study.json of its study to that place."
        ) from None


def label_set_from_json(content: Mapping[str, Any]) -> LabelSet:
    """The label set as `study.json` and `run.json` hold it.

    Raises:
        KeyError, TypeError, ValueError: a field is missing or of the wrong kind.
    """
    organs = []
    for organ in content["organs"]:
        red, green, blue = (int(value) for value in organ["colour"])
        concept = None if organ["concept"] is None else CodedConcept(**organ["concept"])
        organs.append(
            Organ(str(organ["name"]), int(organ["index"]), int(organ["source_value"]), (red, green, blue), concept)
        )
    return LabelSet(tuple(organs))


def _network(part: Part, phases: int, preprocessing: Preprocessing, label_set: LabelSet) -> nn.Module:
    """Built without starting weights of its own, which the run's replace, so that none are fetched."""
    if part.name in NETWORKS and "weights" in part.options:
        kept = {key: value for key, value in part.options.items() if key != "weights"}
        part = Part.model_validate({"name": part.name, **kept})
    return network_of(
        part,
        channels=phases * (2 * preprocessing.context + 1),
        classes=label_set.class_count,
        size=preprocessing.size,
        seed=0,
    )

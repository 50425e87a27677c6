"""`run.json` of a prediction: what was predicted by what, so that the same command can go on and readers can check."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from steelyard.errors import BadData
from steelyard.inference.inputs import InputCase
from steelyard.inference.models import Ensemble
from steelyard.inference.predict_case import Decision
from steelyard.inference.volumes import OrganVolume
from steelyard.records import prediction_record, read_object
from steelyard.runstore import write_json
from steelyard.study.manifest import cpu_name

SCHEMA = 1
KIND = "prediction"
PACKAGES = ("steelyard", "torch", "numpy", "scipy", "pydicom", "highdicom", "nibabel")


@dataclass(frozen=True)
class CaseRecord:
    """What became of one case. `place` is relative to the input; nothing here comes from DICOM headers."""

    name: str
    place: str
    sequence: str
    status: str  # done or failed
    reason: str
    input_sha256: str
    formats: tuple[str, ...]
    seconds: float
    volumes: tuple[OrganVolume, ...]

    @property
    def is_done(self) -> bool:
        return self.status == "done"


def fixed(ensemble: Ensemble, decide: Decision, *, pseudonym: str | None) -> dict[str, Any]:
    """All that decides the results of a folder, which one folder therefore has once."""
    return {
        "models": [
            {
                "name": model.name,
                "study": model.study,
                "network": model.network_title,
                "loss": model.loss_title,
                "sequences": list(model.sequences),
                "precision": model.precision,
                "weights_sha256": model.weights_hash,
            }
            for model in ensemble.models
        ],
        "organs": list(ensemble.first.label_set.class_names[1:]),
        "offsets": None if decide.offsets is None else list(decide.offsets.values),
        "crf": None if decide.crf is None else asdict(decide.crf),
        "largest_component": list(decide.largest),
        "pseudonym": pseudonym,
    }


def machine(ensemble: Ensemble) -> dict[str, Any]:
    """Versions and devices."""
    device = ensemble.first.device
    return {
        "versions": {name: version(name) for name in PACKAGES} | {"python": platform.python_version()},
        "device": cpu_name() if device.type == "cpu" else str(device),
        "platform": f"{platform.system()} {platform.machine()}",
        "command": " ".join(Path(word).name for word in sys.argv),
    }


def earlier(out: Path, wanted: Mapping[str, Any]) -> dict[str, CaseRecord]:
    """The cases that an earlier prediction left in a folder, by name; none when the folder is new or empty.

    Raises:
        BadData: the folder holds anything else, or a prediction by other models or settings.
    """
    file = out / "run.json"
    if not out.exists():
        return {}
    if not out.is_dir():
        raise BadData(f"{out} is a file. Name a new folder for the prediction.")
    if not file.is_file():
        if any(child.name != "lock" and ".tmp." not in child.name for child in out.iterdir()):
            raise BadData(f"{out} holds something else than a prediction. Name a new or empty folder.")
        return {}
    try:
        content = read_object(file, remedy="Name a new folder, or delete this one.")
        if content.get("kind") != KIND or content.get("schema") != SCHEMA:
            raise BadData(f"{file} is no record of a prediction of this version. Name a new or empty folder.")
        content = prediction_record(file)
        differ = [key for key in wanted if content.get(key) != wanted[key]]
        cases = [_case(case) for case in content["cases"]]
    except (KeyError, TypeError) as error:  # a field that this version does not know
        raise BadData(f"{file} cannot be read ({error!r}). Name a new folder, or delete this one.") from None
    if differ:
        raise BadData(
            f"{out} holds a prediction with other {', '.join(differ).replace('_', ' ')}. Name a new or empty folder."
        )
    return {case.name: case for case in cases}


def write_record(
    out: Path, about: Mapping[str, Any], cases: Iterable[CaseRecord], *, formats: tuple[str, ...], seconds: float
) -> None:
    """`run.json`, whole or not at all."""
    listed = [asdict(case) for case in sorted(cases, key=lambda case: case.name)]
    content = {"schema": SCHEMA, "kind": KIND, **about, "formats": list(formats)}
    write_json(out / "run.json", content | {"seconds": round(seconds, 1), "cases": listed})


def done_record(case: InputCase, **known: Any) -> CaseRecord:
    """Of a predicted case."""
    return CaseRecord(name=case.name, place=case.place, sequence=case.sequence, status="done", reason="", **known)


def failed_record(case: InputCase, reason: str, volumes: tuple[OrganVolume, ...]) -> CaseRecord:
    """Of a case that could not be predicted."""
    known: dict[str, Any] = {"input_sha256": "", "formats": (), "seconds": 0.0, "volumes": volumes}
    record = CaseRecord(name=case.name, place=case.place, sequence=case.sequence, status="failed", reason="", **known)
    return replace(record, reason=reason)


def _case(found: Mapping[str, Any]) -> CaseRecord:
    volumes = tuple(OrganVolume(**volume) for volume in found["volumes"])
    return CaseRecord(**{**found, "formats": tuple(found["formats"]), "volumes": volumes})

"""The models of a prediction, named by their folders, or by the card of a calibration whose network was trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steelyard.calibrate.read_card import read_card
from steelyard.errors import BadData
from steelyard.postprocess.offsets import Offsets
from steelyard.runstore import RunFolder, read_json
from steelyard.study.model import Model, check_agree, load_model
from steelyard.study.spec import Part


@dataclass(frozen=True)
class Bound:
    """The offsets by which a card's network keeps its promise, and the promise in a sentence."""

    offsets: Offsets
    promise: str


@dataclass(frozen=True)
class Ensemble:
    """Models whose probabilities are averaged; often one. `bound` is that of a card named alone.

    `unused_bounds` counts those of the cards in a larger ensemble.
    """

    models: tuple[Model, ...]
    bound: Bound | None = None
    unused_bounds: int = 0

    @property
    def first(self) -> Model:
        return self.models[0]


def load_models(paths: Sequence[Path], *, device: str = "auto") -> Ensemble:
    """Every path is a run's folder, or a card.json whose final network `steelyard train` made.

    Raises:
        BadData: what is there is not a finished run or a card with one.
        BadSpec: models that do not agree in organs and sequences; no such device.
    """
    found = [_run_folder(path) for path in paths]
    models = tuple(load_model(folder, device=device) for folder, _ in found)
    check_agree(models)
    bounds = [bound for _, bound in found]
    if len(models) > 1 or bounds[0] is None:
        return Ensemble(models, unused_bounds=sum(bound is not None for bound in bounds))
    return Ensemble(models, _bound(bounds[0], models[0], paths[0]))


def _run_folder(path: Path) -> tuple[Path, dict[str, Any] | None]:
    """The folder of the run, and the bound of the card that led to it."""
    if path.suffix != ".json":
        return path, None
    card = read_card(path)
    final = path.absolute().parent / "final"
    bound = card.get("bound")
    if isinstance(bound, dict):
        return final / str(bound.get("run")), bound
    title = Part.model_validate(card["loss"]).title
    runs = sorted(done.parent for done in final.glob("*/DONE") if _loss(done.parent) == title)
    if not runs:
        raise BadData(f"no network was trained with the loss of {path}. Do it: steelyard train {path}")
    if len(runs) > 1:
        raise BadData(
            f"{len(runs)} networks were trained with the loss of {path}: {', '.join(run.name for run in runs)} in "
            f"{final}. Name the folder of one, or of several as an ensemble."
        )
    return runs[0], None


def _loss(folder: Path) -> str | None:
    try:
        return str(read_json(RunFolder(folder).manifest)["loss"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _bound(found: dict[str, Any], model: Model, card: Path) -> Bound:
    try:
        offsets = Offsets(tuple(float(value) for value in found["offsets"]))
        promise = str(found["promise"])
    except (KeyError, TypeError, ValueError) as error:
        raise BadData(f"{card}: its bound cannot be read ({error!r}). Calibrate again.") from None
    if len(offsets.values) != model.label_set.class_count:
        raise BadData(
            f"{card}: its bound has {len(offsets.values)} offsets where the network has {model.label_set.class_count} "
            "classes. Calibrate again."
        )
    return Bound(offsets, promise)

"""One scan: the models' mean probabilities, an offset or a CRF where asked for, and the decision for every voxel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from steelyard.errors import BadSpec, Interrupted, unknown_name
from steelyard.inference.models import Ensemble
from steelyard.inference.orientation import AS_IT_IS, turn_to_axial
from steelyard.inference.volumes import Box
from steelyard.labels import LabelSet
from steelyard.postprocess.components import largest_component
from steelyard.postprocess.crf import DenseCrf
from steelyard.postprocess.offsets import Offsets
from steelyard.preprocess.resize import PlaneMap
from steelyard.study.model import Model
from steelyard.study.objects import crf_of
from steelyard.study.spec import CrfTable
from steelyard.volume import LabelMap, Volume

LARGEST_OFFSET = 80  # e⁸⁰ outweighs whatever a softmax gives, and is still a float32


@dataclass(frozen=True)
class Decision:
    """What happens between the probabilities and the label map, in this order; nothing of it when left out.

    Args:
        offsets: added to the log probabilities: above 0 finds more of an organ.
        crf: looks at the image once more.
        largest: organs of which the largest piece alone is kept.
    """

    offsets: Offsets | None = None
    crf: DenseCrf | None = None
    largest: tuple[str, ...] = ()

    def __call__(self, probabilities: np.ndarray, image: Volume, label_set: LabelSet) -> LabelMap:
        """The label map of probabilities (class, slice, row, column) on the image's grid.

        Without any part it is the most probable class, the lower index where two are equal.
        """
        rule = self.offsets or Offsets.none(label_set.class_count)
        if self.crf is not None:
            moved = probabilities * rule.weights.astype(np.float32)[:, None, None, None]
            moved /= moved.sum(0)
            probabilities = self.crf.apply(moved, image.intensities, image.geometry.spacing_mm)
            rule = Offsets.none(label_set.class_count)
        label_map = LabelMap(rule(probabilities), image.geometry, label_set)
        return largest_component(label_map, self.largest) if self.largest else label_map


@dataclass(frozen=True, eq=False)
class Predicted:
    """A label map on the scan's own grid, and the part of it (slices, rows, columns) that every network saw."""

    label_map: LabelMap
    seen: Box


def predict_scan(
    models: Sequence[Model], image: Volume, decide: Decision, *, stop: Callable[[], bool] = lambda: False
) -> Predicted:
    """From an image to organs, on the image's own grid. Several models' probabilities are averaged.

    A model that was trained on axial DICOM slices sees the image turned like them. A CRF looks at the same slices.

    Raises:
        BadData: the image does not fit the models.
        Interrupted: `stop` answered True.
    """
    total: np.ndarray | None = None
    seen = (slice(0, image.geometry.shape[0]), slice(0, image.geometry.shape[1]), slice(0, image.geometry.shape[2]))
    for model in models:
        if stop():
            raise Interrupted("stopped while predicting")
        turn = turn_to_axial(image.geometry) if model.is_axial else AS_IT_IS
        turned = turn(image)
        prepared = model.prepared(turned)
        probabilities = turn.back(model.probabilities_of(prepared))
        total = probabilities if total is None else np.add(total, probabilities, out=total)
        shape = turned.geometry.shape
        seen = _both(seen, turn.box_back((slice(0, shape[0]), *seen_of(prepared.plane)), shape))
    assert total is not None
    if len(models) > 1:
        total /= len(models)
    turn = turn_to_axial(image.geometry) if models[0].is_axial else AS_IT_IS
    decided = decide(turn.forth(total), turn(image), models[0].label_set)
    return Predicted(LabelMap(turn.back(decided.labels), image.geometry, decided.label_set), seen)


def decision_of(
    ensemble: Ensemble, *, offsets: Sequence[str], largest: Sequence[str] | None, crf: bool
) -> tuple[Decision, list[str]]:
    """The decision that a command asks for, and sentences that its reader should know.

    The offsets of a card's bound are used unless others are given. Its promise holds for them alone: a CRF, other
    offsets or a largest component void it.

    Raises:
        BadSpec: an organ or a number that does not fit.
    """
    label_set = ensemble.first.label_set
    rule, bound = parse_offsets(offsets, label_set), ensemble.bound
    kept = parse_organs(largest, label_set)
    notes = []
    if bound is not None:
        shown = ", ".join(
            f"{name} {value:+g}"
            for name, value in zip(label_set.class_names, bound.offsets.values, strict=True)
            if value
        )
        if rule is None:
            rule = bound.offsets
            notes.append(f"the card's offset is applied ({shown or 'none is needed'}). {bound.promise}")
        if rule != bound.offsets or crf or kept:
            notes.append("the card's promise holds without --offsets, --crf and --largest-component alone.")
    if ensemble.unused_bounds:
        notes.append("a card's offset and promise hold for its network alone: an ensemble uses neither.")
    solver = crf_of(CrfTable.model_validate(ensemble.first.crf or {})) if crf else None
    return Decision(rule, solver, kept), notes


def seen_of(plane: PlaneMap) -> tuple[slice, slice]:
    """The native rows and columns whose middles lie between the outermost pixels of the network's square."""
    found = []
    for count, scale, offset in zip(plane.native_shape, plane.scale, plane.offset, strict=True):
        first, last = int(np.ceil(offset - 1e-6)), int(np.floor(offset + scale * (plane.size - 1) + 1e-6))
        found.append(slice(max(first, 0), min(last, count - 1) + 1))
    return found[0], found[1]


def parse_offsets(given: Sequence[str], label_set: LabelSet) -> Offsets | None:
    """`["liver=0.3", "spleen=-0.1"]` as offsets of the log probabilities; None when nothing is given.

    Raises:
        BadSpec: an unknown organ, one named twice, or no number of at most `LARGEST_OFFSET`.
    """
    values = [0.0] * label_set.class_count
    errors, named = [], set()
    for word in given:
        name, _, number = word.partition("=")
        try:
            value = float(number)
        except ValueError:
            value = float("nan")
        if not abs(value) <= LARGEST_OFFSET:
            errors.append(
                f"--offsets wants an organ and a number from -{LARGEST_OFFSET} to {LARGEST_OFFSET}, as liver=0.3; came "
                f"{word!r}."
            )
        elif name not in label_set.class_names[1:]:
            errors.append(f"--offsets: {unknown_name('organ', name, label_set.class_names[1:])}")
        elif name in named:
            errors.append(f"--offsets names {name} twice. Name it once.")
        else:
            named.add(name)
            values[label_set.organ(name).index] = value
    if errors:
        raise BadSpec(*errors)
    return Offsets(tuple(values)) if given else None


def parse_organs(given: Sequence[str] | None, label_set: LabelSet) -> tuple[str, ...]:
    """The organs of `--largest-component`: all when none is named, none when the option is not given.

    Raises:
        BadSpec: an unknown organ.
    """
    known = label_set.class_names[1:]
    errors = [f"--largest-component: {unknown_name('organ', name, known)}" for name in given or () if name not in known]
    if errors:
        raise BadSpec(*errors)
    return () if given is None else tuple(dict.fromkeys(given)) or known


def _both(one: Box, other: Box) -> Box:
    common = [slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(one, other, strict=True)]
    return common[0], common[1], common[2]

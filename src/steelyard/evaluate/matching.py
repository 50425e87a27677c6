"""Which structure of the prediction is which organ of the reference: by the user's words, by names, or by values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from steelyard.errors import BadData, BadSpec
from steelyard.evaluate.label_sets import LabelChoice, labels_of_names, labels_of_values
from steelyard.evaluate.structures import Key, Reading, Structure, few, words
from steelyard.labels import CHAOS_MR, LabelSet

WHITE = 255
BINARY = ([{1}, {WHITE}], [{WHITE}, {1}])  # one organ, written in two manners


@dataclass(frozen=True)
class Held:
    """What one side holds.

    Attributes:
        side: `reference` or `prediction`, for messages.
        structures: those with names; or, where names are not known, every value found.
        by_value: whether its masks hold values, or are found by name only.
        described: whether a dataset.json gave the names, which then hold for values of the other side as well.
        refusal: why its names cannot be used, in a line.
    """

    side: str
    structures: tuple[Structure, ...]
    by_value: bool
    described: bool = False
    refusal: str | None = None

    @property
    def named(self) -> bool:
        return bool(self.structures) and all(structure.name for structure in self.structures)

    @property
    def keys(self) -> frozenset[Key]:
        return frozenset(structure.key for structure in self.structures)

    def called(self, name: str) -> Structure | None:
        """The structure of that name, whatever the order of its words."""
        found = [s for s in self.structures if s.name and words(s.name) == words(name)]
        if len(found) > 1:
            raise BadData(f"the {self.side} calls two things {name} ({few([s.title for s in found])}). Rename one.")
        return found[0] if found else None


@dataclass(frozen=True)
class OrganTable:
    """The organs to score, and how each side's masks are read as these. `left_out`: what else the sides name."""

    label_set: LabelSet
    reference: Reading
    prediction: Reading
    left_out: tuple[str, ...] = ()


def match(reference: Held, prediction: Held, choice: LabelChoice | None) -> OrganTable:
    """Pairs up the structures of both sides.

    With a choice, that is what counts. Else names are compared where both sides have them (words in any order, or
    equal coded concepts): every structure of the reference must have its counterpart, and what else the prediction
    holds is left out. Else values are.

    Raises:
        BadData, BadSpec: what cannot be paired, in one line.
    """
    if choice is not None:
        return _chosen(reference, prediction, choice)
    for held in (reference, prediction):
        if held.refusal:
            raise BadData(held.refusal)
    reference, prediction = _described(reference, prediction), _described(prediction, reference)
    if not reference.named and not prediction.named and reference.by_value and prediction.by_value:
        return _by_value(reference, prediction)
    reference, prediction = _guessed(reference, prediction), _guessed(prediction, reference)
    return _by_name(reference, prediction)


def _described(held: Held, other: Held) -> Held:
    """Values without names take those of the other side's dataset.json."""
    if held.named or not (held.by_value and other.described):
        return held
    names = {structure.key: structure.name for structure in other.structures}
    unknown = [structure.key for structure in held.structures if structure.key not in names]
    if unknown:
        raise BadData(
            f"the {held.side} holds {few(unknown)}, which the {other.side}'s dataset.json does not name. "
            "Say what is what with --labels."
        )
    return Held(held.side, other.structures, by_value=True, described=True)


def _guessed(held: Held, other: Held) -> Held:
    """Values without names beside names: CHAOS's are known, and where each side holds one structure it is the same."""
    if held.named:
        return held
    chaos = {organ.source_value: organ for organ in CHAOS_MR.organs}
    if held.keys and held.keys <= chaos.keys():
        known = tuple(Structure(value, organ.name, organ.concept) for value, organ in chaos.items())
        return Held(held.side, known, by_value=True)
    if len(held.structures) == len(other.structures) == 1:
        return Held(held.side, (Structure(held.structures[0].key, other.structures[0].name),), held.by_value)
    raise BadData(
        f"the {other.side} names its organs ({few([str(s.name) for s in other.structures])}), the {held.side} holds "
        f"values ({few([s.title for s in held.structures]) or 'none'}). Say which value is which with --labels."
    )


def _by_name(reference: Held, prediction: Held) -> OrganTable:
    pairs = {own.name or "": (own.key, _counterpart(own, prediction)) for own in reference.structures}
    lost = [name for name, (_, found) in pairs.items() if found is None]
    if lost:
        what = "none of the reference's names" if len(lost) == len(pairs) else f"no {few(lost)}"
        raise BadData(
            f"the prediction has {what}; it holds {few([s.title for s in prediction.structures])}, the reference "
            f"{few([s.title for s in reference.structures])}. Say which organs to score, and what is what, with "
            "--labels."
        )
    label_set = labels_of_names({name: key if isinstance(key, int) else None for name, (key, _) in pairs.items()})
    found = [structure for _, structure in pairs.values() if structure is not None]
    return OrganTable(
        label_set,
        Reading(label_set, tuple((key,) for key, _ in pairs.values())),
        Reading(label_set, tuple((structure.key,) for structure in found), _others(prediction, found)),
        tuple(str(s.name) for s in prediction.structures if s not in found),
    )


def _counterpart(own: Structure, prediction: Held) -> Structure | None:
    if own.name and (same := prediction.called(own.name)):
        return same
    code = (own.concept.scheme, own.concept.value) if own.concept else None
    coded = [s for s in prediction.structures if s.concept and (s.concept.scheme, s.concept.value) == code]
    return coded[0] if len(coded) == 1 else None


def _by_value(reference: Held, prediction: Held) -> OrganTable:
    sides = [{key for key in held.keys if isinstance(key, int)} for held in (reference, prediction)]
    label_set = _suggested(sides)
    reading = Reading.by_source_value(label_set, or_indices=True)
    return OrganTable(label_set, reading, reading)


def _suggested(sides: Sequence[set[int]]) -> LabelSet:
    greys = {organ.source_value for organ in CHAOS_MR.organs}
    indices = {organ.index for organ in CHAOS_MR.organs}
    if any(side and side <= greys for side in sides) and all(side <= greys or side <= indices for side in sides):
        return CHAOS_MR
    if list(sides) in BINARY:
        return labels_of_values({WHITE})
    if all(sides) and not sides[0] & sides[1]:
        said = " and ".join(", ".join(map(str, sorted(side))) for side in sides)
        raise BadData(
            f"reference and prediction have no value in common ({said}). Map one to the other's values with --labels."
        )
    return labels_of_values(sides[0] | sides[1])


def _chosen(reference: Held, prediction: Held, choice: LabelChoice) -> OrganTable:
    of_reference = {name: _own(reference, name, keys) for name, keys in choice.organs.items()}
    of_prediction = {name: _counterparts(prediction, name, choice) for name in choice.organs}
    for held, keys_of in ((reference, of_reference), (prediction, of_prediction)):
        owner: dict[Key, str] = {}
        for name, keys in keys_of.items():
            for key in keys:
                if owner.setdefault(key, name) != name:
                    raise BadSpec(
                        f"labels: {owner[key]} and {name} are both {key} in the {held.side}. Give each its own."
                    )
    values = {
        name: keys[0] if len(keys) == 1 and isinstance(keys[0], int) else None for name, keys in of_reference.items()
    }
    label_set = labels_of_names(values)
    readings, left_out = [], []
    for held, keys_of in ((reference, of_reference), (prediction, of_prediction)):
        used = {key for keys in keys_of.values() for key in keys}
        others = [structure for structure in held.structures if structure.key not in used] if held.named else []
        known = frozenset(structure.key for structure in others)
        background = None if choice.unlisted_is_background else known
        readings.append(Reading(label_set, tuple(keys_of.values()), background))
        left_out += [str(structure.name) for structure in others]
    return OrganTable(label_set, readings[0], readings[1], tuple(dict.fromkeys(left_out)))


def _own(held: Held, organ: str, keys: Sequence[Key]) -> tuple[Key, ...]:
    """The keys as given; names become values where the side holds values, and values names where it holds names."""
    found: list[Key] = []
    for key in keys:
        name = organ if isinstance(key, int) else key
        if isinstance(key, int) and held.by_value:
            found.append(key)
        elif (structure := held.called(name)) is not None:
            found.append(structure.key)
        else:
            holds = f"It holds {few([s.title for s in held.structures])}" if held.named else "It holds values only"
            raise BadSpec(f"labels: the {held.side} has nothing called {name}. {holds}; correct the labels.")
    return tuple(dict.fromkeys(found))


def _counterparts(prediction: Held, organ: str, choice: LabelChoice) -> tuple[Key, ...]:
    if organ in choice.prediction:
        return _own(prediction, organ, choice.prediction[organ])
    if prediction.named:
        named = prediction.called(organ)
        if named is not None:
            return (named.key,)
        if not prediction.described:
            raise BadSpec(
                f"labels: the prediction has nothing called {organ}. It holds "
                f"{few([s.title for s in prediction.structures])}; say its name there in a .toml file: [prediction] "
                f'{organ} = "…".'
            )
    return _own(prediction, organ, choice.organs[organ])


def _others(prediction: Held, used: Sequence[Structure]) -> frozenset[Key]:
    return prediction.keys - {structure.key for structure in used}

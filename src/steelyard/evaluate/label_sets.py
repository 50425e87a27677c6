"""Which value of a mask is which organ: as the user says it, or as the masks themselves suggest."""

from __future__ import annotations

from collections.abc import Iterable

from steelyard.errors import BadData, BadSpec
from steelyard.labels import CHAOS_MR, LabelSet, Organ

MOST_ORGANS = 254  # class indices are uint8, and 255 marks values that no organ owns
COLOURS = tuple(organ.colour for organ in CHAOS_MR.organs)


def parse_labels(text: str) -> LabelSet:
    """`"liver=1,spleen=2"` as a label set: names and the values that stand for them in the files.

    >>> parse_labels("liver=63,spleen=252").class_names
    ('background', 'liver', 'spleen')
    """
    organs = []
    for index, part in enumerate(text.split(","), start=1):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not (name and equals and value.isdecimal()):
            raise BadSpec(f"labels are written liver=1,spleen=2; came {part.strip()!r} in {text!r}.")
        organs.append(_organ(name, index, int(value)))
    try:
        return LabelSet(tuple(organs))
    except BadData as error:
        raise BadSpec(f"labels {text!r}: {error}") from None


def labels_of_values(values: Iterable[int]) -> LabelSet:
    """One organ `label_v` for each value v that was found in the masks, 0 aside."""
    found = sorted(set(values) - {0})
    if not found:
        raise BadData("every mask is empty, so there is nothing to compare. Name the organs with labels to go on.")
    if len(found) > MOST_ORGANS:
        raise BadData(f"the masks hold {len(found)} different values. Check that they are label maps, not images.")
    return LabelSet(tuple(_organ(f"label_{value}", index, value) for index, value in enumerate(found, start=1)))


def _organ(name: str, index: int, value: int) -> Organ:
    return Organ(name, index, value, COLOURS[(index - 1) % len(COLOURS)])

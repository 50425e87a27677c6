"""What the masks of one side hold, by value or by name, and how they are read as organs."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np

from steelyard.errors import BadData
from steelyard.labels import CodedConcept, LabelSet

Key = int | str  # a value in a label map; or the name of a file or a segment
HIGHEST_VALUE = 65535  # labels beyond 16 bits are read as an image by mistake
FEW = 8  # values or names in a message


@dataclass(frozen=True)
class Structure:
    """Something that a mask may hold: how it is found there, and what it is called if that is known."""

    key: Key
    name: str | None = None
    concept: CodedConcept | None = None

    @property
    def title(self) -> str:
        """`liver`, `5` or `5 (liver)`."""
        return str(self.key) if self.name in (None, self.key) else f"{self.key} ({self.name})"


@dataclass(frozen=True)
class Reading:
    """How the masks of one side become class indices.

    Attributes:
        keys: for each organ of the label set the values, or the names, that together are that organ.
        background: further values that count as background; None: every other value.
        or_indices: values that are class indices are taken too, where these cannot be mistaken for source values.
    """

    label_set: LabelSet
    keys: tuple[tuple[Key, ...], ...]
    background: frozenset[Key] | None = field(default_factory=frozenset)
    or_indices: bool = False

    @classmethod
    def by_source_value(cls, label_set: LabelSet, *, or_indices: bool = False) -> Reading:
        """Every organ is its source value."""
        return cls(label_set, tuple((organ.source_value,) for organ in label_set.organs), or_indices=or_indices)

    @property
    def values(self) -> dict[int, int]:
        """Class index of each value."""
        return {key: index for index, keys in enumerate(self.keys, start=1) for key in keys if isinstance(key, int)} | {
            0: 0
        }

    def classes(self, voxels: np.ndarray, found: set[int]) -> np.ndarray:
        """Class indices (uint8) of whole-numbered voxels that hold the values `found`.

        Raises:
            BadData: a value that is neither an organ's nor background; the caller says of which file.
        """
        classes = self.values
        indices = set(range(1, self.label_set.class_count))
        if self.or_indices and found - {0} and found <= indices | {0} and not indices & (classes.keys() - {0}):
            return voxels.astype(np.uint8)
        strange = [] if self.background is None else sorted(found - classes.keys() - self.background)
        if strange:
            known = ", ".join(f"{value} {self._title(value)}" for value in classes if value)
            raise BadData(f"holds {few(strange)} where 0 and {known} are known. Check the labels.")
        lookup = np.zeros(HIGHEST_VALUE + 1, np.uint8)
        for value, index in classes.items():
            lookup[value] = index
        return lookup[voxels.astype(np.uint16)]

    def _title(self, value: int) -> str:
        return self.label_set.organs[self.values[value] - 1].title


def words(name: str) -> tuple[str, ...]:
    """What a name says, whatever the order and the marks between: `kidney_right`, `Right Kidney` and `right-kidney`."""
    return tuple(sorted(re.findall(r"[^\W_]+", name.lower())))


def few(found: list[Key] | list[int] | list[str]) -> str:
    """`5, 7 and 9 more`: a list that stays one line."""
    shown = ", ".join(map(str, found[:FEW]))
    return shown + f" and {len(found) - FEW} more" * (len(found) > FEW)

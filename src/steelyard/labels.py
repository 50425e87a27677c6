"""Which organ is which number: in the files of a data set, and as a class of a network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from steelyard.errors import BadData

UNKNOWN_CLASS = 255  # marks source values that no organ owns while a mask is translated
BYTES = 256  # values that a byte can have


@dataclass(frozen=True)
class CodedConcept:
    """A term of a coding scheme, as DICOM writes it: `CodedConcept("10200004", "SCT", "Liver")`."""

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True)
class Organ:
    """One structure: its class index in tensors, its grey value in source masks, its colour on screen (RGB, 0–255)."""

    name: str
    index: int
    source_value: int
    colour: tuple[int, int, int]
    concept: CodedConcept | None = None

    @property
    def title(self) -> str:
        """The name as people write it: `right kidney`."""
        return self.name.replace("_", " ")


@dataclass(frozen=True)
class LabelSet:
    """The organs of a task, in class order from 1; class 0 is the background, source value 0."""

    organs: tuple[Organ, ...]

    def __post_init__(self) -> None:
        indices = [organ.index for organ in self.organs]
        if indices != list(range(1, len(indices) + 1)):
            raise BadData(f"class indices must run 1, 2, 3, …; came {indices}. Number the organs without gaps.")
        if len({organ.source_value for organ in self.organs} | {0}) != len(indices) + 1:
            raise BadData("two organs share a source value, or one uses 0, which is the background. Give each its own.")
        if len({organ.name for organ in self.organs}) != len(indices):
            raise BadData("two organs share a name. Give each its own.")

    @property
    def class_count(self) -> int:
        """Organs and the background."""
        return len(self.organs) + 1

    @property
    def class_names(self) -> tuple[str, ...]:
        """`("background", "liver", …)`, at their class indices."""
        return ("background", *(organ.name for organ in self.organs))

    def organ(self, name: str) -> Organ:
        """The organ of that name; a `KeyError` when there is none."""
        return {organ.name: organ for organ in self.organs}[name]

    def classes_from_source(self, source: np.ndarray) -> np.ndarray:
        """Class indices (uint8) for an array of source values; `UNKNOWN_CLASS` where no organ owns the value."""
        if source.dtype == np.uint8 and source.size > BYTES:
            return self.classes_from_source(np.arange(BYTES, dtype=np.uint8))[source]
        classes = np.full(source.shape, UNKNOWN_CLASS, np.uint8)
        classes[source == 0] = 0
        for organ in self.organs:
            classes[source == organ.source_value] = organ.index
        return classes

    def source_from_classes(self, classes: np.ndarray) -> np.ndarray:
        """The inverse of `classes_from_source`, in the smallest unsigned type that holds the values."""
        values = np.array([0, *(organ.source_value for organ in self.organs)])
        return values.astype(np.min_scalar_type(int(values.max())))[classes]


# Colours: Okabe & Ito's palette, told apart by colour-blind readers too.
# Concepts: SNOMED CT as in DICOM CID 7140 and its neighbours.
LIVER = Organ("liver", 1, 63, (213, 94, 0), CodedConcept("10200004", "SCT", "Liver"))
RIGHT_KIDNEY = Organ("right_kidney", 2, 126, (240, 228, 66), CodedConcept("9846003", "SCT", "Right kidney"))
LEFT_KIDNEY = Organ("left_kidney", 3, 189, (0, 158, 115), CodedConcept("18639004", "SCT", "Left kidney"))
SPLEEN = Organ("spleen", 4, 252, (86, 180, 233), CodedConcept("78961009", "SCT", "Spleen"))

CHAOS_MR = LabelSet((LIVER, RIGHT_KIDNEY, LEFT_KIDNEY, SPLEEN))
CHAOS_CT = LabelSet((Organ("liver", 1, 255, LIVER.colour, LIVER.concept),))

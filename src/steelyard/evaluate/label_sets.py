"""Which value or name in the masks is which organ, as the user says it: in a line, or in a TOML file."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from steelyard.errors import BadData, BadSpec, unknown_name
from steelyard.evaluate.structures import HIGHEST_VALUE, Key
from steelyard.labels import CHAOS_MR, LabelSet, Organ

MOST_ORGANS = 254  # class indices are uint8, and 255 marks values that no organ owns
COLOURS = tuple(organ.colour for organ in CHAOS_MR.organs)
TABLES = ("organs", "prediction", "unlisted")


@dataclass(frozen=True)
class LabelChoice:
    """What a user says of the labels.

    Attributes:
        organs: organ → the values or names that together are it in the reference.
        prediction: the same in the prediction, for organs that have others there.
        unlisted_is_background: whether values that nobody named count as background, or are an error.
    """

    organs: Mapping[str, tuple[Key, ...]]
    prediction: Mapping[str, tuple[Key, ...]] = field(default_factory=dict)
    unlisted_is_background: bool = False

    @classmethod
    def of(cls, label_set: LabelSet) -> LabelChoice:
        """Each organ by its source value."""
        return cls({organ.name: (organ.source_value,) for organ in label_set.organs})


def read_labels(text: str) -> LabelChoice:
    """`liver=1,spleen=2`, or the name of a TOML file: see `docs/evaluate.md`.

    Raises:
        BadSpec: what is neither, in one line.
    """
    return _of_file(Path(text)) if text.endswith(".toml") else LabelChoice.of(parse_labels(text))


def parse_labels(text: str) -> LabelSet:
    """`"liver=1,spleen=2"` as a label set: names and the values that stand for them in the files.

    >>> parse_labels("liver=63,spleen=252").class_names
    ('background', 'liver', 'spleen')
    """
    organs = []
    for index, part in enumerate(text.split(","), start=1):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not (name and equals and value.isdecimal()):
            raise BadSpec(
                f"labels are written liver=1,spleen=2, or in a .toml file; came {part.strip()!r} in {text!r}."
            )
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


def labels_of_names(values: Mapping[str, int | None]) -> LabelSet:
    """Organs in the order given, with their values in the reference where all have one of their own; CHAOS's known."""
    if not 1 <= len(values) <= MOST_ORGANS:
        raise BadData(f"1 to {MOST_ORGANS} organs can be scored at once; came {len(values)}. Name some with --labels.")
    found = [value for value in values.values() if value]
    own = found if len(set(found)) == len(values) else list(range(1, len(values) + 1))
    known = {organ.name: organ for organ in CHAOS_MR.organs}
    organs = []
    for index, (name, value) in enumerate(zip(values, own, strict=True), start=1):
        organ = _organ(name, index, value)
        like = known.get(name)
        organs.append(Organ(name, index, value, like.colour, like.concept) if like else organ)
    return LabelSet(tuple(organs))


def _of_file(file: Path) -> LabelChoice:
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadSpec(f"the label file {file} cannot be read ({error.strerror}). Check its name.") from None
    except (ValueError, RecursionError) as error:  # TOML and UTF-8 errors; the first line says where
        raise BadSpec(f"{file} is not TOML ({str(error).splitlines()[0]}). Correct it.") from None
    strange = [name for name in content if name not in TABLES]
    if strange:
        raise BadSpec(f"{file}: {unknown_name('table of a label file', strange[0], TABLES)}")
    organs = _table(file, content, "organs")
    if not organs:
        raise BadSpec(f"{file}: a label file names the reference's values, as [organs] liver = 1; came none. Add it.")
    prediction = _table(file, content, "prediction")
    for name in prediction:
        if name not in organs:
            raise BadSpec(f"{file}, [prediction]: {unknown_name('organ', name, organs)}")
    unlisted = content.get("unlisted", "error")
    if unlisted not in ("error", "background"):
        raise BadSpec(f'{file}: unlisted is "background" or "error"; came {unlisted!r}. Choose one.')
    return LabelChoice(organs, prediction, unlisted == "background")


def _table(file: Path, content: Mapping[str, Any], table: str) -> dict[str, tuple[Key, ...]]:
    rows = content.get(table, {})
    if not isinstance(rows, dict):
        raise BadSpec(f"{file}: {table} is {rows!r} where a table [{table}] is wanted. Correct it.")
    found: dict[str, tuple[Key, ...]] = {}
    for name, value in rows.items():
        keys = value if isinstance(value, list) else [value]
        for key in keys:
            if not (_is_value(key) or (isinstance(key, str) and key.strip())):
                raise BadSpec(
                    f"{file}, [{table}] {name}: {key!r} is neither a value from 1 to {HIGHEST_VALUE} nor a name. "
                    "Correct it."
                )
            if (other := next((n for n, known in found.items() if key in known), None)) is not None:
                raise BadSpec(f"{file}, [{table}]: {other} and {name} share {key!r}. Give each its own.")
        if not keys or len(set(keys)) < len(keys):
            raise BadSpec(f"{file}, [{table}] {name}: one value or name, or a list of different ones, is wanted.")
        found[name.strip()] = tuple(_named(key) if isinstance(key, str) else key for key in keys)
    return found


def _is_value(key: object) -> bool:
    return isinstance(key, int) and not isinstance(key, bool) and 1 <= key <= HIGHEST_VALUE


def _named(key: str) -> str:
    """A file's name may be given with its ending."""
    return key.strip().removesuffix(".gz").removesuffix(".nii")


def _organ(name: str, index: int, value: int) -> Organ:
    return Organ(name, index, value, COLOURS[(index - 1) % len(COLOURS)])

"""What Steelyard wrote, read again: a file edited by hand, half copied or of a newer version ends in one line."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steelyard.errors import BadData
from steelyard.labels import CodedConcept, LabelSet, Organ
from steelyard.runstore import SCHEMA_VERSION

if TYPE_CHECKING:
    import polars as pl

AGAIN = "Run the study again."
MOST_ORGANS = 254  # classes are 8-bit, and 255 stands for unknown
LARGEST_AMOUNT = 1e10  # of seconds (three centuries) or millilitres
MOST_NUMBER = 2**63 - 1  # tables hold no larger ones
STANDARD_ERROR = 2

Check = Callable[[Any], bool]


def read_object(path: Path, *, remedy: str = AGAIN) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        BadData: no file, one that cannot be read, no JSON, or JSON that is no object.
    """
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise BadData(f"{path} is not there. {remedy}", file=path) from None
    except OSError as error:
        raise BadData(f"{path} cannot be read ({error.strerror}). {remedy}", file=path) from None
    except (ValueError, RecursionError) as error:  # JSON and UTF-8 errors, or brackets without end
        raise BadData(f"{path} cannot be read as JSON ({error}). {remedy}", file=path) from None
    if not isinstance(content, dict):
        raise BadData(f"{path}: an object was wanted, came {type(content).__name__}. {remedy}", file=path)
    return content


def check_schema(content: Mapping[str, Any], path: Path) -> None:
    """Refuses a record of another version; which one was wanted and which came."""
    if content.get("schema") != SCHEMA_VERSION:
        raise BadData(
            f"{path}: schema {SCHEMA_VERSION} is known, came {content.get('schema')!r}. "
            "Use the version of Steelyard that wrote it.",
            file=path,
        )


def study_record(folder: Path) -> dict[str, Any]:
    """`study.json` of a study's folder, with what readers rely on of the right kind; the label set by its names alone.

    Raises:
        BadData: it is not there, damaged, of another schema, or lacks a field; the first such field is named.
    """
    path = folder / "study.json"
    content = read_object(path)
    check_schema(content, path)
    content.setdefault("warnings", [])
    for place, fits in STUDY.items():
        _check(content, place.split("."), fits, path, place)
    organs = [organ["name"] for organ in content["label_set"]["organs"]] if "label_set" in content else None
    for run in content["runs"]:
        if organs is not None and run.get("organ") not in (None, *organs):
            raise _wrong(path, "runs.organ", run["organ"])
    return content


def run_record(path: Path) -> dict[str, Any]:
    """`run.json` of a run, or {} where there is none yet, with what readers rely on of the right kind.

    Raises:
        BadData: it is damaged.
    """
    if not path.is_file():
        return {}
    content = read_object(path)
    content.setdefault("spec", {})
    content.setdefault("manifest", {})
    for place, fits in RUN.items():
        _check(content, place.split("."), fits, path, place)
    return content


def crf_record(path: Path) -> dict[str, Any]:
    """`run.json` of a run's decisions with a CRF.

    Raises:
        BadData: it is not there or damaged.
    """
    content = read_object(path)
    for place, fits in CRF.items():
        _check(content, place.split("."), fits, path, place)
    return content


def prediction_record(path: Path) -> dict[str, Any]:
    """`run.json` of a folder that `predict` wrote.

    Raises:
        BadData: it is not there or damaged.
    """
    remedy = "Predict into a new folder."
    content = read_object(path, remedy=remedy)
    for place, fits in PREDICTION.items():
        _check(content, place.split("."), fits, path, place, remedy)
    return content


def label_set_of(content: Mapping[str, Any], path: Path) -> LabelSet:
    """The label set in `study.json` or `run.json`.

    Raises:
        BadData: a field is missing or of the wrong kind, or the organs are no label set.
    """
    try:
        organs = [_organ(organ) for organ in content["label_set"]["organs"]]
        if not 1 <= len(organs) <= MOST_ORGANS:
            raise ValueError(f"{len(organs)} organs")
        return LabelSet(tuple(organs))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise BadData(
            f"{path}: label_set: a field is missing or of the wrong kind ({error!r}). {AGAIN}", file=path
        ) from None
    except BadData as error:
        raise BadData(f"{path}: label_set: {error}", file=path) from None


def read_table(path: Path, columns: Mapping[str, type[pl.DataType]] | None = None, *, remedy: str = AGAIN) -> Any:
    """A Parquet table; with `columns` these alone, as these kinds.

    Raises:
        BadData: the file is missing or damaged, or lacks a column of that kind.
    """
    import polars as pl

    try:
        with _silent():
            frame = pl.read_parquet(path, glob=False)
        return frame if columns is None else frame.select(pl.col(name).cast(kind) for name, kind in columns.items())
    except (OSError, pl.exceptions.PolarsError, ValueError) as error:
        first_line = next(iter(str(error).splitlines()), type(error).__name__)
        raise BadData(f"{path}: cannot be read as a table ({first_line}). {remedy}", file=path) from None
    except pl.exceptions.PanicException:  # no Exception: polars gives up where damaged bytes contradict each other
        raise BadData(f"{path}: cannot be read as a table (it is damaged). {remedy}", file=path) from None


def is_plain_name(value: object) -> bool:
    """Whether it names a file or folder and nothing above, below or beside it."""
    return isinstance(value, str) and value not in ("", ".", "..") and value.isprintable() and "/" not in value


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value.isprintable()


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_NUMBER


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MOST_NUMBER


def _is_amount(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LARGEST_AMOUNT


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


def _is_object_or_none(value: object) -> bool:
    return value is None or isinstance(value, dict)


def _is_list(value: object) -> bool:
    return isinstance(value, list)


SPEC: dict[str, Check] = {  # of a name with ? that it may be left out, of * that it stands for every item of a list
    "spec": _is_object,
    "spec.data?": _is_object,
    "spec.preprocess?": _is_object,
    "spec.folds?": _is_object,
    "spec.train?": _is_object,
    "spec.train?.epochs?": _is_count,
    "spec.grid?": _is_object,
    "spec.compare?": _is_object_or_none,
    "spec.crf?": _is_object_or_none,
    "spec.calibrate?": _is_object_or_none,
}
RUN: Mapping[str, Check] = SPEC | {
    "manifest": _is_object,
    "manifest.seconds?": _is_amount,
    "manifest.training_seconds?": _is_amount,
    "manifest.split?": _is_object,
    "manifest.split?.train?": _is_list,
    "manifest.split?.train?.*": _is_text,
    "manifest.split?.test?": _is_list,
    "manifest.split?.test?.*": _is_text,
}
CRF: Mapping[str, Check] = {
    "crf": _is_object,
    "backend": _is_text,
    "cases": _is_list,
    "cases.*": _is_object,
    "cases.*.voxels": lambda value: _is_count(value) and value > 0,
    "cases.*.voxels_changed": _is_count,
    "cases.*.voxels_unlike_the_runs_own": _is_count,
    "cases.*.seconds": _is_amount,
}
PREDICTION: Mapping[str, Check] = {
    "organs": _is_list,
    "organs.*": is_plain_name,
    "models": _is_list,
    "models.*": _is_object,
    "models.*.loss": _is_text,
    "cases": _is_list,
    "cases.*": _is_object,
    "cases.*.name": is_plain_name,
    "cases.*.place": lambda value: isinstance(value, str),
    "cases.*.sequence?": _is_text,
    "cases.*.status": lambda value: value in ("done", "failed"),
    "cases.*.reason?": lambda value: isinstance(value, str),
    "cases.*.input_sha256?": _is_text,
    "cases.*.formats?": _is_list,
    "cases.*.formats?.*": _is_text,
    "cases.*.seconds?": _is_amount,
    "cases.*.volumes?": _is_list,
    "cases.*.volumes?.*": _is_object,
    "cases.*.volumes?.*.organ": _is_text,
    "cases.*.volumes?.*.ml": lambda value: value is None or _is_amount(value),
    "cases.*.volumes?.*.voxels": lambda value: value is None or _is_count(value),
    "cases.*.volumes?.*.flag": _is_text,
}
STUDY: Mapping[str, Check] = SPEC | {
    "name": _is_text,
    "label_set?": _is_object,
    "label_set?.organs": _is_list,
    "label_set?.organs.*.name": is_plain_name,
    "runs": _is_list,
    "runs.*.run": is_plain_name,
    "runs.*.network": _is_text,
    "runs.*.loss": _is_text,
    "runs.*.task": _is_text,
    "runs.*.fold": _is_count,
    "runs.*.seed": _is_number,
    "runs.*.organ?": lambda value: value is None or _is_text(value),
    "runs.*.epochs?": _is_count,
    "warnings": _is_list,
    "warnings.*": lambda value: isinstance(value, str),
}


def _check(node: Any, place: list[str], fits: Check, path: Path, told: str, remedy: str = AGAIN) -> None:
    if not place:
        if not fits(node):
            raise _wrong(path, told, node, remedy)
    elif place[0] == "*":
        for item in node:
            _check(item, place[1:], fits, path, told, remedy)
    elif not isinstance(node, dict):
        raise _wrong(path, told, node, remedy)
    else:
        name = place[0].removesuffix("?")
        if name in node:
            _check(node[name], place[1:], fits, path, told, remedy)
        elif name == place[0]:
            raise BadData(f"{path}: a field is missing: {_plain(told)}. {remedy}", file=path)


def _wrong(path: Path, place: str, value: object, remedy: str = AGAIN) -> BadData:
    return BadData(f"{path}: {_plain(place)} is of the wrong kind; came {_short(value)}. {remedy}", file=path)


def _plain(place: str) -> str:
    return place.replace(".*", "").replace("?", "")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


def _organ(organ: Mapping[str, Any]) -> Organ:
    red, green, blue = organ["colour"]
    if not all(_is_count(part) and part <= 255 for part in (red, green, blue)):
        raise ValueError(f"colour {_short(organ['colour'])}")
    if not (is_plain_name(organ["name"]) and _is_count(organ["source_value"])):
        raise ValueError(_short(organ))
    concept = organ.get("concept")
    coded = None if concept is None else CodedConcept(**{key: str(value) for key, value in concept.items()})
    return Organ(organ["name"], organ["index"], organ["source_value"], (red, green, blue), coded)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Without what compiled code writes on the error stream before it gives up; it knows nothing of `sys.stderr`."""
    try:
        kept = os.dup(STANDARD_ERROR)
    except OSError:  # there is no error stream
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, STANDARD_ERROR)
    try:
        yield
    finally:
        os.dup2(kept, STANDARD_ERROR)
        os.close(kept)
        os.close(nowhere)

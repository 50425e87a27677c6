"""The cases of a study: prepared for its networks, and kept on their own grid for pictures and viewers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from rich.console import Console

from steelyard.datasets import CaseKey
from steelyard.errors import Interrupted
from steelyard.io.nifti import write_label_map, write_volume
from steelyard.preprocess.cache import PreparedCase, prepare_cached
from steelyard.runstore import read_json, write_json
from steelyard.study.manifest import core_count
from steelyard.study.objects import preprocessing_of
from steelyard.study.plan import Plan, Run
from steelyard.study.reading import fill_cache, read_labelled
from steelyard.volume import Volume

Cases = Mapping[CaseKey, PreparedCase]
Stop = Callable[[], bool]


def prepare_cases(plan: Plan, runs: Iterable[Run], *, console: Console, stop: Stop) -> Cases:
    """Every case of those runs on the network's grid, from the cache where it is there."""
    preprocessing = preprocessing_of(plan.spec)
    needed = sorted({key for run in runs for key in run.fold.train + run.fold.test})
    folder = cache_folder(plan)
    cases = {}
    with console.status("reading cases") if console.is_terminal else contextlib.nullcontext():
        fill_cache(
            folder,
            plan.dataset,
            [(key, plan.data_hashes[key]) for key in needed],
            preprocessing,
            processes=core_count(),
            while_waiting=lambda: stop_if_asked(stop, "while reading cases"),
        )
        for key in needed:
            stop_if_asked(stop, "while reading cases")
            cases[key] = prepare_cached(
                folder,
                key.case_id,
                plan.data_hashes[key],
                preprocessing,
                lambda key=key: read_labelled(plan.dataset, key)[0],  # type: ignore[misc]
            )
    return cases


def cache_folder(plan: Plan) -> Path:
    """Where prepared cases lie, for all studies with one output folder."""
    return plan.folder.parent / "cache"


def keep_cases(plan: Plan, *, stop: Stop) -> None:
    """Image (first channel) and reference of every held-out case, for pictures and viewers; anew when data change."""
    for key in sorted({key for run in plan.runs for key in run.fold.test}):
        folder = plan.folder / "cases" / key.case_id
        source = {"data_hash": plan.data_hashes[key]}
        if _source(folder) == source:
            continue
        stop_if_asked(stop, "while keeping cases")
        case, reference = read_labelled(plan.dataset, key)
        intensities = case.image.intensities
        first = intensities if intensities.ndim == 3 else intensities[0]
        (folder / "source.json").unlink(missing_ok=True)
        write_volume(folder / "image.nii.gz", Volume(first, case.image.geometry))
        write_label_map(folder / "reference.nii.gz", reference)
        write_json(folder / "source.json", source)


def _source(folder: Path) -> object:
    """Of what a kept case was made; None where it is not whole or does not say."""
    try:
        return read_json(folder / "source.json")
    except (OSError, ValueError):
        return None


def stop_if_asked(stop: Stop, when: str) -> None:
    """Raises Interrupted when `stop` answers True."""
    if stop():
        raise Interrupted(f"stopped {when}")

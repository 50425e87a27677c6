"""Cases read and prepared by several processes, so that a study finds them in its cache."""

from __future__ import annotations

import contextlib
import pickle
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import current_process, get_all_start_methods, get_context
from pathlib import Path

from steelyard.datasets import CaseKey, Dataset
from steelyard.errors import BadData, SteelyardError
from steelyard.preprocess.cache import Preprocessing, is_cached, keep_prepared
from steelyard.volume import Case, LabelMap

FEWEST = 8  # cases that are worth starting processes for: these take a second to import what reads
MOST_PROCESSES = 4  # each takes the memory of a few volumes
SECONDS_BETWEEN_LOOKS = 0.2


def fill_cache(
    folder: Path,
    dataset: Dataset,
    hashes: Sequence[tuple[CaseKey, str]],
    preprocessing: Preprocessing,
    *,
    processes: int,
    while_waiting: Callable[[], None],
) -> None:
    """Prepare the cases that the cache lacks, in several processes where that pays.

    Nothing is promised: a case that cannot be read, or a data set that cannot be sent to another process, is left to
    the caller, who meets the error in its place.

    Args:
        hashes: the cases, each with the hash of its data.
        while_waiting: called now and then; what it raises ends the work.
    """
    missing = [(key, data) for key, data in hashes if not is_cached(folder, key.case_id, data, preprocessing)]
    workers = min(processes, MOST_PROCESSES, len(missing))
    if workers < 2 or len(missing) < FEWEST or current_process().daemon or not _can_be_sent(dataset):
        return
    start = (
        "forkserver" if "forkserver" in get_all_start_methods() else "spawn"
    )  # no fork: torch and polars hold threads
    context = get_context(start)
    if start == "forkserver":
        context.set_forkserver_preload([__name__])
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_leave_interrupts_to_the_parent)
    try:
        left = {pool.submit(keep, folder, dataset, key, data, preprocessing) for key, data in missing}
        while left:
            while_waiting()
            done, left = wait(left, timeout=SECONDS_BETWEEN_LOOKS, return_when=FIRST_EXCEPTION)
            if any(future.exception() is not None for future in done):
                return  # no worker lives any more, for want of memory perhaps
    except BrokenProcessPool:
        return
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def keep(folder: Path, dataset: Dataset, key: CaseKey, data_hash: str, preprocessing: Preprocessing) -> None:
    """Prepare one case and keep it in the cache; one that cannot be read is left."""
    with contextlib.suppress(SteelyardError):
        keep_prepared(folder, key.case_id, data_hash, preprocessing, lambda: read_labelled(dataset, key)[0])


def read_labelled(dataset: Dataset, key: CaseKey) -> tuple[Case, LabelMap]:
    """The case and its reference; `BadData` where there is none."""
    case = dataset.read(key)
    if case.reference is None:
        raise BadData(
            f"case {key.case_id}: a reference is needed to train and score; there is none. Leave the case out."
        )
    return case, case.reference


def _can_be_sent(dataset: Dataset) -> bool:
    try:
        pickle.dumps(dataset)
    except Exception:  # whatever the data set's own parts raise
        return False
    return True


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)

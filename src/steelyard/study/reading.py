"""Cases read and prepared by several processes, so that a study finds them in its cache."""

from __future__ import annotations

import contextlib
import pickle
import signal
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, wait
from multiprocessing import current_process, get_all_start_methods, get_context
from multiprocessing.context import BaseContext
from pathlib import Path

from steelyard.datasets import CaseKey, Dataset
from steelyard.errors import BadData, SteelyardError
from steelyard.preprocess.cache import Preprocessing, is_cached, keep_prepared
from steelyard.volume import Case, LabelMap

FEWEST = 8  # cases that are worth starting processes for: these take a second or two to import what reads
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
    """Prepare the cases that the cache lacks, in several processes where that pays; this one is one of them.

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
    queue = deque(missing)

    def next_case() -> tuple[CaseKey, str] | None:
        try:
            return queue.popleft()
        except IndexError:
            return None

    def hand_over() -> None:
        while case := next_case():
            pool.submit(keep, folder, dataset, *case, preprocessing).result()

    with (
        ProcessPoolExecutor(workers - 1, mp_context=_context(), initializer=_leave_interrupts_to_the_parent) as pool,
        ThreadPoolExecutor(workers - 1) as threads,
    ):
        try:
            others = {threads.submit(hand_over) for _ in range(workers - 1)}  # these wait for the processes to start
            while_waiting()
            while case := next_case():
                keep(folder, dataset, *case, preprocessing)
                while_waiting()
            while wait(others, timeout=SECONDS_BETWEEN_LOOKS).not_done:
                while_waiting()
        finally:
            queue.clear()


def _context() -> BaseContext:
    """No fork: torch and polars hold threads."""
    if "forkserver" not in get_all_start_methods():
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


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

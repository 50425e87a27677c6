"""Several processes fill the cache with what one would make, and leave what goes wrong to the caller."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from phantoms import write_chaos_patient
from steelyard.datasets.chaos import ChaosDataset
from steelyard.errors import Interrupted
from steelyard.preprocess.cache import Preprocessing, is_cached, prepare, prepare_cached
from steelyard.study import reading
from steelyard.study.reading import fill_cache

SQUARE = Preprocessing(size=16)
KEEP = reading.keep


@pytest.fixture(scope="module")
def chaos(tmp_path_factory):
    """Two patients, six cases; the last one's masks are of another size than its images."""
    root = tmp_path_factory.mktemp("chaos")
    for number in (1, 2):
        write_chaos_patient(root / "MR", number)
    dataset = ChaosDataset(root)
    keys = dataset.keys(dataset.sequences)
    next((root / "MR" / "2" / "T2SPIR" / "Ground").iterdir()).unlink()
    return dataset, [(key, f"{place:012d}") for place, key in enumerate(keys)]


@pytest.fixture(autouse=True)
def _few_are_enough(monkeypatch):
    monkeypatch.setattr(reading, "FEWEST", 2)


def never_stop() -> None:
    pass


def cached(folder, hashes):
    return [is_cached(folder, key.case_id, data, SQUARE) for key, data in hashes]


def test_two_processes_keep_what_one_prepares_and_leave_the_broken_case(chaos, tmp_path):
    dataset, hashes = chaos
    fill_cache(tmp_path, dataset, hashes, SQUARE, processes=2, while_waiting=never_stop)
    assert cached(tmp_path, hashes) == [True] * 5 + [False]
    for key, data in hashes[:-1]:
        kept = prepare_cached(tmp_path, key.case_id, data, SQUARE, lambda: pytest.fail("read again"))
        here = prepare(dataset.read(key), SQUARE)
        np.testing.assert_array_equal(kept.images, here.images)
        np.testing.assert_array_equal(kept.labels, here.labels)
        assert (kept.case_id, kept.patient_id, kept.sequence, kept.plane) == (
            key.case_id, key.patient_id, key.sequence, here.plane,
        )  # fmt: skip


def test_who_is_asked_to_stop_waits_for_no_case_that_has_not_begun(chaos, tmp_path):
    def stop():
        raise Interrupted("stopped")

    with pytest.raises(Interrupted):
        fill_cache(tmp_path, *chaos, SQUARE, processes=2, while_waiting=stop)
    assert not all(cached(tmp_path, chaos[1][:-1]))


@pytest.mark.parametrize("why", ["one process", "few cases", "a data set that cannot be sent"])
def test_no_process_is_started_where_none_helps(chaos, tmp_path, monkeypatch, why):
    dataset, hashes = chaos
    monkeypatch.setattr(reading, "ProcessPoolExecutor", lambda *_, **__: pytest.fail("started"))
    if why == "few cases":
        monkeypatch.setattr(reading, "FEWEST", 7)
    if why == "a data set that cannot be sent":
        dataset = ChaosDataset(dataset._folder.parent)
        dataset.note = lambda: None
    fill_cache(
        tmp_path, dataset, hashes, SQUARE, processes=1 if why == "one process" else 2, while_waiting=never_stop
    )  # fmt: skip
    assert not any(cached(tmp_path, hashes))


def test_what_lies_in_the_cache_is_not_prepared_again(chaos, tmp_path, monkeypatch):
    dataset, hashes = chaos
    for key, data in hashes[:-1]:
        prepare_cached(tmp_path, key.case_id, data, SQUARE, lambda key=key: dataset.read(key))
    monkeypatch.setattr(reading, "ProcessPoolExecutor", lambda *_, **__: pytest.fail("started"))
    fill_cache(tmp_path, dataset, hashes, SQUARE, processes=2, while_waiting=never_stop)


def test_a_killed_process_leaves_the_rest_to_this_one(chaos, tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "keep", die_elsewhere)
    fill_cache(tmp_path, *chaos, SQUARE, processes=2, while_waiting=never_stop)
    assert cached(tmp_path, chaos[1]).count(True) in (4, 5)  # the worker had one case, the broken one perhaps


def test_this_process_works_along_while_the_others_start(chaos, tmp_path, monkeypatch):
    here, started = [], threading.Event()
    monkeypatch.setattr(reading, "ProcessPoolExecutor", lambda *_, **__: SlowToStart(started))

    def keep_here(folder, dataset, key, data, preprocessing):
        here.append(key)
        if len(here) == 2:
            started.set()

    monkeypatch.setattr(reading, "keep", keep_here)
    fill_cache(tmp_path, *chaos, SQUARE, processes=2, while_waiting=never_stop)
    assert sorted(here) == sorted(key for key, _ in chaos[1])  # each once, none of them waited for


class SlowToStart(ThreadPoolExecutor):
    """Processes that start when this one has prepared two cases; what they are given is done in this one."""

    def __init__(self, started: threading.Event) -> None:
        super().__init__(1)
        self.started = started

    def submit(self, *arguments, **named):
        assert self.started.wait(20)
        return super().submit(*arguments, **named)


def die_elsewhere(*given):
    import os
    from multiprocessing import parent_process

    if parent_process() is not None:
        os._exit(9)
    KEEP(*given)

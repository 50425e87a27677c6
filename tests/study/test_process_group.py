"""Processes beside this one: waited for while they live, told apart when they die, and never left over."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import torch

from steelyard.errors import Interrupted
from steelyard.study.process_group import fault_behind, started, threads_shared


def never() -> bool:
    return False


def test_a_process_that_dies_on_its_way_is_not_waited_for() -> None:
    begun = time.monotonic()
    work = b"0" * 1_000_000  # more than a pipe holds: it ends while it is written to
    command = "import sys; sys.exit('well\\nno luck today')"
    with (
        pytest.raises(RuntimeError, match=r"^process 2: no luck today$"),
        started(command, work, processes=2, stop=never),
    ):
        pytest.fail("it never came")
    assert time.monotonic() - begun < 100


def test_a_stop_is_obeyed_while_processes_start_and_leaves_none_behind(tmp_path: Path) -> None:
    note = f"import os, pathlib, sys, time; pathlib.Path({str(tmp_path)!r}, sys.argv[1]).write_text(str(os.getpid()))"

    def all_have_begun() -> bool:
        return len([file for file in tmp_path.iterdir() if file.read_text()]) == 2

    with (
        pytest.raises(Interrupted, match="stopped before the first step"),
        started(note + "; time.sleep(60)", b"", processes=3, stop=all_have_begun),
    ):
        pytest.fail("they never came")
    for file in tmp_path.iterdir():
        assert not Path("/proc", file.read_text()).exists()


def test_only_a_lost_process_has_another_ones_fault_behind_it() -> None:
    assert fault_behind(RuntimeError("no memory left"), []) is None
    assert fault_behind(RuntimeError("Connection closed by peer [127.0.0.1]:4711"), []) is None  # nobody said anything


def test_threads_are_shared_out_and_given_back() -> None:
    before, variables = torch.get_num_threads(), dict(os.environ)
    try:
        torch.set_num_threads(7)
        with threads_shared(3):
            assert torch.get_num_threads() == 2
            assert os.environ["OMP_NUM_THREADS"] == "2"
        assert torch.get_num_threads() == 7
        with threads_shared(8):
            assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
    assert dict(os.environ) == variables

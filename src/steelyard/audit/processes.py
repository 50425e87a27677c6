"""Processes: do two processes that share a batch take the step that one would take on the whole of it?"""

from __future__ import annotations

import dataclasses
import io
import os
import pickle
import sys
import time

import torch
from torch import Tensor, distributed
from torch.distributed import PrefixStore  # type: ignore[attr-defined]

from steelyard.audit.finding import Finding
from steelyard.audit.named import reason
from steelyard.audit.scene import unsure
from steelyard.audit.scope import batch_of_unlike_slices
from steelyard.audit.subject import Subject
from steelyard.study.process_group import meet, one_line, started, threads_shared

CHECK = "two processes"
WANTED = "averaged over two processes, the gradient of one"
FOLLOW = "from steelyard.audit.processes import follow; follow()"
PROCESSES = 2
APART = 1e-3  # of the gradient's norm; float32 sums in another order differ by less
SECONDS = 120.0  # for both to answer
SECONDS_BETWEEN_LOOKS = 0.05
CANNOT_BE_SENT = (pickle.PicklingError, AttributeError, TypeError, RuntimeError)


def two_processes(subject: Subject) -> Finding:
    """Each process has half of the batch; DistributedDataParallel averages what they find.

    The processes are real: two interpreters that meet on this machine by gloo, so that a loss that adds its counts over
    processes can do so.
    """
    subject = dataclasses.replace(subject, device="cpu")  # gloo
    try:
        work = pickle.dumps(subject)
    except CANNOT_BE_SENT as error:
        return Finding(
            CHECK,
            "not offered",
            f"it cannot be sent to another process: {one_line(error)}",
            WANTED,
            "Define the loss in a module or a file, and name it there.",
        )
    try:
        shares = _gradients(work)
    except (RuntimeError, TimeoutError) as error:
        return Finding(CHECK, "not offered", f"the other processes failed: {reason(error)}", WANTED)
    whole = gradient_of_rows(subject, slice(None))
    averaged = torch.cat(shares) / PROCESSES
    apart = float((averaged - whole).norm() / whole.norm().clamp(min=1e-30))
    passed = apart <= APART
    return Finding(
        CHECK,
        "pass" if passed else "fail",
        f"{apart:.2%} apart",
        WANTED,
        ""
        if passed
        else "Under DistributedDataParallel each process takes the loss of its own share, and the mean of those is not "
        "the loss of the batch: more devices, another loss. Take each slice alone, or add counts over the processes.",
        {"apart": apart},
    )


def gradient_of_rows(subject: Subject, rows: slice) -> Tensor:
    """The gradient with respect to what these samples of the common batch were predicted to be."""
    labels = batch_of_unlike_slices(subject)
    given = subject.as_input(unsure(labels, subject.classes, seed=10, lean=3.0))[rows].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(subject.call(given, labels[rows]), given)
    return gradient


def follow() -> None:
    """What each of the two processes does; `two_processes` starts them."""
    try:
        subject = pickle.load(sys.stdin.buffer)
        number, processes, store = meet()
        own = number - 1  # process 0 only waits
        group = PrefixStore("group", store)
        distributed.init_process_group("gloo", store=group, rank=own, world_size=processes - 1)
        half = len(batch_of_unlike_slices(subject)) // PROCESSES
        gradient = gradient_of_rows(subject, slice(own * half, (own + 1) * half))
        told = io.BytesIO()
        torch.save(gradient, told)
        store.set(_answer(own), told.getvalue())  # type: ignore[arg-type]
        distributed.destroy_process_group()
    except Exception as error:
        print(one_line(error), file=sys.stderr, flush=True)
        os._exit(1)


def _gradients(work: bytes) -> list[Tensor]:
    with (
        threads_shared(PROCESSES),
        started(FOLLOW, work, processes=PROCESSES + 1, stop=lambda: False) as (others, store),
    ):
        until = time.monotonic() + SECONDS
        answers = [_answer(number) for number in range(PROCESSES)]
        while not store.check(answers):
            for other in others:
                if other.fault is not None:
                    raise RuntimeError(other.fault)
            if time.monotonic() > until:
                raise TimeoutError(f"no answer in {SECONDS:g} s")
            time.sleep(SECONDS_BETWEEN_LOOKS)
        return [torch.load(io.BytesIO(store.get(answer)), weights_only=True) for answer in answers]


def _answer(number: int) -> str:
    return f"audit/{number}"

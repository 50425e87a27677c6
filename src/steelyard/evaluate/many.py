"""All cases of two folders, several at a time; one that cannot be scored leaves a line and does not stop the others."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_all_start_methods, get_context
from typing import Any, TypeVar

from steelyard.errors import BadData, SteelyardError
from steelyard.evaluate.case import OF_STUDIES, CaseEvaluation, ConventionName, evaluate_case
from steelyard.evaluate.label_sets import LabelChoice
from steelyard.evaluate.matching import OrganTable
from steelyard.evaluate.paths import Found, PathPair, look, match_sides, pairs_of
from steelyard.evaluate.places import Mask
from steelyard.evaluate.structures import Structure
from steelyard.evaluate.why import Explanation, explain_case

T = TypeVar("T")
START = "forkserver" if "forkserver" in get_all_start_methods() else "spawn"
Progress = Callable[[str, int, int], None]  # what is being done, done so far, of how many


@dataclass(frozen=True)
class Evaluated:
    """What came of it: scored cases in the order of their names, why the others were not, and the labels used.

    Attributes:
        explanations: for each scored case where asked for.
        failures: case → one line.
        without_prediction, without_reference: cases that one side lacks.
    """

    cases: tuple[CaseEvaluation, ...]
    explanations: tuple[Explanation, ...]
    failures: dict[str, str]
    without_prediction: tuple[str, ...]
    without_reference: tuple[str, ...]
    table: OrganTable


def evaluate_many(
    found: Found,
    choice: LabelChoice | None,
    *,
    conventions: Sequence[ConventionName] = OF_STUDIES,
    why: bool = False,
    workers: int = 1,
    progress: Progress = lambda what, done, count: None,
) -> Evaluated:
    """Scores every case of `found`, with `workers` processes; the result does not depend on their number.

    Args:
        choice: what the user says of the labels; None to go by names and values.
        why: explain, too, how the conventions of surface distances differ.

    Raises:
        BadData, BadSpec: labels that do not fit; not one case that could be looked at.
        SteelyardError: a process was killed.
    """
    workers = min(workers, len(found.masks))
    with _runner(workers) as run:
        looks = run(_look, [(case, choice is None) for case in found.masks], lambda n: progress("reading labels", *n))
        failures = {case[0]: said for case, said in zip(found.masks, looks, strict=True) if isinstance(said, str)}
        held = {case[0]: said for case, said in zip(found.masks, looks, strict=True) if not isinstance(said, str)}
        if not held:
            raise BadData(next(iter(failures.values())))
        table = match_sides(found, choice, held)
        pairs = [pair for pair in pairs_of(found, table) if pair.case_id in held]
        tasks = [(pair, tuple(conventions), why) for pair in pairs]
        results = run(_evaluate, tasks, lambda n: progress("scoring", *n))
    failures |= {pair.case_id: said for pair, said in zip(pairs, results, strict=True) if isinstance(said, str)}
    done = [said for said in results if not isinstance(said, str)]
    return Evaluated(
        tuple(evaluation for evaluation, _ in done),
        tuple(explanation for _, explanation in done if explanation is not None),
        {case[0]: failures[case[0]] for case in found.masks if case[0] in failures},
        found.without_prediction,
        found.without_reference,
        table,
    )


def _look(case: tuple[str, Mask, Mask], values: bool) -> tuple[tuple[Structure, ...], ...] | str:
    name, *masks = case
    try:
        return tuple(look(mask, values=values) for mask in masks)
    except SteelyardError as error:
        return _one_line(error, name)


def _evaluate(
    pair: PathPair, conventions: tuple[ConventionName, ...], why: bool
) -> tuple[CaseEvaluation, Explanation | None] | str:
    try:
        masks = pair.read()
        evaluation = evaluate_case(*masks, case_id=pair.case_id, patient_id=pair.case_id, conventions=conventions)
        return evaluation, explain_case(*masks, case_id=pair.case_id) if why else None
    except SteelyardError as error:
        return _one_line(error, pair.case_id)


def _one_line(error: SteelyardError, case_id: str) -> str:
    text = " ".join(str(error).split())
    return text if text.startswith(f"case {case_id}:") else f"case {case_id}: {text}"


Run = Callable[[Callable[..., Any], Sequence[tuple[Any, ...]], Callable[[tuple[int, int]], None]], list[Any]]


@contextmanager
def _runner(workers: int) -> Iterator[Run]:
    """A function that calls another with each of many arguments, in this process or in several, in order."""
    if workers <= 1:

        def here(function: Callable[..., T], tasks: Sequence[tuple[Any, ...]], tick: Any) -> list[T]:
            results = []
            for task in tasks:
                results.append(function(*task))
                tick((len(results), len(tasks)))
            return results

        yield here
        return
    # No plain fork, which may hang where polars has started threads; a server that imports once, and forks before any.
    context = get_context(START)
    if START == "forkserver":
        context.set_forkserver_preload([__name__])
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_leave_interrupts_to_the_parent)

    def there(function: Callable[..., T], tasks: Sequence[tuple[Any, ...]], tick: Any) -> list[T]:
        futures: list[Future[T]] = [pool.submit(function, *task) for task in tasks]
        results = []
        for future in futures:
            results.append(future.result())
            tick((len(results), len(tasks)))
        return results

    try:
        yield there
    except BrokenProcessPool:
        raise SteelyardError("a scoring process was killed, often for want of memory. Try --workers 1.") from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)

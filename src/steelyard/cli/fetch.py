"""The verb that fetches a published data set."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from steelyard.cli.app import console
from steelyard.errors import BadSpec, SteelyardError

LINES = 10  # of progress where nobody watches a bar


def fetch_data(
    dataset: Literal["chaos"], folder: Path, *, yes: Annotated[bool, Parameter(negative=())] = False
) -> None:
    """Fetch a published data set: shows its licence, asks, downloads, checks, unpacks. The same command resumes.

    Parameters
    ----------
    dataset
        Which one; chaos is the training set of CHAOS, 20 MR and 20 CT patients, 0.9 GB to download.
    folder
        Where it shall lie; Train_Sets appears in it.
    yes
        Accept the licence without being asked, for scripts.
    """
    from steelyard.datasets import DATASETS
    from steelyard.datasets.fetch import CHAOS, fetch, is_fetched
    from steelyard.datasets.integrity import check
    from steelyard.report.data_check import counted

    archive = CHAOS
    if is_fetched(archive, folder):
        _say(f"{folder / archive.folder} is there already: nothing was fetched.")
        _say(f"  steelyard data check {folder}   says what is in it")
        return
    if not yes and not sys.stdin.isatty():
        raise BadSpec(f"{dataset} has a licence that must be accepted, and nobody is here to ask: add --yes.")
    _say(f"{archive.title}\n{archive.licence}")
    if not yes:
        _ask(f"Fetch {(archive.file.size_bytes or 0) / 1e6:.0f} MB from {archive.file.url} to {folder}? [y/N] ")
    with _progress() as progress:
        fetch(archive, folder, progress=progress, notice=_say)
    _say(f"fetched: {folder / archive.folder}")
    findings = check(DATASETS[dataset](folder))
    _say(f"MR: {counted(findings)}. All of it: steelyard data check {folder}")
    _say(f"next: export STEELYARD_DATA={folder.resolve()}")
    findings.raise_errors()


def _say(line: str) -> None:
    console().print(line, highlight=False, soft_wrap=True)


def _ask(question: str) -> None:
    try:
        answer = input(question)
    except EOFError:
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise SteelyardError("nothing was fetched: the licence was not accepted.")


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int | None], None]]:
    """A bar for people, a line for each tenth for a log."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    if not sys.stdout.isatty():
        yield _tenths()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console()) as bars:
        tasks: dict[str, Any] = {}

        def show(stage: str, done: int, total: int | None) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield show


def _tenths() -> Callable[[str, int, int | None], None]:
    shown: dict[str, int] = {}

    def show(stage: str, done: int, total: int | None) -> None:
        tenth = LINES * done // total if total else 0
        if total and tenth > shown.get(stage, 0):
            shown[stage] = tenth
            _say(f"{stage}: {done / 1e6:.0f} of {total / 1e6:.0f} MB")

    return show

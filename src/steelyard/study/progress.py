"""What a person sees while a network trains: a bar on a terminal, elsewhere plain lines that say whose they are."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

SECONDS_BETWEEN_LINES = 10.0


class TrainingProgress:
    """Loss, held-out IoU per organ and time left of one run. Use as a context.

    `title` opens with the words that tell the run from others at work on the same screen, then a colon:
    `run 3/12: unet-dice-f0-s1-0123abcd`.
    """

    def __init__(self, console: Console, title: str, *, epochs: int, first_epoch: int) -> None:
        self._console = console
        self._title = title
        self._whose = title.partition(":")[0]
        self._epochs = epochs
        self._done = first_epoch
        self._first = first_epoch
        self._started = time.monotonic()
        self._line_at = 0.0
        self._organs = ""
        self._bar: Progress | None = None

    def __enter__(self) -> TrainingProgress:
        self._console.print(self._title, highlight=False, soft_wrap=True)
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("  epoch"),
                MofNCompleteColumn(),
                BarColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.description}"),
                console=self._console,
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task("", total=self._epochs, completed=self._first)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def step(self, epoch: int, step: int, steps: int) -> None:
        """A batch is done: the bar moves within the epoch."""
        if self._bar is not None:
            self._bar.update(self._task, completed=epoch + (step + 1) / steps)

    def epoch(self, rows: list[dict[str, Any]]) -> None:
        """An epoch is done: its rows of the history."""
        self._done = rows[0]["epoch"]
        loss = next(row["value"] for row in rows if row["quantity"] == "training_loss")
        ious = [(row["organ"], row["value"]) for row in rows if row["quantity"] == "validation_iou"]
        if ious:
            said = (f"{organ} {'–' if iou is None else format(iou, '.2f')}" for organ, iou in ious)
            self._organs = " · ".join(said).replace("_", " ")
        text = f"loss {loss:.3f}" + (f" · {self._organs}" if self._organs else "")
        if self._bar is not None:
            self._bar.update(self._task, description=text, completed=self._done)
        elif self._done == self._epochs or ious or time.monotonic() - self._line_at > SECONDS_BETWEEN_LINES:
            self._line_at = time.monotonic()
            self._console.print(
                f"{self._whose} · epoch {self._done}/{self._epochs} · {text} · {self._left()}",
                highlight=False,
                soft_wrap=True,
            )

    def _left(self) -> str:
        per_epoch = (time.monotonic() - self._started) / max(1, self._done - self._first)
        return duration((self._epochs - self._done) * per_epoch) + " left"


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

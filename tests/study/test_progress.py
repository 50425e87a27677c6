"""Away from a terminal, progress is plain lines with the run, its loss, held-out IoU per organ and the time left."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from steelyard.study.progress import TrainingProgress, duration


def rows(epoch: int, **ious: float | None) -> list[dict]:
    loss = [{"epoch": epoch, "quantity": "training_loss", "organ": None, "value": 0.5}]
    return loss + [
        {"epoch": epoch, "quantity": "validation_iou", "organ": organ, "value": v} for organ, v in ious.items()
    ]


def test_lines_name_epoch_loss_organs_and_time_left() -> None:
    said = io.StringIO()
    with TrainingProgress(Console(file=said, width=200), "run 1/2: a-run", epochs=4, first_epoch=0) as progress:
        progress.step(0, 0, 3)
        progress.epoch(rows(1))
        progress.epoch(rows(2, liver=0.816, right_kidney=None))
        progress.epoch(rows(4))
    lines = said.getvalue().splitlines()
    assert lines[0] == "run 1/2: a-run"
    assert re.fullmatch(r"run 1/2 · epoch 1/4 · loss 0.500 · \d+ s left", lines[1])
    assert re.fullmatch(r"run 1/2 · epoch 2/4 · loss 0.500 · liver 0.82 · right kidney – · \d+ s left", lines[2])
    assert re.fullmatch(r"run 1/2 · epoch 4/4 · loss 0.500 · liver 0.82 · right kidney – · 0 s left", lines[3])
    assert "\x1b" not in said.getvalue()


def test_a_terminal_gets_a_bar_that_leaves_nothing_but_the_title() -> None:
    said = io.StringIO()
    console = Console(file=said, width=100, force_terminal=True)
    with TrainingProgress(console, "run 1/1: a-run", epochs=2, first_epoch=1) as progress:
        progress.step(1, 1, 2)
        progress.epoch(rows(2, liver=0.5))
    assert "2/2" in said.getvalue()
    assert "liver 0.50" in said.getvalue()


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (600, "10 min"), (5400, "1.5 h"), (90_000, "25.0 h")],
)
def test_durations_are_said_in_the_unit_that_fits(seconds: float, said: str) -> None:
    assert duration(seconds) == said

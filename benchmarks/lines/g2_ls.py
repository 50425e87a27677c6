"""How soon the command line lists the losses, which are classes of torch."""

from __future__ import annotations

from benchmarks.command_sides import SLOW_START, check_without_torch, nnunet_help, start_of_python, steelyard
from benchmarks.line import Limit, Line, Work

LINE = Line(
    "steelyard ls losses, without importing torch",
    "nnUNetv2_train -h",
    wanted_seconds=0.3,
    repeats=9,
    measures_memory=False,
    needs=("nnunetv2",),
    shortfall=SLOW_START,
)

peer = nnunet_help


def ours() -> Work:
    return steelyard("ls", "losses")


def same() -> None:
    check_without_torch("ls", "losses")


def limit() -> Limit:
    return start_of_python()

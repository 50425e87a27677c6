"""How soon the command line answers."""

from __future__ import annotations

from benchmarks.command_sides import check_without_torch, nnunet_help, start_of_python, steelyard
from benchmarks.line import Limit, Line, Work

LINE = Line(
    "steelyard --help, without importing torch",
    "nnUNetv2_train -h",
    wanted_seconds=0.3,
    repeats=9,
    measures_memory=False,
    needs=("nnunetv2",),
)

peer = nnunet_help


def ours() -> Work:
    return steelyard("--help")


def same() -> None:
    check_without_torch("--help")


def limit() -> Limit:
    return start_of_python()

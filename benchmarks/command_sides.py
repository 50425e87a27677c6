"""What the lines about the command line share: a command in a process of its own, from start to end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.line import Limit, Work
from benchmarks.machine import seconds_to_start_python
from benchmarks.pair import environment

SLOW_START = (
    "The limits tell how much longer Python itself takes to start on one machine than on another. Much of the rest is "
    "cyclopts, which reads the arguments. It would take a lighter parser."
)
NNUNET = (  # its console script, after the operators that torchvision expects beside a CPU-only torch
    "import sys, torchvision_stub; torchvision_stub.install(); sys.argv = ['nnUNetv2_train', '-h']; "
    "from nnunetv2.run.run_training import run_training_entry; run_training_entry()"
)


def steelyard(*arguments: str) -> Work:
    """The installed command."""
    command = str(Path(sys.executable).with_name("steelyard"))
    return lambda: subprocess.run([command, *arguments], check=True, stdout=subprocess.DEVNULL)


def nnunet_help() -> Work:
    used = environment(2)
    return lambda: subprocess.run(
        [sys.executable, "-c", NNUNET], check=True, env=used, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def check_without_torch(*arguments: str) -> None:
    """Raises when the command imports torch, or does not answer."""
    code = (
        "import sys; from steelyard.cli import main; sys.argv[0] = 'steelyard'\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "assert 'torch' not in sys.modules, 'torch was imported'"
    )
    told = subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True, text=True)
    if len(told.stdout.splitlines()) < 5:
        raise AssertionError(f"steelyard {' '.join(arguments)} said only {told.stdout!r}")


def start_of_python() -> Limit:
    return Limit(seconds_to_start_python(), "Python itself, started without site packages")

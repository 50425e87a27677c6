"""What docs/audit.md says of other libraries is true: every reproduction runs, every row is what the audit finds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import torchvision_stub

torchvision_stub.install()  # before anything imports segmentation-models-pytorch

from steelyard.audit import audit_loss  # noqa: E402
from steelyard.audit.audit import CHECKS  # noqa: E402
from steelyard.options import parse_options  # noqa: E402

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
ROWS = re.findall(r"^\| `([^`]+:[^`]+)` \| (.*?) \| (.*?) \|", PAGE, flags=re.MULTILINE)
MOST_LINES = 6  # five, and the import


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_every_reproduction_runs(number: int) -> None:
    block = BLOCKS[number]
    assert "assert" in block or "pytest.raises" in block
    assert len(block.splitlines()) <= MOST_LINES
    exec(block, {})


def test_every_finding_has_a_reproduction() -> None:
    sections = re.split(r"^### ", PAGE, flags=re.MULTILINE)[1:]
    numbers = [int(section.split(".")[0]) for section in sections]
    assert numbers == list(range(1, len(sections) + 1))
    assert all("```python" in section for section in sections)
    told = {int(number) for row in ROWS for number in re.findall(r"\d+", re.sub(r"fp16", "", row[2]))}
    assert told <= set(numbers)


def test_the_page_tells_of_every_check() -> None:
    table = PAGE.split("## What is asked")[1].split("## ")[0]
    assert [check for check in CHECKS if check not in table] == []


@pytest.mark.slow
@pytest.mark.parametrize(("loss", "options", "failed"), ROWS)
def test_every_row_is_what_the_audit_finds(loss: str, options: str, failed: str) -> None:
    words = [word for part in re.findall(r"`([^`]+)`", options) for word in part.split()]
    given = parse_options(words)
    if loss.startswith("monai.losses:FocalLoss"):
        given = {"to_onehot_y": True} | given
    elif loss.startswith("monai"):
        given = {"softmax": True, "to_onehot_y": True} | given
    elif loss.startswith("segmentation") and not loss.endswith("SoftCrossEntropyLoss"):
        given["mode"] = "multiclass"
    audit = audit_loss(loss, options=given, processes=False)
    told = {name.strip() for name in re.sub(r"\([\d, ]+\)", "", failed).split(",")} - {"none", "two processes"}
    assert {finding.check for finding in audit.failures} == told, str(audit)

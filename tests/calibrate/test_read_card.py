"""A card that is damaged, or no card, is told in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from steelyard.calibrate.read_card import KIND, SCHEMA, read_card
from steelyard.errors import BadData

CARD: dict[str, Any] = {
    "schema": SCHEMA, "kind": KIND, "study": "s", "decision": "change", "loss": {"name": "iou11"}, "classes": ["a"],
    "spec": {}, "data": {"hash": "0f", "cases": 3}, "precision": "fp32",
}  # fmt: skip


def test_a_whole_card_is_read(tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text(json.dumps(CARD))
    assert read_card(tmp_path / "card.json") == CARD


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "cannot be read as a card"),
        ("[" * 100_000, "cannot be read as a card"),
        ("[]", "is no calibration card"),
        (json.dumps(CARD | {"kind": "study"}), "is no calibration card"),
        (json.dumps(CARD | {"schema": 2}), "a card of schema 1 is known; came 2"),
        (json.dumps({k: v for k, v in CARD.items() if k != "loss"}), "a card must hold loss"),
        (json.dumps(CARD | {"loss": {}}), "a card must hold loss.name"),
        (json.dumps(CARD | {"data": {}}), "a card must hold data.hash, data.cases"),
        (json.dumps(CARD | {"precision": "abc"}), "precision as one of bf16, fp32"),
    ],
)
def test_anything_else_is_refused(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "card.json").write_text(content)
    with pytest.raises(BadData, match=said):
        read_card(tmp_path / "card.json")


def test_a_missing_card_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"no card is at .*card\.json"):
        read_card(tmp_path / "card.json")

"""The decision card: one JSON file with what was chosen, how it was proved, what it cost, and what it does not show."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from steelyard.errors import BadData

SCHEMA = 1
KIND = "calibration card"
PRECISIONS = ("bf16", "fp32")
FIELDS: dict[str, type | tuple[type, ...]] = {
    "study": str,
    "decision": str,
    "loss": dict,
    "classes": list,
    "spec": dict,
    "data": dict,
    "precision": str,
}


def read_card(path: Path) -> dict[str, Any]:
    """The content of a card.

    Raises:
        BadData: no file, no card, a damaged one, or one of a newer version.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadData(f"no card is at {path}. Name the card.json that `steelyard calibrate` wrote.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise BadData(f"{path} cannot be read as a card: {str(error).splitlines()[0]}. Calibrate again.") from error
    if not isinstance(content, dict) or content.get("kind") != KIND:
        raise BadData(f"{path} is no calibration card. Name the card.json that `steelyard calibrate` wrote.")
    if content.get("schema") != SCHEMA:
        raise BadData(f"{path}: a card of schema {SCHEMA} is known; came {content.get('schema')!r}. Update Steelyard.")
    wrong = [name for name, kind in FIELDS.items() if not isinstance(content.get(name), kind)]
    if not wrong:
        parts = {"loss.name": content["loss"].get("name"), "data.hash": content["data"].get("hash")}
        wrong = [name for name, value in parts.items() if not isinstance(value, str)]
        wrong += [] if isinstance(content["data"].get("cases"), int) else ["data.cases"]
        wrong += [] if content["precision"] in PRECISIONS else [f"precision as one of {', '.join(PRECISIONS)}"]
    if wrong:
        raise BadData(f"{path}: a card must hold {', '.join(wrong)}. Calibrate again.")
    return content

"""Options of a part as words on a command line: key=value."""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from typing import Any

from steelyard.errors import BadSpec


def parse_options(words: Sequence[str]) -> dict[str, Any]:
    """`key=value` words: a value is JSON, else a Python literal, else the word itself.

    Raises:
        BadSpec: a word of another form, or a key given twice.

    >>> parse_options(["alpha=.3", "mode=multiclass", "softmax=true", "classes=[1, 2]"])
    {'alpha': 0.3, 'mode': 'multiclass', 'softmax': True, 'classes': [1, 2]}
    """
    options: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key.isidentifier():
            raise BadSpec(f"--with {word}: key=value was wanted, as in fp_weight=0.5.")
        if key in options:
            raise BadSpec(f"--with {word}: {key} is given twice. Leave one out.")
        options[key] = _value(value)
    return options


def _value(text: str) -> Any:
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return text

"""Libraries compiled from a source with a mistake in it, which none of our modules may use."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from steelyard import compiled


def check_refused(
    module: ModuleType, mistakes: dict[str, str], *, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    """Fails unless `module` takes its library as it is, and none in which one piece of the source is another."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    monkeypatch.setattr(compiled, "PLAIN", ("-O1", "-fPIC", "-shared"))  # in half a second, not in eight
    monkeypatch.setattr(compiled, "FLAGS", ((),))
    text, wrong = module.SOURCE.read_text(), folder / "wrong.c"
    try:
        module._library.cache_clear()
        assert module._library() is not None
        for right, mistaken in mistakes.items():
            assert right in text
            wrong.write_text(text.replace(right, mistaken))
            monkeypatch.setattr(module, "SOURCE", wrong)
            module._library.cache_clear()
            assert module._library() is None, right
    finally:
        module._library.cache_clear()

"""Debian's chromium for tests: one launch for many pages, WebGL drawn by the processor, and every complaint kept."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

SOFTWARE_WEBGL = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist")


@dataclass
class Tab:
    """A page in the browser, what it said on the console, and what it asked for beyond itself."""

    page: Any
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    at_first: Any = None


@contextlib.contextmanager
def browser() -> Iterator[Any]:
    """The browser; the test is skipped where there is none."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no browser: install Debian's chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as tool:
        launched = tool.chromium.launch(executable_path=chromium, args=list(SOFTWARE_WEBGL))
        yield launched
        launched.close()


def new_tab(launched: Any, *, width: int = 1200, height: int = 700) -> Tab:
    tab = Tab(launched.new_page(viewport={"width": width, "height": height}))
    tab.page.set_default_timeout(60_000)
    tab.page.on("console", lambda message: tab.said.append(message.text))
    tab.page.on("pageerror", lambda error: tab.said.append(str(error)))
    tab.page.on("request", lambda request: tab.asked.append(request.url))
    return tab

"""A real browser without a screen, for tests of pages."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

__all__ = ["running_browser"]

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


@contextmanager
def running_browser(*flags: str) -> Iterator[Browser]:
    """The first browser found, started with these flags; a skip without one or without Playwright."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if program is None:
        pytest.skip(f"no browser found (looked for {', '.join(_BROWSERS)})")
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=program, args=["--no-sandbox", *flags])
        yield running
        running.close()

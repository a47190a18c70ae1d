"""The report in a browser: from a file, without a network, on a phone and on paper; and its video plays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pytest

from agsrec.export.report import Picture, Report, Section, Table, Video, write_report
from agsrec.figures.video import write_video
from tests.browsers import running_browser

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PHONE, PAPER = 390, 718  # pixels: of a phone, and of A4 between its margins
OVERHANG = "[...document.querySelectorAll('table')].map(t => t.getBoundingClientRect().right - innerWidth)"
SHOWN = """() => [...document.querySelectorAll('td:first-child')].map(cell => {
    const range = document.createRange();
    range.selectNodeContents(cell);
    return range.getClientRects().length;
})"""

PLAYED = """() => new Promise((resolve, reject) => {
    const video = document.querySelector('video');
    [video.loop, video.muted] = [false, true];
    video.onended = () => resolve(video.videoWidth);
    video.onerror = () => reject(video.error.message);
    video.play().catch(reject);
})"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as running:
        yield running


@pytest.fixture(scope="module")
def page(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Page:
    """The page of a report with all kinds of parts, opened as a file where there is no network."""
    folder = tmp_path_factory.mktemp("größe 1")
    frames = (np.full((64, 128, 3), 25 * k, dtype=np.uint8) for k in range(10))
    write_video(folder / "video.mp4", frames)
    errors = ("Turned by the fit (°)", "Rotation error before (°)", "Rotation error after (°)")
    measured = {name: 1.5 for name in ("PSNR (dB)", "SSIM", *errors)}
    views = Table([{"view": "000", **measured, "verdict": "trusted, as all"}])
    options = Table(
        [{"setting": "seed", "value": "0"}, {"setting": "fit.rounds", "value": "{'stages': 2} " * 400}]
    )
    picture = Picture(np.full((200, 1500, 3), 128, dtype=np.uint8), "grey")
    parts = [Section("Video", [Video(folder / "video.mp4")]), Section("Picture", [picture])]
    parts += [Section("Views", [views]), Section("Settings", [options])]
    write_report(folder / "report.html", Report("mug", ["A sentence."], parts))
    page = browser.new_context(offline=True).new_page()
    page.goto((folder / "report.html").as_uri())
    return page


def test_on_a_phone(page: Page) -> None:
    page.set_viewport_size({"width": PHONE, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE, "nothing sticks out"
    assert page.evaluate(SHOWN) == [1, 1, 1], "no name is broken within"


def test_on_paper(page: Page) -> None:
    page.set_viewport_size({"width": PAPER, "height": 1000})
    page.emulate_media(media="print")
    assert max(page.evaluate(OVERHANG)) <= 0, "one cannot scroll on paper"
    assert page.pdf().startswith(b"%PDF")
    page.emulate_media(media="screen")


def test_the_video_plays_to_its_end(page: Page) -> None:
    assert page.evaluate(PLAYED) == 128

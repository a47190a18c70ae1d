"""The report: self-contained, well formed, and safe against names from users."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from agsrec.errors import OutputError, ShapeError
from agsrec.export import report as module
from agsrec.export.overview import Outcome, reconstruction_report
from agsrec.export.report import (
    Picture,
    Report,
    Section,
    Table,
    Text,
    Video,
    put_section,
    report_html,
    write_report,
)
from agsrec.metrics.images import image_quality
from tests.export.made_up import ring

EVIL = '<script>alert("x")</script>&\'{0}'


class Page(HTMLParser):
    """Tags, attributes and visible text of a page; fails on tags that do not match."""

    VOID = ("meta", "img")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def decoded(page: Page, number: int = 0) -> Image.Image:
    urls = [value for name, value in page.attributes if name == "src"]
    return Image.open(io.BytesIO(base64.b64decode(urls[number].split(",", 1)[1])))


def test_pictures_survive_exactly() -> None:
    image = noise(20, 30)
    page = Page(report_html(Report("t", [], [Section("s", [Picture(image, "c")])])))
    assert np.array_equal(np.asarray(decoded(page)), image)


def test_large_pictures_become_jpeg() -> None:
    page = Page(report_html(Report("t", [], [Section("s", [Picture(noise(600, 600), "c")])])))
    assert decoded(page).format == "JPEG"


def test_everything_is_escaped(tmp_path: Path) -> None:
    (tmp_path / "v.mp4").write_bytes(b"video")
    parts = [
        Text(EVIL),
        Picture(noise(4, 4), EVIL),
        Table([{EVIL: EVIL}], EVIL),
        Video(tmp_path / "v.mp4", EVIL),
    ]
    page = Page(report_html(Report(EVIL, [EVIL], [Section(EVIL, parts)], {EVIL: EVIL})))
    assert "script" not in page.tags
    # Title and heading, two facts, summary, section, text, caption, two table cells, two captions.
    assert page.text.count(EVIL) == 12


def test_nothing_outside_the_file_is_referred_to(outcome: Outcome, tmp_path: Path) -> None:
    write_report(tmp_path / "report.html", reconstruction_report(outcome))
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|url\(|@import|<link|<script", html)
    for name, value in Page(html).attributes:
        assert name not in ("href", "srcset")
        assert name != "src" or value.startswith("data:")


def test_small_videos_are_embedded_and_large_ones_linked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "50% #1"
    folder.mkdir()
    (folder / "v.mp4").write_bytes(b"0123456789")
    report = Report("t", [], [Section("s", [Video(folder / "v.mp4")])])
    assert ("src", "data:video/mp4;base64,MDEyMzQ1Njc4OQ==") in Page(report_html(report, tmp_path)).attributes
    monkeypatch.setattr(module, "_MAX_EMBEDDED_VIDEO", 9)
    assert ("src", "50%25%20%231/v.mp4") in Page(report_html(report, tmp_path)).attributes


def test_named_errors(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot read the video"):
        report_html(Report("t", [], [Section("s", [Video(tmp_path / "none.mp4")])]))
    with pytest.raises(ShapeError, match="uint8"):
        report_html(Report("t", [], [Section("s", [Picture(np.zeros((4, 4, 3)), "c")])]))


def test_reconstruction_with_truth(outcome: Outcome) -> None:
    novel = image_quality(outcome.renders, outcome.inputs)
    report = reconstruction_report(replace(outcome, novel=novel), [Section("Outliers", [Text("none")])])
    page = Page(report_html(report))
    titles = [section.title for section in report.sections]
    assert titles == [
        "Photos and model",
        "Cameras",
        "Course of the fit",
        "Outliers",
        "Views",
        "Timings",
        "Settings",
    ]
    for text in ("4 photos of mug", "41 s (preset fast)", "Rotation error before", "fit.lr_means", "0.00016"):
        assert text in page.text
    assert re.search(r"went from \d+\.\d to [01]\.\d degrees; 4 of 4 views", page.text)
    assert "PSNR, new views" in page.text


def test_reconstruction_without_truth(outcome: Outcome) -> None:
    bare = replace(outcome, truth=None, history=(), timings={}, config={})
    report = reconstruction_report(bare)
    assert [section.title for section in report.sections] == ["Photos and model", "Cameras", "Views"]
    page = Page(report_html(report))
    assert "true cameras are not known" in page.text
    assert "Rotation error" not in page.text


def test_what_no_photo_shows_is_said(outcome: Outcome) -> None:
    assert not any("made up" in sentence for sentence in reconstruction_report(outcome).summary)
    near = replace(outcome, final=ring(36)[:4], truth=None)
    assert any(
        "one side, within 29 degrees: its back" in text for text in reconstruction_report(near).summary
    )


@pytest.mark.parametrize(
    ("seconds", "text"), [(41.3, "in 41 s "), (200.0, "in 3 min "), (7500.0, "in 2 h 5 min ")]
)
def test_durations(outcome: Outcome, seconds: float, text: str) -> None:
    assert text in reconstruction_report(replace(outcome, seconds=seconds)).summary[0]


def test_a_later_stage_puts_its_section_into_a_written_report(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    evil = Text('</section><section id="mesh">')
    write_report(path, Report("t", ["s"], [Section("Turntable", [evil]), Section("Views", [Text("v")])]))
    mesh = Section("Mesh & more", [Text("first"), evil])
    put_section(path, mesh, after="Turntable")
    put_section(path, replace(mesh, parts=[Text("second")]), after="Turntable")
    put_section(path, Section("Last", [Text("end")]), after="nowhere")
    page = Page(path.read_text())
    assert [v for n, v in page.attributes if n == "id"] == ["turntable", "mesh-more", "views", "last"]
    body = page.text[page.text.index("Turntable") :]
    assert "first" not in body and page.text.index("second") < page.text.index("Views")
    assert page.text.index("Views") < page.text.index("end") < page.text.index("Made by agsrec")
    put_section(tmp_path / "none.html", mesh, after="Turntable")
    assert not (tmp_path / "none.html").exists()

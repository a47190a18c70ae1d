"""What the page says of a job, from its events."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agsrec.app.course import Course, notice_panel
from agsrec.app.events import Began, Done, Failed, Said, Step
from agsrec.app.html import cards, links, summary


def step(iteration: int, preview: bytes | None = None, stage: str = "fit") -> Step:
    return Step(stage, iteration, 200, 64, 0.123, 21.5, 4321, preview)


def test_stages_bar_and_words() -> None:
    course = Course(("poses", "outliers", "fit", "mesh"))
    course.apply(Began("poses", "Estimating the cameras of 3 views"))
    assert 'class="ags-current">Poses' in course.html() and "ags-moving" in course.html()
    course.apply(step(50))
    page = course.html()
    assert 'class="ags-done">Check poses' in page and 'class="ags-current">Fit' in page
    assert 'aria-valuenow="25"' in page and "width:25%" in page and "ags-moving" not in page
    assert "step 50 of 200 at 64 px, loss 0.123, 21.5 dB, 4,321 Gaussians" in page
    assert 'class="ags-later">Mesh' in page


def test_the_last_picture_stays() -> None:
    course = Course(("outliers", "fit"))
    assert "<img" not in course.html()
    course.apply(step(1, b"abc", "outliers"))
    assert course.share is None  # one of many short fits says nothing about the whole
    course.apply(step(20))
    assert "data:image/jpeg;base64,YWJj" in course.html()


def test_notes_are_escaped_and_said_once() -> None:
    course = Course(("fit",))
    for _ in range(2):
        course.apply(Said("falling back to <GrabCut>"))
    assert course.html().count("falling back to &lt;GrabCut&gt;") == 1
    course.apply(Done({}))
    assert "ags-good" in course.html() and "&lt;GrabCut&gt;" in course.html()


def test_a_failure_is_one_sentence() -> None:
    course = Course(("fit",))
    course.apply(Failed("No object found in <b>."))
    assert course.html() == notice_panel("No object found in <b>.", "bad", [])
    assert 'role="alert">No object found in &lt;b&gt;.</p>' in course.html()


def view(name: str, verdict: str, psnr: float | None, turned: float | None = 3.2) -> dict[str, Any]:
    render = None if psnr is None else "/r/a b.jpg"
    values = {"name": name, "verdict": verdict, "photo": "/r/<p>.jpg", "render": render}
    return values | {"psnr": psnr, "turned_deg": turned}


def test_cards_say_and_colour_what_was_decided() -> None:
    views = [
        view("01", "trusted", 25.0),
        view("02", "trusted", 23.0),
        view("03", "confirmed", 12.0),
        view("04", "corrected", 25.0, 104.2),
        view("05", "unusable", None, None),
    ]
    pages = [cards([one], {"01": "<cup>"}).split('<div class="ags-cards">')[1] for one in views]
    good, fair, poor, moved, lost = pages
    assert "ags-edge-good" in good and "25.0 dB · 3°" in good and "01 · &lt;cup&gt;" in good
    assert "file=/r/a%20b.jpg" in good and "file=/r/%3Cp%3E.jpg" in good
    assert "ags-edge-warn" in fair
    assert "ags-edge-bad" in poor and "suspected, no better pose found" in poor
    assert "ags-edge-warn" in moved and "was wrong, posed anew" in moved and "25.0 dB · 104°" in moved
    assert "ags-edge-bad" in lost and "left out" in lost and "no pose explains it" in lost


def test_summary_and_links(tmp_path: Path) -> None:
    page = summary({"facts": {"Photos used": "8"}, "summary": ["Photo <005> was badly posed."]}, 61.4)
    assert "<dt>Photos used</dt><dd>8</dd>" in page and "<dd>61 s</dd>" in page
    assert "Photo &lt;005&gt; was badly posed." in page
    file = tmp_path / "mesh.glb"
    file.write_bytes(bytes(3 * 2**20))
    assert 'download="mesh.glb">mesh.glb <small>3.0 MB</small>' in links({"mesh.glb": str(file)})

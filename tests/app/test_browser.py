"""The page in a real browser without a screen, from its loading to the downloaded archive."""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlparse

import numpy as np
import pytest
from PIL import Image

from agsrec.app.entry import Server
from tests.browsers import running_browser

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

# WebGL without a graphics card.
FLAGS = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
PATIENCE = 150_000  # milliseconds; far more than a free machine needs


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser(*FLAGS) as running:
        yield running


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Page]:
    """The loaded page, on which nothing but this machine answers."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    context.set_default_timeout(PATIENCE)
    foreign: list[str] = []

    def local_only(route: Route) -> None:
        address = urlparse(route.request.url)
        if address.scheme in ("http", "https") and address.hostname != "127.0.0.1":
            foreign.append(route.request.url)
            route.abort()
        else:
            route.continue_()

    context.route("**/*", local_only)
    opened = context.new_page()
    opened.goto(server.url)
    opened.wait_for_selector("#ags-examples img")
    yield opened
    assert foreign == [], "the page needs the network"
    context.close()


def panel(page: Page) -> str:
    return page.locator("#ags-progress").inner_text()


def spread(page: Page, selector: str) -> float:
    """Standard deviation of the pixels of what the page shows there; 0 is blank."""
    element = page.locator(selector)
    element.scroll_into_view_if_needed()
    picture = Image.open(io.BytesIO(element.screenshot())).convert("RGB")
    return float(np.asarray(picture, dtype=np.float32).std())


def wait_until_drawn(page: Page, selector: str, least: float = 8.0) -> None:
    page.wait_for_selector(selector)
    for _ in range(60):
        if spread(page, selector) > least:
            return
        page.wait_for_timeout(500)
    raise AssertionError(f"{selector} stays blank")


def slow(page: Page, script: str) -> None:
    """From now on, a page that draws few frames, behind a slow line as far as a script goes."""

    def later(route: Route) -> None:
        time.sleep(1)
        route.fallback()

    page.route(f"**/{script}-*.js", later)
    page.evaluate("() => { frame = requestAnimationFrame; }")
    page.evaluate("() => { requestAnimationFrame = later => setTimeout(() => frame(later), 300); }")


def test_from_example_to_archive(page: Page, tmp_path: Path) -> None:
    assert page.locator("#ags-run").is_disabled() and page.locator("#ags-stop").is_disabled()
    page.locator("#ags-examples button.thumbnail-item").first.click()
    page.wait_for_selector("#ags-run:enabled")
    assert page.locator("#ags-photos img").count() == 6
    page.locator("#ags-photos button.thumbnail-item").nth(2).click()
    page.wait_for_selector("#ags-photos >> text=left out")
    page.click("#ags-run")
    page.wait_for_selector(".ags-stages .ags-current")
    page.wait_for_selector(".ags-preview img")
    box = page.locator("#ags-progress").bounding_box()
    assert box is not None and 0 < box["y"] + box["height"] / 2 < 900, "the progress is out of sight"
    assert page.locator("#ags-stop").is_enabled() and page.locator("#ags-run").is_disabled()
    page.wait_for_selector("#ags-results", timeout=3 * PATIENCE)
    assert "Done in" in panel(page)
    assert "5 photos of thing became a model" in page.locator("#ags-results").inner_text()
    wait_until_drawn(page, "#ags-mesh canvas")
    # The viewer's file comes before the frame does, and the viewer itself after it.
    slow(page, "Canvas3DGS")
    page.get_by_role("tab", name="Splat").click()
    wait_until_drawn(page, "#ags-splat canvas")
    page.get_by_role("tab", name="Mesh").click()
    page.get_by_role("tab", name="Splat").click()
    assert spread(page, "#ags-splat canvas") > 8, "what was drawn does not stay"
    page.evaluate("() => { requestAnimationFrame = frame; }")
    page.get_by_role("tab", name="Photos and model").click()
    cards = page.locator(".ags-card")
    cards.first.wait_for()
    assert cards.count() == 5 and "dB" in cards.first.inner_text()
    page.wait_for_function("[...document.querySelectorAll('.ags-pair img')].every(i => i.naturalWidth > 10)")
    page.get_by_role("tab", name="Cameras").click()
    wait_until_drawn(page, "#ags-cameras .js-plotly-plot")
    with page.expect_download() as download:
        page.click("#ags-zip")
    file = tmp_path / "all.zip"
    download.value.save_as(file)
    with zipfile.ZipFile(file) as archive:
        names = {Path(name).name for name in archive.namelist()}
    assert {"mesh.glb", "splat.ply", "cameras.json", "report.html", "turntable.mp4"} <= names
    with page.expect_download() as download:
        page.click("#ags-files >> text=mesh.glb")
    assert download.value.suggested_filename == "mesh.glb"


def test_bad_uploads_and_then_a_good_one(page: Page, tmp_path: Path) -> None:
    text, dot, large = tmp_path / "letter.png", tmp_path / "dot.png", tmp_path / "large.png"
    text.write_text("not a picture")
    Image.new("RGB", (1, 1)).save(dot)
    Image.new("1", (20_000, 20_000)).save(large)
    many = [tmp_path / f"{k}.png" for k in range(30)]
    for file in many:
        Image.new("RGB", (40, 40), "red").save(file)
    upload = page.locator("#ags-upload input[type=file]")
    for files, said in (
        ([text], "letter is not an image"),
        ([dot], "dot has 1 x 1 pixels"),
        ([large], "more than 100 megapixels"),
        (many, "30 photos are too many: use at most 12"),
    ):
        upload.set_input_files(files)
        # The notice that pops up comes earlier, before the place to drop photos is empty again.
        page.wait_for_selector(f"#ags-progress >> text={said}")
        assert page.locator("#ags-run").is_disabled()
    upload.set_input_files(many[0])
    page.wait_for_selector("#ags-cut:enabled")
    assert page.locator("#ags-photos img").count() == 1


def test_photos_are_cut_out(page: Page, shared_dir: Path) -> None:
    photos = sorted((shared_dir / "data/photos/mayo/source").glob("*.*"))[:3]
    if len(photos) < 3:
        pytest.skip("no photos beside the repository")
    page.locator("#ags-upload input[type=file]").set_input_files(photos)
    page.wait_for_selector("#ags-cut:enabled")
    before = [image.get_attribute("src") for image in page.locator("#ags-photos img").all()]
    page.click("#ags-cut")
    page.wait_for_selector("#ags-progress >> text=Done in")
    page.wait_for_selector("#ags-clear:enabled")
    after = [image.get_attribute("src") for image in page.locator("#ags-photos img").all()]
    assert len(after) == 3 and not set(before) & set(after)
    page.click("#ags-clear")
    page.wait_for_selector("#ags-photos", state="hidden")


def test_stop_in_mid_run(page: Page, server: Server) -> None:
    page.locator("#ags-examples button.thumbnail-item").first.click()
    page.wait_for_selector("#ags-run:enabled")
    page.get_by_label("Outlier correction").uncheck()
    page.get_by_label("quality").check()
    page.click("#ags-run")
    page.wait_for_selector("text=Fitting the 3D model: step")
    page.click("#ags-stop")
    page.wait_for_selector("text=Stopped. Ready for the next run.")
    page.wait_for_selector("#ags-run:enabled")
    assert page.locator("#ags-stop").is_disabled()
    page.wait_for_timeout(1000)  # nothing comes after
    assert "Stopped" in panel(page)
    assert all(s.job is None for s in server.sessions._sessions.values())
    page.click("#ags-run")  # ready indeed
    page.wait_for_selector("text=Fitting the 3D model: step")
    page.click("#ags-stop")
    page.wait_for_selector("text=Stopped. Ready for the next run.")

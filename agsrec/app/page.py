"""The page: what stands where, and which function answers which click."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components.plot import PlotData

from agsrec.app import html
from agsrec.app.actions import AppConfig, choose_example, cut_out, examples, reconstruct, toggle
from agsrec.app.api import HEAVY, LIGHT, explained, programming_interface, session_of
from agsrec.app.course import STOPPED, Course, idle_panel, notice_panel
from agsrec.app.pictures import dimmed, save_picture
from agsrec.app.sessions import Photo, Session, Sessions
from agsrec.app.uploads import take_in
from agsrec.errors import AgsrecError
from agsrec.frames import VIDEO_SUFFIXES
from agsrec.images import load_image

__all__ = ["build"]

_READY = "Choose an example, or upload photos or a video of your own object."
# The buttons stand below the fold of a laptop, and below everything on a phone.
_SHOW_PROGRESS = "() => document.getElementById('ags-progress').scrollIntoView({block: 'center'})"
# Two frames after a click on its tab, Gradio has told the viewer all that it has to say. A viewer that has
# drawn keeps its model, and how it was turned; another one is emptied, to be filled anew.
_EMPTY_UNLESS_DRAWN = """async () => {
    for (let frame = 0; frame < 2; frame++) await new Promise(requestAnimationFrame);
    return document.querySelector('#ags-splat canvas')?.width ? [true, undefined] : [false, null];
}"""
_log = logging.getLogger(__name__)

Updates = dict[Any, Any]


@dataclass(frozen=True)
class _Parts:
    """The components that change, and the tab whose selection is an event."""

    upload: gr.File
    photos: gr.Gallery
    clear: gr.Button
    cut: gr.Button
    correct: gr.Checkbox
    preset: gr.Radio
    seed: gr.Number
    run: gr.Button
    stop: gr.Button
    panel: gr.HTML
    results: gr.Column
    summary: gr.HTML
    mesh: gr.Model3D
    splat_tab: gr.Tab
    splat: gr.Model3D
    drawn: gr.Checkbox
    cards: gr.HTML
    cameras: gr.Plot
    video: gr.Video
    archive: gr.DownloadButton
    files: gr.HTML

    def all(self) -> list[Any]:
        """Everything that events change, as their outputs."""
        return [part for part in vars(self).values() if part is not self.splat_tab]


def build(config: AppConfig, sessions: Sessions) -> gr.Blocks:
    """The app, ready to be launched; see `agsrec.app.entry`."""
    gr.set_static_paths([sessions.served])
    shown = _example_pictures(config, sessions)
    with gr.Blocks(
        title="agsrec: photos to 3D",
        analytics_enabled=False,
        delete_cache=(300, int(60 * config.idle_minutes)),
    ) as app:
        gr.HTML(html.HEADER, padding=False)
        with gr.Row(equal_height=False):
            with gr.Column(scale=5, min_width=320):
                gallery = _examples(shown)
                inputs = _inputs(config)
            with gr.Column(scale=7, min_width=320):
                panel = gr.HTML(idle_panel(_READY), padding=False, elem_id="ags-progress")
                with gr.Column(visible=False, elem_id="ags-results") as results:
                    outputs = _outputs()
        parts = _Parts(**inputs, panel=panel, results=results, **outputs)
        # First, so that its endpoints get their names: Gradio numbers those that are taken.
        programming_interface([parts.preset, parts.correct, parts.seed], config, sessions)
        _wire(app, parts, gallery, list(shown), config, sessions)
    app.queue(max_size=64, default_concurrency_limit=2)
    return app


def _example_pictures(config: AppConfig, sessions: Sessions) -> dict[str, Path]:
    """Small pictures of the demo objects, by name."""
    folder = sessions.served / "examples"
    folder.mkdir(mode=0o700, exist_ok=True)
    pictures = {}
    for name, photo in examples(config.data).items():
        pictures[name] = folder / f"{name}.jpg"
        save_picture(pictures[name], load_image(photo)[0])
    return pictures


# -------------------------------------------------------------------- what stands where


def _step(number: int, title: str, text: str) -> None:
    gr.HTML(f'<div class="ags-step"><h2><b>{number}</b>{title}</h2><p>{text}</p></div>', padding=False)


def _examples(shown: dict[str, Path]) -> gr.Gallery:
    """The demo objects."""
    _step(1, "Photos", "Try one of these objects, or upload 1 to 12 photos or a video of your own below.")
    return gr.Gallery(
        [(str(path), name) for name, path in shown.items()],
        label="Examples",
        show_label=False,
        columns=max(1, len(shown)),
        height="auto",
        allow_preview=False,
        interactive=False,
        buttons=[],
        visible=bool(shown),
        elem_id="ags-examples",
        elem_classes="ags-photos",
    )


def _inputs(config: AppConfig) -> dict[str, Any]:
    """Everything on the left below the examples."""
    # Not every system counts an iPhone's format among images.
    kinds = ["image", "video", ".heic", ".heif", ".hif", *VIDEO_SUFFIXES]
    upload = gr.File(
        label="Photos or a video", file_count="multiple", file_types=kinds, height=130, elem_id="ags-upload"
    )
    _step(2, "Cut-outs", "Click a photo to leave it out; click it again to take it in.")
    photos = gr.Gallery(
        label="Photos",
        show_label=False,
        columns=4,
        height="auto",
        object_fit="contain",
        allow_preview=False,
        interactive=False,
        buttons=[],
        visible=False,
        elem_id="ags-photos",
        elem_classes="ags-photos",
    )
    with gr.Row():
        cut = gr.Button("Preprocess", interactive=False, min_width=120, elem_id="ags-cut")
        clear = gr.Button("Start over", interactive=False, min_width=120, elem_id="ags-clear")
    _step(3, "Reconstruct", "Cameras and model are fitted together; a preview shows how far they are.")
    correct = gr.Checkbox(
        True,
        label="Outlier correction",
        info="Finds photos with wrong poses and poses them again; takes longer.",
    )
    with gr.Row():
        presets = list(config.presets)
        preset = gr.Radio(presets, value=presets[0], label="Preset", min_width=180)
        seed = gr.Number(0, label="Seed", precision=0, minimum=0, min_width=100)
    with gr.Row():
        run = gr.Button("Reconstruct", variant="primary", interactive=False, elem_id="ags-run")
        stop = gr.Button("Stop", variant="stop", interactive=False, min_width=90, elem_id="ags-stop")
    return {
        "upload": upload,
        "photos": photos,
        "clear": clear,
        "cut": cut,
        "correct": correct,
        "preset": preset,
        "seed": seed,
        "run": run,
        "stop": stop,
    }


def _outputs() -> dict[str, Any]:
    """The results."""
    parts: dict[str, Any] = {"summary": gr.HTML(padding=False)}
    view: dict[str, Any] = {"height": 440, "show_label": False, "interactive": False}
    with gr.Tabs():
        with gr.Tab("Mesh"):
            parts["mesh"] = gr.Model3D(
                label="Mesh", clear_color=(1.0, 1.0, 1.0, 1.0), elem_id="ags-mesh", **view
            )
        with gr.Tab("Splat") as parts["splat_tab"]:
            parts["splat"] = gr.Model3D(
                label="Splat", clear_color=(1.0, 1.0, 1.0, 1.0), elem_id="ags-splat", **view
            )
            parts["drawn"] = gr.Checkbox(visible=False)
        with gr.Tab("Photos and model"):
            parts["cards"] = gr.HTML(padding=False, elem_id="ags-views")
        with gr.Tab("Cameras"):
            parts["cameras"] = gr.Plot(show_label=False, elem_id="ags-cameras")
        with gr.Tab("Turntable"):
            parts["video"] = gr.Video(
                show_label=False, autoplay=True, loop=True, interactive=False, buttons=[], height=440
            )
    parts["archive"] = gr.DownloadButton("Download everything (ZIP)", variant="primary", elem_id="ags-zip")
    parts["files"] = gr.HTML(padding=False, elem_id="ags-files")
    return parts


# -------------------------------------------------------------------- which function answers which click


def _ready(parts: _Parts, session: Session) -> Updates:
    """The controls of a session at rest."""
    items = [(str(p.picture if p.kept else dimmed(p.picture)), _caption(p)) for p in session.photos]
    some = bool(session.photos) or session.video is not None
    uncut = some and session.scene is None
    return {
        parts.photos: gr.Gallery(items, visible=bool(items), selected_index=None),
        parts.cut: gr.Button(interactive=uncut, variant="primary" if uncut else "secondary"),
        parts.clear: gr.Button(interactive=some),
        parts.run: gr.Button(interactive=bool(session.kept) or session.video is not None),
        parts.stop: gr.Button(interactive=False),
    }


def _caption(photo: Photo) -> str:
    if not photo.kept:
        return f"{photo.name} left out"
    return f"{photo.name} {'doubtful cut-out' if photo.doubt else photo.label}".strip()


def _count(session: Session) -> str:
    return f"{len(session.photos)} photo{'s' * (len(session.photos) != 1)}"


def _next(session: Session) -> str:
    """What there is, and what to do with it."""
    if session.posed:
        return f"{session.title}: {_count(session)}, cut out already. Press Reconstruct."
    if session.video is not None:
        return f"{session.video.label}: a video. Press Preprocess to take photos from it, and cut them out."
    return f"{_count(session)}. Press Preprocess to cut the object out."


def _busy(parts: _Parts, text: str) -> Updates:
    """The controls while a job waits or runs."""
    off = {part: gr.Button(interactive=False) for part in (parts.cut, parts.clear, parts.run)}
    return {**off, parts.stop: gr.Button(interactive=True), parts.panel: idle_panel(text)}


def _stopped(parts: _Parts, session: Session) -> Updates:
    """The page after its job was stopped."""
    return {**_ready(parts, session), parts.panel: idle_panel(STOPPED)}


def _wire(
    app: gr.Blocks,
    parts: _Parts,
    gallery: gr.Gallery,
    names: list[str],
    config: AppConfig,
    sessions: Sessions,
) -> None:
    """Every event of the page."""

    @explained
    def pick(request: gr.Request, event: gr.SelectData) -> Updates:
        session = session_of(sessions, request)
        choose_example(session, config.data, names[int(event.index)])
        hidden = gr.Column(visible=False)
        return {**_ready(parts, session), parts.panel: idle_panel(_next(session)), parts.results: hidden}

    def upload(files: list[str] | None, request: gr.Request) -> Updates:
        session = session_of(sessions, request)
        try:
            refused = take_in(session, files or [], config.limits)
        except AgsrecError as error:
            refused = [str(error)]
        for sentence in refused:
            gr.Warning(sentence, duration=8)
        if session.photos or session.video is not None:
            panel = notice_panel(_next(session), "plain", refused)
        else:
            panel = notice_panel(" ".join(refused) or _READY, "bad" if refused else "plain")
        hidden = gr.Column(visible=False)
        # Emptied in any case: it is a place to drop photos, not a list of them.
        return {**_ready(parts, session), parts.panel: panel, parts.results: hidden, parts.upload: None}

    @explained
    def drop(request: gr.Request, event: gr.SelectData) -> Updates:
        session = session_of(sessions, request)
        toggle(session, int(event.index))
        return _ready(parts, session)

    def clear(request: gr.Request) -> Updates:
        session = session_of(sessions, request)
        session.reset()
        hidden = gr.Column(visible=False)
        return {**_ready(parts, session), parts.panel: idle_panel(_READY), parts.results: hidden}

    def wait(request: gr.Request) -> Updates:
        session_of(sessions, request)
        hidden = {parts.results: gr.Column(visible=False), parts.splat: None}
        return _busy(parts, "Waiting for a free place.") | hidden

    def preprocess(request: gr.Request) -> Iterator[Updates]:
        session = session_of(sessions, request)
        yield from _followed(parts, session, lambda: cut_out(session, config))

    def run(preset: str, correct: bool, seed: float | None, request: gr.Request) -> Iterator[Updates]:
        session = session_of(sessions, request)
        options = {"preset": preset, "correct": correct, "seed": int(seed or 0)}
        yield from _followed(parts, session, lambda: reconstruct(session, config, **options))

    def mesh(request: gr.Request) -> str | None:
        outcome = session_of(sessions, request).outcome
        return None if outcome is None else outcome["files"].get("mesh.glb")

    def splat(drawn: bool, request: gr.Request) -> str | Updates:
        outcome = session_of(sessions, request).outcome
        return gr.skip() if drawn or outcome is None else outcome["splat"]

    def stop(request: gr.Request) -> Updates:
        session = session_of(sessions, request)
        session.stop()
        return _stopped(parts, session)

    def rest(request: gr.Request) -> Updates:
        session = session_of(sessions, request)
        again = session.job is not None and not session.job.stopped
        return gr.skip() if again else _stopped(parts, session)

    def leave(request: gr.Request) -> None:
        if request.session_hash:
            sessions.end(request.session_hash)

    everything, options = parts.all(), [parts.preset, parts.correct, parts.seed]
    private: dict[str, Any] = {"api_visibility": "private"}
    light: dict[str, Any] = {"concurrency_id": LIGHT, "show_progress": "hidden", **private}
    heavy: dict[str, Any] = {
        "concurrency_id": HEAVY,
        "concurrency_limit": config.concurrency,
        "show_progress_on": [parts.panel],
        **private,
    }
    at_once: dict[str, Any] = {"queue": False, "show_progress": "hidden", **private}
    gallery.select(pick, None, everything, **light)
    parts.upload.upload(upload, parts.upload, everything, **light)
    parts.photos.select(drop, None, everything, **light)
    parts.clear.click(clear, None, everything, **light)
    for button in (parts.cut, parts.run):
        button.click(None, js=_SHOW_PROGRESS, **private)
    waiting = [button.click(wait, None, everything, **at_once) for button in (parts.cut, parts.run)]
    cutting = waiting[0].success(preprocess, None, everything, **heavy)
    running = waiting[1].success(run, options, everything, **heavy)
    # By events of their own: Gradio's viewer stays empty when it is told of one file twice before it has
    # loaded, as the last values of a generator are, and those given to a tab before it is first opened. Nor
    # does it draw when it loads after its tab was left.
    running.success(mesh, None, parts.mesh, **at_once)
    check: dict[str, Any] = {"js": _EMPTY_UNLESS_DRAWN, **private}
    opened = parts.splat_tab.select(None, None, [parts.drawn, parts.splat], **check)
    opened.then(splat, parts.drawn, parts.splat, **at_once)
    stopped = parts.stop.click(stop, None, everything, cancels=[cutting, running], **at_once)
    # Said twice: a picture of the job that was on its way may be drawn after the first answer.
    stopped.then(rest, None, everything, **at_once)
    app.unload(leave)


def _followed(parts: _Parts, session: Session, start: Callable[[], Iterator[Course]]) -> Iterator[Updates]:
    """A job as the page shows it, from its start to its results."""
    course = Course(())
    shown = ""
    try:
        for course in start():
            picture = course.html()
            if not course.done and picture != shown:
                shown = picture
                yield {parts.panel: picture}
    except AgsrecError as error:
        course.failure = str(error)
    except OSError:
        _log.exception("a job failed")
        course.failure = "The disk of this machine cannot take the files of the job; try again later."
    updates = {**_ready(parts, session), parts.panel: course.html()}
    outcome = session.outcome if course.done else None
    yield updates if outcome is None else updates | _results(parts, session, outcome, course)


def _results(parts: _Parts, session: Session, outcome: dict[str, Any], course: Course) -> Updates:
    """Everything about a finished reconstruction."""
    files = outcome["files"]
    labels = {photo.name: photo.label for photo in session.photos}
    return {
        parts.results: gr.Column(visible=True),
        parts.summary: html.summary(outcome, course.seconds),
        parts.cards: html.cards(outcome["views"], labels),
        parts.cameras: PlotData(type="plotly", plot=outcome["plot"]),
        parts.video: files.get("turntable.mp4"),
        parts.archive: outcome["archive"],
        parts.files: html.links(files),
    }

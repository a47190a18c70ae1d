"""The app for programs: the same actions as endpoints for `gradio_client`, plain values instead of a page."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from agsrec.app.actions import AppConfig, choose_example, cut_out, reconstruct, toggle
from agsrec.app.course import Course
from agsrec.app.sessions import Session, Sessions
from agsrec.app.uploads import take_in
from agsrec.errors import AgsrecError, OptionError

__all__ = ["HEAVY", "LIGHT", "explained", "programming_interface", "session_of"]

HEAVY, LIGHT = "heavy", "light"
"""Names of the two queues: of work in processes of its own, and of everything else."""


def session_of(sessions: Sessions, request: gr.Request) -> Session:
    """The session that a request belongs to."""
    if not request.session_hash:
        raise gr.Error("This request names no session; use gradio_client, or reload the page.")
    try:
        return sessions.of(request.session_hash)
    except OptionError as error:
        raise gr.Error(str(error), print_exception=False) from None


def explained(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, with mistakes of users as messages on the page."""

    @functools.wraps(function)
    def wrapper(*arguments: Any, **named: Any) -> Any:
        try:
            return function(*arguments, **named)
        except AgsrecError as error:
            raise gr.Error(str(error), duration=8, print_exception=False) from None

    return wrapper


def programming_interface(options: list[Any], config: AppConfig, sessions: Sessions) -> None:
    """The same as endpoints for `gradio_client`: plain values instead of a page."""

    def state(session: Session, message: str) -> dict[str, Any]:
        photos = [{"name": p.name, "label": p.label, "kept": p.kept} for p in session.photos]
        return {"message": message, "photos": photos}

    @explained
    def example(name: str, request: gr.Request) -> dict[str, Any]:
        """Take the photos of a demo object."""
        session = session_of(sessions, request)
        choose_example(session, config.data, name)
        return state(session, f"{len(session.photos)} photos of {name}, cut out already.")

    @explained
    def photos(files: list[str] | None, request: gr.Request) -> dict[str, Any]:
        """Add photos, or a video; what cannot be used is named in the message."""
        session = session_of(sessions, request)
        refused = take_in(session, files or [], config.limits)
        there = f"{len(session.photos)} photos" if session.video is None else "1 video"
        return state(session, " ".join(refused) or f"{there}.")

    @explained
    def drop(name: str, request: gr.Request) -> dict[str, Any]:
        """Leave a photo out, or take it in again."""
        session = session_of(sessions, request)
        names = [photo.name for photo in session.photos]
        if name not in names:
            raise gr.Error(f"There is no photo {name!r}.", print_exception=False)
        toggle(session, names.index(name))
        return state(session, "")

    def preprocess(request: gr.Request) -> Iterator[dict[str, Any]]:
        """Cut the object out of the photos."""
        session = session_of(sessions, request)
        for course in _told(cut_out(session, config)):
            yield state(session, _sentence(course))

    def run(
        preset: str, correct: bool, seed: float, request: gr.Request
    ) -> Iterator[tuple[dict[str, Any], str | None]]:
        """Reconstruct; gives what is being done, and last the summary and the ZIP file of all results."""
        session = session_of(sessions, request)
        wanted = {"preset": preset, "correct": correct, "seed": int(seed or 0)}
        for course in _told(reconstruct(session, config, **wanted)):
            outcome = session.outcome
            if course.done and outcome is not None:
                yield {"message": _sentence(course), **_report(outcome)}, outcome["archive"]
            else:
                yield {"message": _sentence(course)}, None

    def stop(request: gr.Request) -> str:
        """End what is being computed for this session."""
        return "Stopped." if session_of(sessions, request).stop() else "Nothing was running."

    with gr.Row(visible=False):
        name, files = gr.Textbox(label="Name"), gr.File(label="Photos", file_count="multiple")
        answer, archive, word = gr.JSON(label="State"), gr.File(label="Results"), gr.Textbox(label="Message")
        trigger = gr.Button()
    heavy: dict[str, Any] = {"concurrency_id": HEAVY, "concurrency_limit": config.concurrency}
    light: dict[str, Any] = {"concurrency_id": LIGHT}
    trigger.click(example, name, answer, api_name="example", **light)
    trigger.click(photos, files, answer, api_name="photos", **light)
    trigger.click(drop, name, answer, api_name="drop", **light)
    trigger.click(preprocess, None, answer, api_name="preprocess", **heavy)
    trigger.click(run, options, [answer, archive], api_name="reconstruct", **heavy)
    trigger.click(stop, None, word, api_name="stop", queue=False)


def _told(courses: Iterator[Course]) -> Iterator[Course]:
    """A course whose text changes; a failure is raised."""
    said, course = "", None
    try:
        for course in courses:
            if course.done or _sentence(course) != said:
                said = _sentence(course)
                yield course
    except AgsrecError as error:
        raise gr.Error(str(error), print_exception=False) from None
    if course is not None and course.failure is not None:
        raise gr.Error(course.failure, print_exception=False)


def _report(outcome: dict[str, Any]) -> dict[str, Any]:
    """What of an outcome is no file."""
    views = [{k: v for k, v in view.items() if k not in ("photo", "render")} for view in outcome["views"]]
    return {key: outcome[key] for key in ("title", "summary", "facts")} | {"views": views}


def _sentence(course: Course) -> str:
    return course.failure or ("Done." if course.done else course.text)

"""Work in a process of its own: what it sends, and how it ends."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agsrec.app.events import Done, Event, Failed, Said
from agsrec.app.tasks import CutOut
from agsrec.app.worker import Job
from agsrec.errors import ImageError

# One process for them, and for the tests of the app: they share what processes are forked from.
pytestmark = pytest.mark.usefixtures("prepared")


@dataclass(frozen=True)
class Act:
    """A task for tests."""

    what: str

    def run(self, send: Callable[[Event], None]) -> dict[str, Any]:
        """Do as named."""
        if self.what == "warn":
            logging.getLogger("agsrec.preprocess").warning("falling back to GrabCut")
        if self.what == "fail":
            raise ImageError("/secret/01.png: no object found in it")
        if self.what == "bug":
            raise ZeroDivisionError("/secret")
        if self.what == "die":
            os._exit(7)
        if self.what == "sleep":
            send(Said("asleep"))
            time.sleep(600)
        return {"pid": os.getpid()}

    def public_message(self, error: Exception) -> str:
        """The error without its path."""
        return str(error).replace("/secret/", "")


def events(what: str) -> list[Event]:
    job = Job(Act(what))  # pyright: ignore[reportArgumentType]
    return [event for event in job.events() if event is not None]


def test_a_result_from_another_process() -> None:
    (done,) = events("work")
    assert isinstance(done, Done) and done.outcome["pid"] != os.getpid()


def test_warnings_become_sentences() -> None:
    said, done = events("warn")
    assert said == Said("Falling back to GrabCut") and isinstance(done, Done)


def test_failures_in_one_sentence() -> None:
    assert events("fail") == [Failed("01.png: no object found in it")]
    (bug,) = events("bug")
    assert isinstance(bug, Failed) and "Something went wrong" in bug.text and "secret" not in bug.text
    (dead,) = events("die")
    assert isinstance(dead, Failed) and "exit code 7" in dead.text


def test_stop_is_immediate() -> None:
    job = Job(Act("sleep"))  # pyright: ignore[reportArgumentType]
    assert next(event for event in job.events() if event is not None) == Said("asleep")
    clock = time.monotonic()
    job.stop()
    assert time.monotonic() - clock < 3
    assert job.stopped and list(job.events()) == [] and not Path(f"/proc/{job.pid}").exists()


def test_messages_name_photos_not_paths(tmp_path: Path) -> None:
    (tmp_path / "01.jpg").touch()
    task = CutOut(tmp_path, tmp_path, {"01": "IMG_7"})
    error = ImageError(f"{tmp_path / '01.jpg'}: no object found in it; cut it out by hand")
    assert task.public_message(error) == "Photo 01 (IMG_7): no object found in it; cut it out by hand."
    error = ImageError(f"{tmp_path} has no photos")
    assert task.public_message(error) == "The photos has no photos."

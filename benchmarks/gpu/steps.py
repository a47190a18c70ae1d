"""Steps of a day on a machine: each in a process of its own, with a limit of time, done once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agsrec.errors import AgsrecError
from agsrec.files import atomic_write

__all__ = ["Background", "Book", "Step", "carry_out"]

_PATIENCE = 5.0  # seconds between an interrupt and the end
Record = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """One thing to do.

    Attributes:
        name: Name in the book, and of the log.
        command: What to run, from the seconds that it may take.
        limit: Most seconds.
        figures: What it measured, read when it has ended.
        complete: Whether figures say that nothing is left to do.
        after: Name of what must have been built before.
        environment: Variables for it alone.
    """

    name: str
    command: Callable[[float], Sequence[str]]
    limit: float
    figures: Callable[[], Record] = dict
    complete: Callable[[Record], bool] = bool
    after: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Book:
    """What was done, in a file that is whole at any moment."""

    folder: Path

    @property
    def file(self) -> Path:
        """The book."""
        return self.folder / "day.json"

    def content(self) -> Record:
        """Everything in it."""
        if not self.file.is_file():
            return {"about": {}, "steps": {}}
        return json.loads(self.file.read_text(encoding="utf-8"))

    def describe(self, about: Mapping[str, Any]) -> None:
        """Put down what the machine is."""
        atomic_write(self.file, json.dumps({**self.content(), "about": about}, indent=2) + "\n")

    def note(self, name: str, record: Record) -> None:
        """Put down what became of a step."""
        content = self.content()
        content["steps"][name] = record
        atomic_write(self.file, json.dumps(content, indent=2) + "\n")

    def is_done(self, name: str) -> bool:
        """Whether a step needs not be done again."""
        return self.content()["steps"].get(name, {}).get("state") == "done"

    def log(self, name: str) -> Path:
        """Where a step writes what it has to say."""
        path = self.folder / "logs" / f"{name}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


class Background:
    """A step that goes on while others are done."""

    def __init__(self, book: Book, step: Step) -> None:
        self.step = step
        self._book, self._begun = book, time.perf_counter()
        self._process = None if book.is_done(step.name) else _started(step, step.limit, book.log(step.name))

    def finished(self, wait: float = 0.0) -> bool:
        """Whether it has ended, at the latest after so many seconds more, and well."""
        if self._process is not None:
            try:
                status = self._process.wait(timeout=max(0.0, wait))
            except subprocess.TimeoutExpired:
                return False
            self._process = None
            spent = time.perf_counter() - self._begun
            self._book.note(self.step.name, _outcome(self._book, self.step, status, spent))
        return self._book.is_done(self.step.name)

    @property
    def running(self) -> bool:
        """Whether it goes on."""
        return self._process is not None and self._process.poll() is None

    def end(self) -> None:
        """Stop it where it has not ended."""
        if not self.finished() and self._process is not None:
            _stop(self._process)
            self._process = None
            self._book.note(self.step.name, {"state": "timed out"})


def carry_out(book: Book, step: Step, seconds: float) -> bool:
    """Do a step in at most so many seconds; whatever becomes of it is put down."""
    limit = min(step.limit, seconds)
    begun = time.perf_counter()
    process = _started(step, limit, book.log(step.name))
    try:
        status: int | None = process.wait(timeout=limit)
    except subprocess.TimeoutExpired:
        status = None
    finally:
        _stop(process)
    record = _outcome(book, step, status, time.perf_counter() - begun)
    book.note(step.name, record)
    return record["state"] == "done"


def _started(step: Step, limit: float, log: Path) -> subprocess.Popen[bytes]:
    """The process of a step, in a group of its own with those that it starts."""
    with open(log, "ab") as file:
        return subprocess.Popen(
            step.command(limit),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **step.environment},
            start_new_session=True,
        )


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a process and those that it started: first as Ctrl-C does, so that it can leave things in order."""
    for sign, patience in ((signal.SIGINT, _PATIENCE), (signal.SIGKILL, _PATIENCE)):
        try:
            os.killpg(process.pid, sign)
        except ProcessLookupError:
            break
        try:
            process.wait(timeout=patience)
        except subprocess.TimeoutExpired:
            continue
    process.wait()


def _outcome(book: Book, step: Step, status: int | None, spent: float) -> Record:
    """What became of a step that ended with a status, or did not end in time (None)."""
    record: Record = {"state": "done", "seconds": round(spent, 1), "log": f"logs/{step.name}.log"}
    if status is None:
        record["state"] = "timed out"
    elif status != 0:
        record |= {"state": "failed", "status": status, "error": _last_line(book.log(step.name))}
    try:
        record["figures"] = step.figures()
        if record["state"] == "done" and not step.complete(record["figures"]):
            record["state"] = "unfinished"
    except (AgsrecError, OSError, ValueError, KeyError, IndexError) as error:
        if record["state"] == "done":
            record |= {"state": "failed", "error": f"no figures: {error!r}"}
    return record


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")

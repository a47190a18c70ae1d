"""One folder and one state for every user, and nothing that outlives them."""

from __future__ import annotations

import atexit
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agsrec.errors import OptionError

if TYPE_CHECKING:
    from agsrec.app.worker import Job

__all__ = ["Photo", "Session", "Sessions", "Video"]

_TOKEN_BYTES = 24
_ABANDONED = 600.0  # seconds after which Gradio's file of an upload, while it comes in, is nobody's any more
_MOST = 1000  # sessions: more than anybody needs are no users


@dataclass
class Photo:
    """A photo of a session.

    Attributes:
        name: Its view's name: a number of our own for uploads.
        label: What the user knows it by; only ever shown.
        picture: Small picture of it that the page shows.
        file: The photo as uploaded; None for demo objects.
        kept: Whether it takes part.
        doubt: Why its cut-out should be looked at, if there is a reason.
    """

    name: str
    label: str
    picture: Path
    file: Path | None = None
    kept: bool = True
    doubt: str | None = None


@dataclass(frozen=True)
class Video:
    """A video of a session, whose frames are still to be taken for photos.

    Attributes:
        label: What the user knows it by; only ever shown.
        file: The video as uploaded.
    """

    label: str
    file: Path


@dataclass
class Session:
    """What one open page has done so far.

    Attributes:
        private: Folder of uploads and of what is being computed; never served.
        public: Folder of what the page shows; its name cannot be guessed.
        title: Name of the object.
        scene: Folder of the demo object, or of the cut-out photos; None as long as there is neither.
        posed: Whether that folder has cameras.
        photos: The photos, in order.
        video: What the photos are to be taken from, instead.
        job: The process that works for this session, if any.
        outcome: What the last reconstruction left; see `agsrec.app.tasks`.
        lock: Held by whoever changes it.
        used: When it was last asked for anything, on the monotonic clock.
        ended: Whether its files are gone.
    """

    private: Path
    public: Path
    title: str = ""
    scene: Path | None = None
    posed: bool = False
    photos: list[Photo] = field(default_factory=list)
    video: Video | None = None
    job: Job | None = None
    outcome: dict[str, Any] | None = None
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)
    used: float = field(default_factory=time.monotonic)
    ended: bool = False
    _count: int = 0

    @property
    def kept(self) -> list[Photo]:
        """The photos that take part."""
        return [photo for photo in self.photos if photo.kept]

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Hold the session while its files are changed.

        Raises:
            OptionError: It ended meanwhile, and its files are gone.
        """
        with self.lock:
            try:
                yield
            except FileNotFoundError as error:
                if not self.ended:
                    raise
                raise OptionError("This page was closed meanwhile; reload it.") from error

    def new_folder(self, *, served: bool = False) -> Path:
        """An empty folder of the session, with a name of its own so that no browser shows an older file."""
        with self.at_work():
            self._count += 1
            folder = (self.public if served else self.private) / f"{self._count:03d}"
            folder.mkdir(mode=0o700)
        return folder

    def stop(self) -> bool:
        """End the session's process, if there is one; says whether there was."""
        job = self.job
        if job is None:
            return False
        job.stop()
        return True

    def reset(self) -> None:
        """Forget photos and results, and remove their files."""
        self.stop()
        with self.at_work():
            self.title, self.scene, self.posed, self.outcome, self.video = "", None, False, None, None
            self.photos.clear()
            for folder in (self.private, self.public):
                for entry in list(folder.iterdir()):
                    shutil.rmtree(entry, ignore_errors=True)

    def remove(self) -> None:
        """End everything and remove all files, under the hands of whoever changes them."""
        self.ended = True
        self.stop()
        for folder in (self.private, self.public):
            shutil.rmtree(folder, ignore_errors=True)


class Sessions:
    """All sessions of one app, in one temporary folder that only this user of the machine can read.

    Args:
        idle_minutes: A session without a process is removed when nothing has been asked of it for so long.
    """

    def __init__(self, idle_minutes: float = 60.0) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="agsrec-app-")).resolve()  # mkdtemp makes it 0700
        self.uploads, self.served = self.root / "uploads", self.root / "served"
        for folder in (self.uploads, self.served, self.root / "private"):
            folder.mkdir(mode=0o700)
        self._idle = 60.0 * idle_minutes
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()
        self._done = threading.Event()
        atexit.register(self.close)

    def __len__(self) -> int:
        return len(self._sessions)

    def of(self, key: str) -> Session:
        """The session of that key, begun if need be.

        Raises:
            OptionError: There are too many others.
        """
        with self._lock:
            session = self._sessions.get(key)
            if session is None:
                if len(self._sessions) >= _MOST:
                    raise OptionError("Too many pages are open here; try again later.")
                token = secrets.token_urlsafe(_TOKEN_BYTES)
                session = Session(self.root / "private" / token, self.served / token)
                session.private.mkdir(mode=0o700)
                session.public.mkdir(mode=0o700)
                self._sessions[key] = session
            session.used = time.monotonic()
            return session

    def find(self, key: str) -> Session | None:
        """The session of that key, if there is one."""
        return self._sessions.get(key)

    def end(self, key: str) -> None:
        """Remove a session: its page is closed."""
        with self._lock:
            session = self._sessions.pop(key, None)
        if session is not None:
            session.remove()

    def sweep(self) -> None:
        """Remove sessions that nobody uses any more, and uploads that nobody took."""
        now = time.monotonic()
        with self._lock:
            keys = [key for key, s in self._sessions.items() if s.job is None and now - s.used > self._idle]
        for key in keys:
            self.end(key)
        now = time.time()
        for entry in list(self.uploads.iterdir()):
            with suppress(OSError):  # such as taken in the meantime
                age = now - entry.stat().st_mtime
                if entry.is_dir() and age > self._idle:
                    shutil.rmtree(entry, ignore_errors=True)
                elif not entry.is_dir() and age > min(_ABANDONED, self._idle):
                    entry.unlink()

    def sweep_regularly(self, seconds: float = 60.0, sweep: Callable[[], None] | None = None) -> None:
        """Sweep from a thread of its own until the app is closed."""

        def run() -> None:
            while not self._done.wait(seconds):
                (sweep or self.sweep)()

        threading.Thread(target=run, name="agsrec-sweep", daemon=True).start()

    def close(self) -> None:
        """End all sessions and remove the folder."""
        self._done.set()
        atexit.unregister(self.close)
        for key in list(self._sessions):
            self.end(key)
        shutil.rmtree(self.root, ignore_errors=True)

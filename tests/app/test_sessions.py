"""Sessions: apart from each other, and gone when they end."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agsrec.app.sessions import Photo, Sessions
from agsrec.errors import OptionError


@pytest.fixture
def sessions() -> Iterator[Sessions]:
    made = Sessions(idle_minutes=1.0)
    yield made
    made.close()


class FakeJob:
    """Something to be stopped."""

    stopped = False

    def stop(self) -> None:
        self.stopped = True


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_folders_are_private_and_cannot_be_guessed(sessions: Sessions) -> None:
    a, b = sessions.of("a"), sessions.of("b")
    folders = [sessions.root, sessions.served, sessions.uploads, a.private, a.public, a.new_folder()]
    assert [mode(f) for f in folders] == [0o700] * 6
    assert len({a.public.name, b.public.name, "a", "b"}) == 4
    assert len(a.public.name) >= 32  # 24 random bytes
    assert sessions.of("a") is a
    assert not a.private.is_relative_to(sessions.served)


def test_the_end_removes_everything(sessions: Sessions) -> None:
    session, other, job = sessions.of("a"), sessions.of("b"), FakeJob()
    session.job = job  # pyright: ignore[reportAttributeAccessIssue]
    (session.new_folder() / "photo.png").write_bytes(b"x")
    (session.new_folder(served=True) / "mesh.glb").write_bytes(b"x")
    sessions.end("a")
    assert job.stopped and not session.private.exists() and not session.public.exists()
    assert sessions.find("a") is None and other.public.exists()
    sessions.end("nobody")


def test_a_page_that_is_closed_in_the_middle(sessions: Sessions) -> None:
    """Its files go at once, whoever is just writing one; that is said, and is no fault of ours."""
    session = sessions.of("a")
    folder = session.new_folder(served=True)
    with pytest.raises(OptionError, match="page was closed"), session.at_work():
        sessions.end("a")
        (folder / "001.jpg").write_bytes(b"x")
    for late in (session.new_folder, session.reset):
        with pytest.raises(OptionError, match="page was closed"):
            late()
    with pytest.raises(FileNotFoundError), sessions.of("b").at_work():
        (folder / "001.jpg").write_bytes(b"x")


def test_start_over(sessions: Sessions) -> None:
    session = sessions.of("a")
    folder = session.new_folder(served=True)
    session.photos.append(Photo("01", "cup", folder / "01.jpg"))
    session.title, session.outcome = "cup", {}
    session.reset()
    assert not session.photos and session.outcome is None and not folder.exists()
    assert session.new_folder(served=True).name != folder.name  # no browser shows an old file


def test_sweep_takes_what_nobody_uses(sessions: Sessions) -> None:
    idle, busy, fresh = (sessions.of(key) for key in ("idle", "busy", "fresh"))
    busy.job = FakeJob()  # pyright: ignore[reportAttributeAccessIssue]
    idle.used = busy.used = time.monotonic() - 61
    old, new = sessions.uploads / "old", sessions.uploads / "new"
    for folder in (old, new):
        folder.mkdir()
    os.utime(old, (time.time() - 61, time.time() - 61))
    sessions.sweep()
    assert not idle.public.exists() and busy.public.exists() and fresh.public.exists()
    assert not old.exists() and new.exists()


def test_close_removes_the_folder() -> None:
    made = Sessions()
    made.of("a")
    made.close()
    assert not made.root.exists() and len(made) == 0


def test_files_of_uploads_that_came_to_nothing_go() -> None:
    """Gradio leaves the file that it received where it knows the content, and where the client went away."""
    sessions = Sessions(idle_minutes=60)
    old, new, kept = (sessions.uploads / name for name in ("tmpold", "tmpnew", "abc"))
    kept.mkdir()
    for file in (old, new, kept / "photo.jpg"):
        file.touch()
    for entry in (old, kept):
        os.utime(entry, (time.time() - 900, time.time() - 900))
    sessions.sweep()
    assert sorted(sessions.uploads.iterdir()) == [kept, new]
    os.utime(kept, (time.time() - 3700, time.time() - 3700))
    sessions.sweep()
    assert list(sessions.uploads.iterdir()) == [new]
    sessions.close()

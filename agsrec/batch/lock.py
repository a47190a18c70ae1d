"""Only one batch writes to an output at a time, and another one is told whose it is."""

from __future__ import annotations

import getpass
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from agsrec.batch.places import Place
from agsrec.errors import AgsrecError, OptionError
from agsrec.files import prepare_folder

__all__ = ["locked"]

_LOCK, _OWNER = ".batch.lock", ".batch.json"
_BEAT = 60.0  # seconds after which an owner elsewhere says again that it lives
_SILENT = 600.0  # seconds after which it no longer does


@dataclass(frozen=True)
class _Owner:
    """Who writes to an output.

    Attributes:
        user: Name of the user.
        host: Name of the machine.
        pid: Number of the process there.
        since: When it began, UTC.
        beat: When it last said that it lives, seconds since 1970.
    """

    user: str
    host: str
    pid: int
    since: str
    beat: float

    @staticmethod
    def me() -> _Owner:
        try:
            user = getpass.getuser()
        except (KeyError, OSError):  # a user without a name, as in containers
            user = str(os.getuid()) if hasattr(os, "getuid") else "somebody"
        since = datetime.now(UTC).isoformat(timespec="seconds")
        return _Owner(user, socket.gethostname(), os.getpid(), since, time.time())

    def __str__(self) -> str:
        return f"{self.user} on {self.host}, process {self.pid}, since {self.since}"


@contextmanager
def locked(output: Place) -> Iterator[None]:
    """Hold an output while this lasts.

    In a folder of this machine it is a lock on a file, which goes when the process does, however it ends.
    Elsewhere it is a file that is renewed every minute, and worth nothing after ten.

    Raises:
        OptionError: Another batch holds it.
        OutputError: The output cannot be written.
    """
    holding = _file_lock(output) if output.path is not None else _beats(output)
    with holding:
        yield


@contextmanager
def _file_lock(output: Place) -> Iterator[None]:
    from filelock import FileLock, Timeout

    assert output.path is not None
    prepare_folder(output.path)
    lock = FileLock(output.path / _LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise _taken(output, _owner(output)) from None
    try:
        _sign(output)
        yield
    finally:
        with suppress(OSError):
            (output.path / _OWNER).unlink(missing_ok=True)
        lock.release()


@contextmanager
def _beats(output: Place) -> Iterator[None]:
    owner = _owner(output)
    if owner is not None and time.time() - owner.beat < _SILENT and not _is_gone(owner):
        raise _taken(output, owner)
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(_BEAT):
            with suppress(AgsrecError):  # the next one may reach it
                _sign(output)

    _sign(output)
    thread = threading.Thread(target=beat, name="agsrec-lock", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        output.remove(_OWNER)


def _sign(output: Place) -> None:
    output.write(_OWNER, json.dumps(asdict(_Owner.me())).encode())


def _owner(output: Place) -> _Owner | None:
    data = output.read(_OWNER)
    try:
        return None if data is None else _Owner(**json.loads(data))
    except (ValueError, TypeError, RecursionError):
        return None


def _is_gone(owner: _Owner) -> bool:
    """Whether it was a process of this machine that is no more."""
    import psutil

    return owner.host == socket.gethostname() and not psutil.pid_exists(owner.pid)


def _taken(output: Place, owner: _Owner | None) -> OptionError:
    whose = "" if owner is None else f" ({owner})"
    return OptionError(
        f"another batch is writing to {output}{whose}; wait until it is done, or name another --output"
    )

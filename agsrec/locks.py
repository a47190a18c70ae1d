"""Only one process at a time writes into a folder, and another one is told whose it is."""

from __future__ import annotations

import errno
import getpass
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from agsrec.errors import AgsrecError, OptionError, OutputError
from agsrec.files import atomic_write, prepare_folder

if TYPE_CHECKING:
    from filelock import BaseFileLock

__all__ = ["LOCK_FILES", "Board", "Owner", "held", "locked"]

_LOCK, _OWNER = ".agsrec.lock", ".agsrec.json"
LOCK_FILES = _LOCK, _OWNER
"""Names of the files in a folder that say whose it is; no part of what it holds."""
_NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK}
_BEAT = 60.0  # seconds after which an owner says again that it lives
_SILENT = 600.0  # seconds after which it no longer does
_POLL = 0.2  # seconds between two looks at whether an owner is still there
_CLOCKS = 2.0  # seconds by which the system and its processes may differ about when one began


@dataclass(frozen=True)
class Owner:
    """Who writes into a folder.

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
    def me() -> Owner:
        """This process, now."""
        try:
            user = getpass.getuser()
        except (KeyError, OSError):  # a user without a name, as in containers
            user = str(os.getuid()) if hasattr(os, "getuid") else "somebody"
        since = datetime.now(UTC).isoformat(timespec="seconds")
        return Owner(user, socket.gethostname(), os.getpid(), since, time.time())

    @staticmethod
    def read(data: bytes | None) -> Owner | None:
        """What `written` wrote; None if it is something else."""
        try:
            return None if data is None else Owner(**json.loads(data))
        except (ValueError, TypeError, RecursionError):
            return None

    def written(self) -> bytes:
        """As the content of a file."""
        return json.dumps(asdict(self)).encode()

    def is_silent(self) -> bool:
        """Whether its last word is long ago, or from a future that a clock was set back from."""
        return abs(time.time() - self.beat) >= _SILENT

    def is_gone(self) -> bool:
        """Whether it was a process of this machine that is no more; another may have its number now."""
        import psutil

        if self.host != socket.gethostname():
            return False
        try:
            return psutil.Process(self.pid).create_time() > self.beat + _CLOCKS
        except psutil.NoSuchProcess:
            return True
        except psutil.Error:
            return False

    def __str__(self) -> str:
        return f"{self.user} on {self.host}, process {self.pid}, since {self.since}"


@dataclass(frozen=True)
class Board:
    """Where an owner's name stands: how to read, write and remove a file beside the results.

    Attributes:
        where: The folder, as messages name it.
        read: Contents of a file by its name, None where it is not there.
        write: Write a file, as a whole.
        remove: Remove a file, where it is there.
        instead: What to do instead of waiting until another process is done.
    """

    where: str
    read: Callable[[str], bytes | None]
    write: Callable[[str, bytes], None]
    remove: Callable[[str], None]
    instead: str = "name another --output"

    @staticmethod
    def of(folder: Path, instead: str = instead) -> Board:
        """That of a folder."""

        def read(name: str) -> bytes | None:
            try:
                return (folder / name).read_bytes()
            except OSError:
                return None

        def remove(name: str) -> None:
            with suppress(OSError):
                (folder / name).unlink(missing_ok=True)

        def write(name: str, data: bytes) -> None:
            atomic_write(folder / name, data)

        return Board(str(folder), read, write, remove, instead)

    def owner(self) -> Owner | None:
        """Whose name stands there."""
        return Owner.read(self.read(_OWNER))

    def sign(self) -> None:
        """Write the name of this process."""
        self.write(_OWNER, Owner.me().written())

    def wipe(self) -> None:
        """Remove the name."""
        self.remove(_OWNER)

    def taken(self, owner: Owner | None) -> OptionError:
        """What somebody is told who comes too late."""
        whose = "" if owner is None else f" ({owner})"
        return OptionError(
            f"another process is writing to {self.where}{whose}; wait until it is done, or {self.instead}"
        )


@contextmanager
def locked(folder: Path, *, patience: float = 0.0, instead: str = Board.instead) -> Iterator[None]:
    """Hold a folder while this lasts; it is made where there is none.

    It is a lock on a file, which goes when the process does, however it ends; where the file system has no
    locks, a file that says who writes, as in `held`.

    Args:
        folder: The folder.
        patience: Seconds to wait for another process that holds it.
        instead: What a user may do otherwise than wait, for the message.

    Raises:
        OptionError: Another process holds it.
        OutputError: The folder cannot be written.
    """
    from filelock import FileLock, Timeout

    new = [place for place in (folder, *folder.parents) if not place.exists()]
    board, lock = Board.of(folder, instead), FileLock(folder / _LOCK, timeout=patience)
    try:
        _acquire(lock, folder)
    except Timeout:
        raise board.taken(board.owner()) from None
    except (NotImplementedError, OSError) as error:
        if not _means_no_locks(error):
            raise OutputError(
                f"cannot write {folder / _LOCK}: {error}; make it writable, or {instead}"
            ) from error
    if not lock.is_locked:
        with held(board, patience):
            yield
        return
    try:
        board.sign()
        yield
    finally:
        board.wipe()
        _remove_empty(folder, new)
        lock.release()


def _acquire(lock: BaseFileLock, folder: Path) -> None:
    """Acquire the lock of a folder, which is made where there is none."""
    prepare_folder(folder)
    try:
        lock.acquire()
    except FileNotFoundError:  # who held it has removed the folder that it had made for nothing
        prepare_folder(folder)
        lock.acquire()


def _means_no_locks(error: NotImplementedError | OSError) -> bool:
    """Whether the file system cannot lock, and not something that a user can mend.

    filelock raises NotImplementedError where the system answers that it has no locks.
    """
    return isinstance(error, NotImplementedError) or error.errno in _NO_LOCKS


def _remove_empty(folder: Path, new: list[Path]) -> None:
    """Remove folders that were made for nothing, before any result was there."""
    if folder in new and os.listdir(folder) == [_LOCK]:
        with suppress(OSError):
            (folder / _LOCK).unlink()
            for place in new:
                place.rmdir()


@contextmanager
def held(board: Board, patience: float = 0.0) -> Iterator[None]:
    """Hold what has no locks, by a file that is renewed every minute and worth nothing after ten.

    Args:
        board: Where the file stands.
        patience: Seconds to wait for another process that holds it.

    Raises:
        OptionError: Another process holds it.
        OutputError: It cannot be written.
    """
    end = time.monotonic() + patience
    while (owner := board.owner()) is not None and not owner.is_silent() and not owner.is_gone():
        if time.monotonic() >= end:
            raise board.taken(owner)
        time.sleep(_POLL)
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(_BEAT):
            with suppress(AgsrecError):  # the next one may reach it
                board.sign()

    board.sign()
    thread = threading.Thread(target=beat, name="agsrec-lock", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        board.wipe()

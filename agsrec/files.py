"""Reading and writing files: bounded reads with clear errors, writes that are never half done."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import stat
import unicodedata
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from agsrec.errors import AgsrecError, OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = [
    "atomic_path",
    "atomic_write",
    "contents_digest",
    "existing_name",
    "folder_entries",
    "is_plain_name",
    "prepare_folder",
    "read_bytes",
    "remove_leftovers",
]

_TEMPORARY = re.compile(r"\.(\d+)-[0-9a-f]{16}(\.|$)")  # names that `atomic_path` makes up


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary file name beside `path`, moved onto `path` when the block ends without an exception.

    For writers that need a file name: the temporary name keeps the extension. Missing parent folders are
    made. A reader never sees a half-written file, and an interrupted write leaves the old one untouched.

    Raises:
        OutputError: The folder or the file cannot be written.
    """
    # os.path answers where pathlib raises: names too long or with a null byte.
    target = Path(path)
    if not target.name or os.path.isdir(target):
        raise OutputError(f"cannot write {target}: it is a folder; give the name of a file")
    if "\0" in str(target):
        raise OutputError(f"cannot write {str(target)!r}: a null byte in the name; give another name")
    temporary = target.with_name(f".{os.getpid()}-{secrets.token_hex(8)}{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, target)
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno == errno.ENAMETOOLONG:
            raise OutputError(f"cannot write {target}: {reason}; give it a shorter name") from error
        raise OutputError(
            f"cannot write {target}: {reason}; choose a folder you can write to, with space left"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def atomic_write(path: str | Path, data: bytes | str) -> None:
    """Write a whole file (text as UTF-8), or leave what was there untouched.

    Raises:
        OutputError: The folder or the file cannot be written.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


def folder_entries(folder: str | Path) -> list[Path]:
    """What is in a folder, sorted by name; nothing if it is no folder or cannot be read."""
    try:
        return sorted(Path(folder).iterdir())
    except (OSError, ValueError):
        return []


def existing_name(path: Path, endings: Sequence[str] = ("",)) -> Path:
    """A path with the first ending that makes it exist, or under the name that the file has in its folder.

    What one system calls a file another spells with composed or decomposed accents, or in other case: the
    path comes from a list that was written elsewhere. Where several would do, it is left alone.
    """
    for ending in endings:
        if os.path.exists(candidate := Path(f"{path}{ending}")):
            return candidate
    wanted = {_spelt(f"{path.name}{ending}") for ending in endings}
    found = [f for f in folder_entries(path.parent) if _spelt(f.name) in wanted]
    return found[0] if len(found) == 1 else path


def _spelt(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def is_plain_name(name: str) -> bool:
    """Whether a name can stand in a line of text: no control characters, and none that are no text at all."""
    return not any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in name)


def prepare_folder(folder: Path) -> None:
    """Make a folder for results and prove that it can be written, before any work is done.

    Raises:
        OutputError: It cannot.
    """
    probe = folder / ".writable"
    atomic_write(probe, b"")
    try:
        probe.unlink()
    except OSError as error:
        raise OutputError(f"cannot write in {folder} ({error.strerror}); name another folder") from error


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files of `atomic_path` in a folder and below whose processes are no more."""
    for file in folder.rglob(".*"):
        name = _TEMPORARY.match(file.name)
        if name is not None and not _is_running(int(name[1])):
            with suppress(OSError):
                file.unlink(missing_ok=True)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's, or where the system does not tell
        return True
    return True


def contents_digest(path: str | Path) -> str:
    """SHA-256 of a file, or of names and contents of all files in a folder; "nothing" where there is none.

    Raises:
        OutputError: A file cannot be read.
    """
    root = Path(path)
    if not os.path.exists(root):
        return "nothing"
    files = sorted(f for f in root.rglob("*") if f.is_file()) if root.is_dir() else [root]
    whole = hashlib.sha256()
    for file in files:
        try:
            with file.open("rb") as opened:
                whole.update(f"{file.relative_to(root).as_posix()}\0".encode())
                whole.update(hashlib.file_digest(opened, "sha256").digest())
        except OSError as error:
            raise OutputError(f"{file} cannot be read: {error.strerror}; check its permissions") from error
    return whole.hexdigest()


def read_bytes(path: str | Path, *, error: type[AgsrecError], what: str, limit: int) -> bytes:
    """Contents of a file of at most `limit` bytes; whatever goes wrong becomes `error`, naming `what`."""
    try:
        status = os.stat(path)
        if status.st_size > limit:
            size = f"{limit / 2**20:.0f} MiB"
            raise error(f"{path} is larger than {size}, too large for {what}; is it the right file?")
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
            raise error(f"{path} is a device or pipe; expected {what}")  # reading it might never end
        with open(path, "rb") as file:
            return file.read(status.st_size)
    except FileNotFoundError as cause:
        if os.path.islink(path):
            raise error(f"{path} is a link to a file that is not there; expected {what}") from cause
        raise error(f"{path}: no such file; expected {what}") from cause
    except IsADirectoryError as cause:
        raise error(f"{path} is a folder; expected {what}") from cause
    except (OSError, ValueError) as cause:  # ValueError: a null byte in the name
        reason = getattr(cause, "strerror", None) or cause
        raise error(f"{str(path)!r} cannot be read: {reason}; check its name and permissions") from cause

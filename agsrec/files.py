"""Reading and writing files: bounded reads with clear errors, writes that are never half done."""

from __future__ import annotations

import os
import secrets
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from agsrec.errors import AgsrecError, OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["atomic_path", "atomic_write", "read_bytes"]


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary file name beside `path`, moved onto `path` when the block ends without an exception.

    For writers that need a file name: the temporary name keeps the extension. Missing parent folders are
    made. A reader never sees a half-written file, and an interrupted write leaves the old one untouched.

    Raises:
        OutputError: The folder or the file cannot be written.
    """
    target = Path(path)
    if not target.name or target.is_dir():
        raise OutputError(f"cannot write {target}: it is a folder; give the name of a file")
    temporary = target.with_name(f".{secrets.token_hex(8)}{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, target)
    except OSError as error:
        reason = error.strerror or str(error)
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


def read_bytes(path: str | Path, *, error: type[AgsrecError], what: str, limit: int) -> bytes:
    """Contents of a file of at most `limit` bytes; whatever goes wrong becomes `error`, naming `what`."""
    try:
        with open(path, "rb") as file:
            data = file.read(limit + 1)
    except FileNotFoundError as cause:
        raise error(f"{path}: no such file; expected {what}") from cause
    except IsADirectoryError as cause:
        raise error(f"{path} is a folder; expected {what}") from cause
    except (OSError, ValueError) as cause:  # ValueError: a null byte in the name
        reason = getattr(cause, "strerror", None) or cause
        raise error(f"{str(path)!r} cannot be read: {reason}; check its name and permissions") from cause
    if len(data) > limit:
        size = f"{limit / 2**20:.0f} MiB"
        raise error(f"{path} is larger than {size}, too large for {what}; is it the right file?")
    return data

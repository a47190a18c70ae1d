"""Folders of photos and of results: paths, and URLs of anything that fsspec reaches."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agsrec.errors import AgsrecError, OptionError, OutputError
from agsrec.files import atomic_write

__all__ = ["Place", "is_url"]


def is_url(text: str) -> bool:
    """Whether this names something by protocol, as s3://bucket/photos does."""
    return "://" in text


@dataclass(frozen=True)
class Place:
    """A folder, or a file where photos are: a path of this machine, or a URL.

    Attributes:
        where: The path or the URL.
    """

    where: str

    @staticmethod
    def of(where: str) -> Place:
        """The place that a user names, wherever a process that hears of it works."""
        return Place(where if is_url(where) else os.path.abspath(where))

    def __truediv__(self, name: str) -> Place:
        return Place(f"{self.where.rstrip('/')}/{name}")

    def __str__(self) -> str:
        return self.where

    @property
    def name(self) -> str:
        """The last part of it."""
        return Path(os.path.abspath(self.where)).name if self.path else self.where.rstrip("/").split("/")[-1]

    @property
    def path(self) -> Path | None:
        """The path; None where it is a URL."""
        return None if is_url(self.where) else Path(self.where)

    # ---------------------------------------------------------------- looking

    def matches(self) -> list[Place]:
        """The folders that a URL with wildcards means; of anything else itself."""
        if self.path is not None or not any(sign in self.where for sign in "*?["):
            return [self]
        with _reached(self) as (fs, inside):
            found = sorted(str(entry) for entry in fs.glob(inside))
            return [Place(fs.unstrip_protocol(entry)) for entry in found]

    def entries(self) -> list[str] | None:
        """Names of what is in the folder; of a file its own; None where there is nothing."""
        if self.path is not None:
            if os.path.isdir(self.path):
                return sorted(os.listdir(self.path))
            return [self.path.name] if os.path.isfile(self.path) else None
        with _reached(self) as (fs, inside):
            try:
                return sorted(str(entry).rstrip("/").split("/")[-1] for entry in fs.ls(inside, detail=False))
            except (FileNotFoundError, NotADirectoryError):
                return [self.name] if fs.isfile(inside) else None

    def read(self, name: str) -> bytes | None:
        """A file in it; None where it is not there."""
        if self.path is not None:
            try:
                return (self.path / name).read_bytes()
            except OSError:
                return None
        with _reached(self / name) as (fs, inside):
            try:
                return fs.cat_file(inside)
            except (FileNotFoundError, NotADirectoryError):
                return None

    # ---------------------------------------------------------------- changing

    def write(self, name: str, data: bytes) -> None:
        """Write a file in it, as a whole.

        Raises:
            OutputError: It cannot be written.
        """
        if self.path is not None:
            atomic_write(self.path / name, data)
            return
        with _reached(self / name, OutputError) as (fs, inside):
            fs.makedirs(fs._parent(inside), exist_ok=True)
            fs.pipe_file(inside, data)

    def remove(self, name: str = "") -> None:
        """Remove a file in it, or all of it, where it is there."""
        with _reached(self / name if name else self, OutputError) as (fs, inside):
            if fs.exists(inside):
                fs.rm(inside, recursive=True)

    def put(self, folder: Path, without: Collection[str] = ()) -> None:
        """Copy what is in a folder of this machine into it, but for some names.

        Raises:
            OutputError: Something cannot be written.
        """
        with _reached(self, OutputError) as (fs, inside):
            fs.makedirs(inside, exist_ok=True)
            for file in sorted(f for f in folder.rglob("*") if f.is_file()):
                name = file.relative_to(folder)
                if name.parts[0] not in without:
                    target = f"{inside}/{name.as_posix()}"
                    fs.makedirs(fs._parent(target), exist_ok=True)
                    fs.put_file(str(file), target)

    def get(self, folder: Path) -> Path:
        """Copy the folder or file into a folder of this machine; returns where it is.

        Raises:
            OptionError: It cannot be read.
        """
        target = folder / self.name
        with _reached(self) as (fs, inside):
            if fs.isfile(inside):
                fs.get_file(inside, str(target))
                return target
            for found in fs.find(inside):
                part = target / str(found).removeprefix(inside.rstrip("/")).lstrip("/")
                part.parent.mkdir(parents=True, exist_ok=True)
                fs.get_file(found, str(part))
        if not target.is_dir():
            raise OptionError(f"{self} is not there, or empty; name a folder of photos")
        return target


@contextmanager
def _reached(place: Place, error: type[AgsrecError] = OptionError) -> Iterator[tuple[Any, str]]:
    """The file system of a place, and the place in it; what goes wrong becomes an error that names it."""
    import fsspec

    try:
        yield fsspec.url_to_fs(place.where)
    except AgsrecError:
        raise
    except ImportError as cause:
        raise OptionError(f"{place}: {cause}; install what reads that protocol, such as s3fs") from cause
    except Exception as cause:  # those of cloud libraries have no common base
        reason = " ".join(str(cause).split()) or type(cause).__name__
        raise error(
            f"cannot reach {place}: {reason[:200]}; check the address and your rights there"
        ) from cause

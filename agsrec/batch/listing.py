"""From folders, or a list in a file, to jobs; what is wrong with them is said before any begins."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from agsrec.batch.places import Place, is_url
from agsrec.batch.record import Job
from agsrec.errors import OptionError, require
from agsrec.options import ObjectOptions

__all__ = ["Parse", "faults", "folder_rows", "listed_jobs", "option_words", "read_list"]

Row = dict[str, str]

Parse = Callable[[ObjectOptions, tuple[tuple[str, str], ...]], ObjectOptions]
"""Options of one object: the usual ones (first) with some others by name."""

_PHOTOS, _NAME = "photos", "name"
_INSIDE = ("processed", "images", "cameras.json", "transforms.json", "sparse", "colmap")  # of scenes


def listed_jobs(rows: Iterable[Row], options: ObjectOptions, parse: Parse) -> list[Job]:
    """The jobs of rows as `read_list` gives them.

    Args:
        rows: `photos`, perhaps `name`, and options by their names.
        options: Those of every object that does not have its own.
        parse: Reads those.

    Raises:
        OptionError: An object has an option that there is not, or that cannot be used.
    """
    jobs = []
    for row in rows:
        own = tuple((k, v) for k, v in row.items() if k not in (_PHOTOS, _NAME) and v)
        place = Place.of(row[_PHOTOS])
        jobs.append(Job(row.get(_NAME) or place.name, str(place), parse(options, own) if own else options))
    return jobs


def folder_rows(photos: Sequence[str]) -> Iterator[Row]:
    """Rows of folders and photos that are named one by one, or by a URL with wildcards."""
    for where in photos:
        found = Place(where).matches()
        if not found:
            raise OptionError(f"{where}: nothing there matches; name folders of photos")
        yield from ({_PHOTOS: str(place)} for place in found)


def read_list(file: Path) -> list[Row]:
    """The rows of a CSV or Parquet file; paths in it are relative to its own folder.

    Raises:
        OptionError: It cannot be read, or has no column `photos`.
        MissingExtraError: It is Parquet, and pyarrow is not installed.
    """
    if not os.path.isfile(file):
        raise OptionError(f"--list {file}: no such file; name a CSV or Parquet file with a column photos")
    rows = _parquet_rows(file) if file.suffix.lower() == ".parquet" else _csv_rows(file)
    if not rows or _PHOTOS not in rows[0]:
        raise OptionError(
            f"--list {file}: it has no column {_PHOTOS}, or no rows; its first line names the columns"
        )
    for number, row in enumerate(rows, 1):
        if not row[_PHOTOS]:
            raise OptionError(f"--list {file}: row {number} has no {_PHOTOS}; name a folder")
        if not is_url(row[_PHOTOS]):
            row[_PHOTOS] = os.path.normpath(file.parent / row[_PHOTOS])
    return rows


def _csv_rows(file: Path) -> list[Row]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"--list {file} cannot be read: {error}; save it as CSV in UTF-8") from error
    rows = []
    try:
        cells = list(csv.DictReader(io.StringIO(text)))
    except csv.Error as error:
        raise OptionError(f"--list {file} cannot be read: {error}; save it as CSV in UTF-8") from error
    for number, row in enumerate(cells, 1):
        if None in row:
            raise OptionError(
                f"--list {file}: row {number} has more cells than there are columns; quote cells with commas"
            )
        rows.append({name.strip(): (value or "").strip() for name, value in row.items()})
    return rows


def _parquet_rows(file: Path) -> list[Row]:
    require("pyarrow", "batch")
    from pyarrow import ArrowException, parquet  # pyright: ignore[reportMissingImports]

    try:
        table = parquet.read_table(file)
    except (OSError, ArrowException) as error:
        raise OptionError(f"--list {file} cannot be read: {error}; is it a Parquet file?") from error
    return [{k: "" if v is None else str(v) for k, v in row.items()} for row in table.to_pylist()]


# -------------------------------------------------------------------- what can be wrong


def faults(jobs: Sequence[Job], output: Place) -> list[str]:
    """What is wrong with a list of jobs, a sentence each."""
    return [*_double(jobs, output), *(fault for job in jobs if (fault := _fault(job, output)))]


def _double(jobs: Iterable[Job], output: Place) -> Iterator[str]:
    """Objects that are listed twice, and different ones of one name."""
    first: dict[str, str] = {}
    for job in jobs:
        before = first.get(job.name)
        first.setdefault(job.name, job.photos)
        if before == job.photos:
            yield f"{job.photos} is listed twice; leave one out"
        elif before is not None:
            yield (
                f"{before} and {job.photos} would both become {output / job.name}; "
                "give them different names, in a --list with a column name"
            )


def _fault(job: Job, output: Place) -> str | None:
    """What is wrong with one object by itself."""
    if job.name != Path(job.name).name or job.name.startswith(".") or "\0" in job.name:
        return f"{job.photos}: {job.name!r} cannot be the name of a folder; give it another in a column name"
    entries = Place(job.photos).entries()
    if entries is None:
        return f"{job.photos} is not there; take it out of the list, or mend its name"
    if not _shows_photos(entries):
        return f"{job.photos} has no photos in it; take it out of the list, or put some there"
    if Place(job.photos) == output / job.name:
        return f"the result of {job.photos} would overwrite its photos; name another --output"
    return None


def _shows_photos(entries: Iterable[str]) -> bool:
    from agsrec.frames import VIDEO_SUFFIXES
    from agsrec.images import IMAGE_SUFFIXES

    endings = (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES)
    return any(name in _INSIDE or Path(name).suffix.lower() in endings for name in entries)


def option_words(values: Iterable[tuple[str, str]]) -> list[str]:
    """Options by name, with the cells of a table, as the words of a command line."""
    truth = {"yes": "True", "true": "True", "no": "False", "false": "False"}
    words = []
    for name, value in values:
        several = value.split() if name == "views" else [truth.get(value.lower(), value)]
        words += [f"--{name.replace('_', '-')}", *several]
    return words

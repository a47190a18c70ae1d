"""The manifest of a batch: one row an object in a SQLite file, written by the driver alone.

It is made from the objects' records whenever a batch starts, so that it may be lost, damaged, or out of date.
"""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, fields
from pathlib import Path

from agsrec.batch.places import Place
from agsrec.batch.record import Job, Record, all_records
from agsrec.errors import OutputError
from agsrec.files import atomic_path

__all__ = ["MANIFEST", "Manifest", "open_manifest"]

MANIFEST = "manifest.sqlite"
"""Name of the file in the output."""

_COLUMNS = tuple(f.name for f in fields(Record))
_ALL = (*_COLUMNS, "concern")
_KINDS = {"seconds": "REAL", "peak_memory_mb": "REAL", "views": "INTEGER", "gaussians": "INTEGER"}
_KINDS |= dict.fromkeys(("psnr", "worst_psnr", "ssim", "novel_psnr", "confidence", "concern"), "REAL")
_KINDS |= {"has_mesh": "INTEGER", "name": "TEXT PRIMARY KEY"}
_PUT = f"INSERT OR REPLACE INTO objects ({', '.join(_ALL)}) VALUES ({', '.join('?' * len(_ALL))})"


class Manifest:
    """The rows; states are `done`, `failed` and `missing`, warnings a list in JSON.

    Args:
        file: The SQLite file, as `build` made it.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._base = sqlite3.connect(file)
        self._base.execute("PRAGMA synchronous = OFF")  # it can be made again from the records

    @staticmethod
    def build(file: Path, records: Iterable[Record], jobs: Sequence[Job]) -> Manifest:
        """Make the file anew, of what has ended and what is to be done; whatever was there is replaced.

        Raises:
            OutputError: It cannot be written.
        """
        columns = ", ".join(f"{name} {_KINDS.get(name, 'TEXT')}" for name in _ALL)
        with atomic_path(file) as temporary, _failing_as_output(file):
            made = Manifest(temporary)
            with closing(made._base), made._base:
                made._base.execute(f"CREATE TABLE objects ({columns})")
                made._base.execute("CREATE INDEX worst ON objects (concern DESC, name)")
                made._base.executemany(_PUT, map(_row, records))
                made._base.executemany(_PUT, map(_missing_row, filter(made._is_open, jobs)))
        return Manifest(file)

    def missing(self, jobs: Iterable[Job]) -> list[Job]:
        """The jobs that are not done."""
        return [job for job in jobs if self._ended(job) != ("done", job.made_with)]

    def put(self, record: Record) -> None:
        """Write the row of an object that has ended.

        Raises:
            OutputError: It cannot be written.
        """
        with _failing_as_output(self.file), self._base:
            self._base.execute(_PUT, _row(record))

    def count(self, state: str) -> int:
        """Number of objects in a state."""
        return self._base.execute("SELECT COUNT(*) FROM objects WHERE state = ?", (state,)).fetchone()[0]

    def worst_first(self) -> Iterator[Record]:
        """All objects that have ended: failed ones, doubtful ones, the others by name."""
        return self._ordered("concern DESC, name")

    def by_name(self) -> Iterator[Record]:
        """All objects that have ended."""
        return self._ordered("name")

    def _ordered(self, order: str) -> Iterator[Record]:
        query = f"SELECT {', '.join(_COLUMNS)} FROM objects WHERE state != 'missing' ORDER BY {order}"
        for row in self._base.execute(query):
            values = dict(zip(_COLUMNS, row, strict=True))
            record = Record.from_values(values | {"warnings": json.loads(values["warnings"])})
            if record is not None:
                yield record

    def doubtful(self) -> int:
        """Number of objects that somebody should look at."""
        query = "SELECT COUNT(*) FROM objects WHERE state != 'missing' AND concern > 0"
        return self._base.execute(query).fetchone()[0]

    def close(self) -> None:
        """Close the file."""
        self._base.close()

    def _ended(self, job: Job) -> tuple[str, str] | None:
        query = "SELECT state, made_with FROM objects WHERE name = ?"
        return self._base.execute(query, (job.name,)).fetchone()

    def _is_open(self, job: Job) -> bool:
        """Whether no row says of this very job how it ended."""
        ended = self._ended(job)
        return ended is None or ended[1] != job.made_with


@contextmanager
def _failing_as_output(file: Path) -> Iterator[None]:
    """What goes wrong with a database becomes an error that says what to do."""
    try:
        yield
    except sqlite3.Error as error:
        raise OutputError(
            f"cannot write {file}: {error}; see that there is space, and the same command goes on"
        ) from error


def _row(record: Record) -> tuple[object, ...]:
    values = asdict(record) | {"warnings": json.dumps(record.warnings), "concern": record.concern}
    return tuple(values[name] for name in _ALL)


def _missing_row(job: Job) -> tuple[object, ...]:
    values = {"name": job.name, "photos": job.photos, "made_with": job.made_with, "state": "missing"}
    values |= {"warnings": "[]", "sentence": ""}
    return tuple(values.get(name) for name in _ALL)


@contextmanager
def open_manifest(output: Place, jobs: Sequence[Job]) -> Iterator[Manifest]:
    """The manifest of an output; of one that is elsewhere a copy, which is put there at the end."""
    records = all_records(output)
    if output.path is not None:
        with closing(Manifest.build(output.path / MANIFEST, records, jobs)) as manifest:
            yield manifest
        return
    with tempfile.TemporaryDirectory(prefix="agsrec-manifest-") as folder:
        try:
            with closing(Manifest.build(Path(folder) / MANIFEST, records, jobs)) as manifest:
                yield manifest
        finally:
            output.write(MANIFEST, (Path(folder) / MANIFEST).read_bytes())

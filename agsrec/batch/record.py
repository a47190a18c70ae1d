"""One object of many: what is to be done, and what became of it.

The record in the object's own folder is the truth: it is written at the very end, at once, so that an object
is done, failed, or not there. Everything else that is known of a batch can be made from the records.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

from agsrec.options import ObjectOptions

if TYPE_CHECKING:
    from agsrec.batch.places import Place

__all__ = ["RECORD", "Job", "Record", "all_records", "read_record", "write_record"]

RECORD = "object.json"
"""File of an object's folder that says what became of it."""

_LETTERS = 16
_GOOD_DB = 20.0  # what a photo is explained with at least where all is well
_SURE = 0.5  # confidence in a pose, likewise
_PER_DOUBT = 5.0  # what a sentence of a run counts, in decibels


@dataclass(frozen=True)
class Job:
    """An object to reconstruct.

    Attributes:
        name: Name of its folder in the output.
        photos: Folder of its photos, or one photo: a path or a URL.
        options: How.
    """

    name: str
    photos: str
    options: ObjectOptions = field(default_factory=ObjectOptions)

    @property
    def made_with(self) -> str:
        """Digest of where the photos are and of all options."""
        return hashlib.sha256(f"{self.photos}\0{_digest(self.options)}".encode()).hexdigest()[:_LETTERS]


@lru_cache(maxsize=256)
def _digest(options: ObjectOptions) -> str:
    """Digest of options: most objects of a batch share theirs."""
    plain = json.dumps(asdict(options), default=str, sort_keys=True)
    return hashlib.sha256(plain.encode()).hexdigest()


@dataclass(frozen=True)
class Record:
    """What became of an object.

    Attributes:
        name: Name of its folder.
        photos: Where its photos are.
        made_with: See `Job.made_with`.
        state: Whether it is done.
        sentence: Why it failed.
        seconds: Time it took.
        peak_memory_mb: Most memory its process held meanwhile, where the system says so.
        views: Photos used.
        gaussians: Size of the scene.
        psnr: Agreement with the photos, dB, in the mean.
        worst_psnr: The same of the worst photo.
        ssim: The same as SSIM, in the mean.
        novel_psnr: Agreement with photos that were not used, dB, where there are some.
        confidence: Least confidence in a pose, where poses were estimated.
        has_mesh: Whether there is a mesh.
        warnings: Sentences of the run for which somebody should look at it.
        ended: When, UTC.
    """

    name: str
    photos: str
    made_with: str
    state: Literal["done", "failed"]
    sentence: str = ""
    seconds: float = 0.0
    peak_memory_mb: float | None = None
    views: int | None = None
    gaussians: int | None = None
    psnr: float | None = None
    worst_psnr: float | None = None
    ssim: float | None = None
    novel_psnr: float | None = None
    confidence: float | None = None
    has_mesh: bool | None = None
    warnings: tuple[str, ...] = ()
    ended: str = ""

    @staticmethod
    def of(job: Job, state: Literal["done", "failed"], **values: Any) -> Record:
        """The record of a job that ends now."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return Record(job.name, job.photos, job.made_with, state, ended=now, **values)

    def is_of(self, job: Job) -> bool:
        """Whether this is what the job asks for, finished."""
        return self.state == "done" and self.made_with == job.made_with

    def doubts(self) -> list[str]:
        """Why somebody should look at the object, in sentences; nothing where all is well."""
        if self.state == "failed":
            return [self.sentence]
        found = list(self.warnings)
        if self.worst_psnr is not None and self.worst_psnr < _GOOD_DB:
            found.append(f"A photo is explained with {self.worst_psnr:.1f} dB only")
        if self.confidence is not None and self.confidence < _SURE:
            found.append(f"The confidence in a pose is {self.confidence:.2f} only")
        return found

    @property
    def concern(self) -> float:
        """How much it should be looked at: 0 where all is well, infinite where it failed."""
        if self.state == "failed":
            return float("inf")
        if not self.doubts():
            return 0.0
        missing_db = 0.0 if self.worst_psnr is None else max(0.0, _GOOD_DB - self.worst_psnr)
        return missing_db + _PER_DOUBT * len(self.doubts())

    def to_json(self) -> bytes:
        """As it is stored."""
        return (json.dumps(asdict(self), indent=1) + "\n").encode()

    @staticmethod
    def from_json(data: bytes) -> Record | None:
        """A stored one; None where it is none, or is only half there."""
        try:
            content = json.loads(data)
        except (ValueError, RecursionError):
            return None
        return Record.from_values(content) if isinstance(content, dict) else None

    @staticmethod
    def from_values(values: Mapping[str, Any]) -> Record | None:
        """From plain values by name, others being ignored; None where some are missing or of another kind."""
        known = {f.name: values[f.name] for f in fields(Record) if f.name in values}
        try:
            record = Record(**known)
            record = replace(record, warnings=tuple(record.warnings))
        except TypeError:
            return None
        kinds = get_type_hints(Record)
        return record if all(_is_of(getattr(record, name), kind) for name, kind in kinds.items()) else None


def _is_of(value: Any, kind: Any) -> bool:
    """Whether a value read from JSON is what a field of a record holds."""
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if get_origin(kind) is tuple:
        return all(isinstance(item, str) for item in value)
    kinds = get_args(kind) or (kind,)
    if float in kinds:
        kinds = (*kinds, int)
    return isinstance(value, kinds)


def read_record(output: Place, name: str) -> Record | None:
    """The record of an object of that name, if there is one."""
    data = (output / name).read(RECORD)
    record = None if data is None else Record.from_json(data)
    return record if record is not None and record.name == name else None


def all_records(output: Place) -> Iterator[Record]:
    """The records of all objects in an output, by name."""
    for name in output.entries() or ():
        record = read_record(output, name)
        if record is not None:
            yield record


def write_record(output: Place, record: Record) -> None:
    """Write an object's record, whole or not at all.

    Raises:
        OutputError: It cannot be written.
    """
    (output / record.name).write(RECORD, record.to_json())

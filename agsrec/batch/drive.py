"""The driver of a batch: what is missing goes to an engine, what ends goes into the manifest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from agsrec.batch.lock import locked
from agsrec.batch.manifest import Manifest, open_manifest
from agsrec.batch.page import write_pages
from agsrec.batch.places import Place
from agsrec.batch.record import Job, Record, all_records
from agsrec.batch.work import Work

__all__ = ["Engine", "Summary", "look_at", "run_batch"]

Engine = Callable[[Work, Iterable[Job]], Iterator[Record]]
"""Does jobs somewhere, and yields their records as they end."""

Told = Callable[[Record, int, int], None]
"""Given a record that is new, how many there are of these, and how many there will be."""


@dataclass(frozen=True)
class Summary:
    """How a batch stands.

    Attributes:
        done: Objects of it that are done.
        failed: Objects that failed.
        computed: Objects that were worked on now.
        doubtful: Objects in the output that somebody should look at, failed ones included.
    """

    done: int
    failed: int
    computed: int
    doubtful: int


def run_batch(
    jobs: Sequence[Job],
    output: Place,
    engine: Engine,
    told: Told | None = None,
    work: Work | None = None,
) -> Summary:
    """Make all objects that are missing in an output, with a manifest and a page that shows them.

    Objects that failed before are tried again, and those that were made otherwise are made anew.

    Args:
        jobs: The objects, of distinct names.
        output: Folder that the objects' folders are in.
        engine: Where to compute.
        told: Told of every object that ends.
        work: What is done with an object; by default it is reconstructed.

    Raises:
        OptionError: Another batch is writing there, or the engine cannot be had.
        OutputError: Something cannot be written.
    """
    computed = failed = 0
    with locked(output), open_manifest(output, jobs) as manifest:
        missing = manifest.missing(jobs)
        records = engine(work or Work(output), missing) if missing else iter(())
        try:
            for record in records:
                manifest.put(record)
                computed += 1
                failed += record.state == "failed"
                if told is not None:
                    told(record, computed, len(missing))
        finally:
            _close(records)
            write_pages(output, manifest)
        return _summary(manifest, len(jobs) - failed, failed, computed)


def _close(records: Iterator[Record]) -> None:
    """Let an engine end its processes now, whatever happened."""
    if hasattr(records, "close"):
        records.close()  # pyright: ignore[reportAttributeAccessIssue]


def _summary(manifest: Manifest, done: int, failed: int, computed: int) -> Summary:
    return Summary(done, failed, computed, manifest.doubtful())


def look_at(jobs: Sequence[Job], output: Place) -> tuple[list[Record], list[Job]]:
    """What an output has, worst first, and which jobs are not done; nothing is computed or written."""
    records = sorted(all_records(output), key=lambda record: (-record.concern, record.name))
    found = {record.name: record for record in records}
    missing = [job for job in jobs if not (job.name in found and found[job.name].is_of(job))]
    return records, missing

"""Many objects: a list of them, workers on this machine or on a Ray cluster, and what became of each."""

from agsrec.batch.drive import Summary, run_batch
from agsrec.batch.listing import listed_jobs
from agsrec.batch.record import Job, Record

__all__ = ["Job", "Record", "Summary", "listed_jobs", "run_batch"]

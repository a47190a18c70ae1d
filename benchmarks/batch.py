"""What many objects cost beside their own runs, and whether it grows with their number.

python benchmarks/batch.py many --objects 10000           # a stub in place of the run: the driver alone
python benchmarks/batch.py share data/demo/toy            # two workers each with a core, one with two

`share` makes copies of one folder, in turns with one worker on all cores and with a worker on each core. The
wall clock says how many objects an hour that is, as long as nothing else runs on the machine.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import psutil
import tyro
from machine import description

from agsrec.batch.drive import run_batch
from agsrec.batch.local import LocalPool
from agsrec.batch.manifest import MANIFEST
from agsrec.batch.places import Place
from agsrec.batch.record import Job, Record, all_records
from agsrec.batch.work import Work
from agsrec.cli.parsing import parse
from agsrec.errors import AgsrecError
from agsrec.limits import usual_threads
from agsrec.options import ObjectOptions
from agsrec.pipeline import Listener

_MODULES = ("agsrec.batch.work",)
_SHORT = [
    *("--prior", "none", "--mesh_format", "none"),
    *("--fit.rounds.0.stages.0.iterations", "40", "--fit.rounds.0.stages.1.iterations", "30"),
    *("--fit.rounds.1.stages.0.iterations", "30", "--fit.rounds.2.stages.0.iterations", "30"),
    *("--fit.rounds.2.stages.1.iterations", "30", "--fit.rounds.2.stages.2.iterations", "30"),
]


def stub(job: Job, photos: Path, folder: Path, listener: Listener) -> Mapping[str, Any]:
    """A file, figures, and now and then a doubt or a failure, in place of a run."""
    number = int(job.name)
    (folder / "splat.ply").write_bytes(b"ply" * 100)
    if number % 97 == 0:
        listener.warn("Left out, because their poses could not be found: 003")
    if number % 101 == 0:
        raise AgsrecError(f"{photos}: no object found in it")
    return {"views": 8, "gaussians": 9000, "psnr": 24.0 + number % 7, "worst_psnr": 21.0, "ssim": 0.9}


# -------------------------------------------------------------------- many objects


@dataclass
class Many:
    """Objects that cost nothing: what remains is the batch."""

    objects: int = 10_000
    """How many."""
    workers: int = usual_threads()
    """Processes."""
    parts: int = 10
    """Parts of the course that are measured one by one."""
    json: Path | None = None
    """File for the figures."""

    def run(self) -> dict[str, Any]:
        """Make them, make nothing the second time, and compare manifest and records."""
        with tempfile.TemporaryDirectory() as place:
            photos, output = Path(place, "photos"), Place(f"{place}/out")
            photos.mkdir()
            jobs = [Job(f"{k:08d}", str(photos)) for k in range(1, self.objects + 1)]
            course = _Course(max(1, self.objects // self.parts))
            pool, work = LocalPool(self.workers, modules=_MODULES), Work(output, stub)
            clock = time.perf_counter()
            first = run_batch(jobs, output, pool, course.told, work)
            seconds = time.perf_counter() - clock
            clock = time.perf_counter()
            second = run_batch([job for job in jobs if int(job.name) % 101], output, pool, None, work)
            again = time.perf_counter() - clock
            assert second.computed == 0
            return {
                "objects": self.objects,
                "workers": self.workers,
                "seconds": seconds,
                "failed": first.failed,
                "again_seconds": again,
                "manifest_agrees": _agrees(output),
                "page_bytes": sum(f.stat().st_size for f in Path(output.where).glob("*.html")),
                "parts": course.parts,
            }


@dataclass
class _Course:
    """What is noted of the driver while objects end, every so often."""

    every: int
    parts: list[dict[str, float]] = field(default_factory=list)
    clock: float = field(default_factory=time.perf_counter)
    spent: float = field(default_factory=time.process_time)

    def told(self, record: Record, count: int, total: int) -> None:
        """Note time and memory at the end of a part."""
        if count % self.every:
            return
        now, spent = time.perf_counter(), time.process_time()
        part = {
            "objects": count,
            "ms_per_object": 1e3 * (now - self.clock) / self.every,
            "driver_cpu_ms_per_object": 1e3 * (spent - self.spent) / self.every,
            "driver_mb": psutil.Process().memory_info().rss / 2**20,
        }
        print(" ".join(f"{name} {value:.1f}" for name, value in part.items()), flush=True)
        self.parts.append(part)
        self.clock, self.spent = now, spent


def _agrees(output: Place) -> bool:
    """Whether the manifest has of each object what its record says, and no others."""
    base = sqlite3.connect(Path(output.where, MANIFEST))
    rows = {
        name: rest for name, *rest in base.execute("SELECT name, state, sentence, psnr, ended FROM objects")
    }
    base.close()
    return rows == {r.name: [r.state, r.sentence, r.psnr, r.ended] for r in all_records(output)}


# -------------------------------------------------------------------- two workers


@dataclass
class Share:
    """The cores shared by workers against one that has them all."""

    photos: tyro.conf.Positional[Path]
    """Folder of an object."""
    objects: int = 4
    """Copies of it in each turn."""
    turns: int = 2
    """Turns."""
    whole: bool = False
    """The preset `fast` as it is, with prior and mesh, instead of a short schedule without them."""
    json: Path | None = None
    """File for the figures."""

    def run(self) -> dict[str, Any]:
        """Take turns."""
        cores = usual_threads()
        turns = []
        for _ in range(self.turns):
            for workers in (1, cores):
                turns.append(self._turn(workers))
                print(json.dumps(turns[-1]), flush=True)
        by_workers = {w: [t for t in turns if t["workers"] == w] for w in (1, cores)}
        wall, spent = (
            {w: statistics.median(t[name] for t in of) for w, of in by_workers.items()}
            for name in ("seconds", "cpu_seconds")
        )
        return {
            "objects": self.objects,
            "cores": cores,
            "turns": turns,
            "throughput_ratio": wall[1] / wall[cores],
            "cpu_ratio": spent[1] / spent[cores],
            "overhead_seconds": statistics.median(t["overhead_seconds"] for t in turns),
        }

    def _turn(self, workers: int) -> dict[str, Any]:
        """One batch, of new copies."""
        with tempfile.TemporaryDirectory() as place:
            words = [] if self.whole else _SHORT
            options = parse(ObjectOptions, words, prog="share", description=None, default=ObjectOptions())
            jobs = [self._copied(Path(place, "photos", f"{k:03d}"), options) for k in range(self.objects)]
            output = Place(f"{place}/out")
            watch = _Watch()
            summary = run_batch(jobs, output, watch.over(LocalPool(workers)), watch.told)
            assert summary.failed == 0, "an object failed"
            return {"workers": workers} | watch.figures(workers)

    def _copied(self, folder: Path, options: ObjectOptions) -> Job:
        shutil.copytree(self.photos, folder)
        return Job(folder.name, str(folder), options)


class _Watch:
    """Times a batch from the moment its workers have their first objects."""

    def __init__(self) -> None:
        self._records: list[Record] = []
        self._ends: list[float] = []
        self._clock, self._children = 0.0, 0.0

    def over(self, pool: LocalPool) -> Any:
        """The pool, with its processor time noted while it is still there."""

        def engine(work: Work, jobs: Iterable[Job]) -> Iterator[Record]:
            self._clock = time.perf_counter()
            for record in pool(work, jobs):
                self._children = _cpu_seconds()
                yield record

        return engine

    def told(self, record: Record, count: int, total: int) -> None:
        """Note an object."""
        self._records.append(record)
        self._ends.append(time.perf_counter())

    def figures(self, workers: int) -> dict[str, float]:
        """What the batch took, and beside the objects: of all but the first ones, which start workers."""
        rest = self._records[workers:]
        inside = sum(record.seconds for record in rest) / workers
        begun = max(self._ends[:workers])
        return {
            "seconds": self._ends[-1] - self._clock,
            "cpu_seconds": self._children,
            "object_seconds": statistics.median(r.seconds for r in self._records),
            "peak_mb": max(r.peak_memory_mb or 0 for r in self._records),
            "overhead_seconds": max(0.0, (self._ends[-1] - begun - inside) / max(1, len(rest) / workers)),
        }


def _cpu_seconds() -> float:
    """Processor time of all processes that this one has started, so far."""
    total = 0.0
    for process in psutil.Process().children(recursive=True):
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def main() -> None:
    """Measure, print, and write the figures down."""
    kinds = Annotated[Many, tyro.conf.subcommand("many")] | Annotated[Share, tyro.conf.subcommand("share")]
    chosen: Any = tyro.cli(kinds, description=__doc__)  # pyright: ignore[reportCallIssue, reportArgumentType]
    try:
        figures = description() | chosen.run()
    except AgsrecError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    print(json.dumps(figures, indent=1))
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

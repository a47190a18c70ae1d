"""`agsrec batch`: many objects, each as `agsrec run` makes one."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from agsrec.cli.printing import say
from agsrec.config import PRESETS
from agsrec.errors import OptionError
from agsrec.options import ObjectOptions

if TYPE_CHECKING:
    from rich.console import Console

    from agsrec.batch.drive import Engine
    from agsrec.batch.places import Place
    from agsrec.batch.record import Job, Record

__all__ = ["Batch"]

_SHOWN = 20  # faults of a list, and objects to look at


@dataclass(frozen=True)
class Batch(ObjectOptions):
    """Reconstruct many objects; the same command again does only what is missing. Exit status 1 if some
    failed."""

    photos: tyro.conf.Positional[tuple[str, ...]] = ()
    """Folders of photos, one an object, as for run; paths, or URLs such as s3://bucket/photos/*."""
    output: str = "output/batch"
    """Every object gets a folder in here, beside manifest.sqlite and index.html: a path, or a URL."""
    table: Annotated[Path | None, tyro.conf.arg(name="list")] = None
    """CSV or Parquet file instead: a column photos, perhaps name, and any option of one object by its name,
    for that object alone."""
    workers: int | None = None
    """Objects at once on this machine, which share its cores; by default one a core, if memory allows, and
    one on a GPU."""
    timeout: float | None = None
    """Seconds that an object may take."""
    engine: Literal["local", "ray"] | None = None
    """local: processes of this machine. ray: a Ray cluster (pip install 'agsrec[ray]')."""
    address: str | None = None
    """Address of the Ray cluster, such as auto or 10.0.0.1:6379; without it, Ray starts one on this
    machine."""
    cpus: int = 1
    """Cores that an object gets on the cluster."""
    gpus: float = 0.0
    """GPUs that an object gets on the cluster; parts of one are possible."""
    memory: float = 2.0
    """Memory that an object gets on the cluster, GiB."""
    look: bool = False
    """Only say what is done and what is missing, and which objects somebody should look at, worst first."""

    def main(self, console: Console) -> None:
        """Make what is missing, and say how it went."""
        from agsrec.batch.drive import look_at, run_batch
        from agsrec.batch.places import Place

        output = Place.of(self.output)
        jobs = self._jobs(output, console)
        if self.look:
            _print_look(console, *look_at(jobs, output))
            return
        engine = self._engine()

        def told(record: Record, count: int, total: int) -> None:
            say(console, f"[{count}/{total}] {_line(record)}")

        summary = run_batch(jobs, output, engine, told)
        again = f" ({summary.computed} of them now)" if summary.computed < summary.done else ""
        say(console, f"{summary.done} of {len(jobs)} objects are done{again}, {summary.failed} failed")
        say(console, f"Results are in {output}; index.html shows {summary.doubtful} to look at")
        if summary.failed:
            raise SystemExit(1)

    def _jobs(self, output: Place, console: Console) -> list[Job]:
        """What is to be done, if nothing is wrong with it."""
        from agsrec.batch.listing import faults, folder_rows, listed_jobs, read_list

        if (self.table is None) == (not self.photos):
            raise OptionError("give folders of photos, or a --list of them, and not both")
        usual = ObjectOptions(**{f.name: getattr(self, f.name) for f in fields(ObjectOptions)})
        rows = folder_rows(self.photos) if self.table is None else read_list(self.table)
        jobs = listed_jobs(rows, usual, _with_own)
        found = faults(jobs, output)
        if found:
            for fault in found[:_SHOWN]:
                say(console, fault)
            more = "" if len(found) == 1 else f", and {len(found) - 1} more (above)"
            raise OptionError(f"nothing was started: {found[0]}{more}")
        return jobs

    def _engine(self) -> Engine:
        """Where to compute."""
        if self.timeout is not None and not self.timeout > 0:
            raise OptionError(f"--timeout must be above 0 seconds, not {self.timeout:g}")
        if self.engine == "ray" or (self.engine is None and self.address is not None):
            return self._ray()
        if self.address is not None:
            raise OptionError("--address is of a Ray cluster; leave it out, or take --engine ray")
        from agsrec.batch.local import LocalPool
        from agsrec.batch.machine import share_cores, usual_workers
        from agsrec.device import resolve_device

        on_gpu = resolve_device(self.device).type == "cuda"
        usual = 1 if on_gpu else usual_workers()
        workers = usual if self.workers is None else self.workers
        share_cores(workers)
        return LocalPool(workers, self.timeout)

    def _ray(self) -> Engine:
        from agsrec.batch.ray_engine import RayCluster

        if self.workers is not None:
            raise OptionError(
                "--workers are of this machine; a Ray cluster has its own, see --cpus and --memory"
            )
        return RayCluster(self.address, self.cpus, self.gpus, self.memory, self.timeout)


@lru_cache(maxsize=1024)
def _with_own(usual: ObjectOptions, own: tuple[tuple[str, str], ...]) -> ObjectOptions:
    """Options with those that a list has for one object."""
    from agsrec.batch.listing import option_words
    from agsrec.cli.parsing import parse

    preset: Any = dict(own).get("preset", usual.preset)
    if preset != usual.preset and preset in PRESETS:
        usual = replace(usual, preset=preset, fit=PRESETS[preset])
    try:
        return parse(ObjectOptions, option_words(own), prog="--list", description=None, default=usual)
    except OptionError as error:
        raise OptionError(f"--list: {error}; columns are photos, name and options of `agsrec run`") from None


def _line(record: Record) -> str:
    """What became of an object, in a line."""
    if record.state == "failed":
        return f"{record.name} failed: {record.sentence}"
    quality = "" if record.psnr is None else f", {record.psnr:.1f} dB"
    return f"{record.name} is done in {record.seconds:.0f} s{quality}"


def _print_look(console: Console, records: list[Record], missing: list[Job]) -> None:
    """What there is, what is not, and what should be looked at."""
    done = sum(record.state == "done" for record in records)
    say(console, f"{done} objects are done, {len(records) - done} failed, {len(missing)} are to be made")
    doubtful = [record for record in records if record.doubts()]
    for record in doubtful[:_SHOWN]:
        say(console, f"{record.name}: {'; '.join(record.doubts())}")
    if len(doubtful) > _SHOWN:
        say(console, f"and {len(doubtful) - _SHOWN} more to look at")

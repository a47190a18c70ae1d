"""Workers of this machine: warm processes, each with cores of its own."""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agsrec.batch.machine import limited_environment, share_cores, use_cores
from agsrec.batch.record import Job, Record
from agsrec.batch.work import Work
from agsrec.limits import allowed_cores
from agsrec.processes import PIPELINE_MODULES, preload, process_context

if TYPE_CHECKING:
    from pebble import ProcessPool

__all__ = ["LocalPool"]

_TRIES = 2  # of an object whose process was killed
_TICK = 5.0  # seconds after which it is asked whether workers are still there


@dataclass(frozen=True)
class LocalPool:
    """Runs jobs in processes of this machine; called with work and jobs, it yields their records.

    A worker that is killed costs the object in its hands one of two tries; a new one takes its place.

    Attributes:
        workers: Objects at once.
        timeout: Seconds that an object may take; without end by default.
        modules: What workers have imported before their first object.
    """

    workers: int
    timeout: float | None = None
    modules: Sequence[str] = PIPELINE_MODULES

    def __call__(self, work: Work, jobs: Iterable[Job]) -> Iterator[Record]:
        """Do all jobs, in no particular order.

        Raises:
            OptionError: There are fewer cores than workers.
            OutputError: Records cannot be written.
        """
        threads = share_cores(self.workers)
        cores = allowed_cores()
        shares = [tuple(cores[k * threads : (k + 1) * threads]) for k in range(self.workers)]
        with limited_environment(threads):
            preload(self.modules)
            yield from _Crew(work, iter(jobs), shares, self.timeout).records()


@dataclass(frozen=True)
class _Running:
    """An object in work: which try it is, and whose."""

    job: Job
    tries: int
    worker: int


class _Crew:
    """The workers of one pass over jobs.

    Each is a pool of one process: what happens to it is then no other one's business, however it ends.

    Args:
        work: What is done.
        jobs: To what.
        shares: Cores of each worker.
        timeout: Seconds that an object may take.
    """

    def __init__(
        self, work: Work, jobs: Iterator[Job], shares: Sequence[tuple[int, ...]], timeout: float | None
    ) -> None:
        self._work, self._jobs, self._shares, self._timeout = work, jobs, shares, timeout
        self._again: list[tuple[Job, int]] = []
        self._pools = [self._new_pool(cores) for cores in shares]
        self._running: dict[Future[Record], _Running] = {}

    def records(self) -> Iterator[Record]:
        """The records, as objects end."""
        try:
            while self._fill():
                ended = wait(self._running, _TICK, FIRST_COMPLETED).done
                ended |= {f for f, running in self._running.items() if not self._pools[running.worker].active}
                for future in ended:
                    record = self._ended(future, self._running.pop(future))
                    if record is not None:
                        yield record
        finally:
            for pool in self._pools:
                _end(pool)

    def _fill(self) -> bool:
        """Give every worker an object, as long as there are some; says whether any is in work."""
        busy = {running.worker for running in self._running.values()}
        for worker in set(range(len(self._pools))) - busy:
            job, tries = self._again.pop() if self._again else (next(self._jobs, None), 1)
            if job is None:
                break
            self._running[self._given(worker, job)] = _Running(job, tries, worker)
        return bool(self._running)

    def _given(self, worker: int, job: Job) -> Future[Record]:
        """What becomes of an object that a worker is given."""
        try:
            return self._pools[worker].schedule(self._work, args=(job,), timeout=self._timeout)
        except RuntimeError:  # it was killed while it had nothing to do
            self._renew(worker)
            return self._pools[worker].schedule(self._work, args=(job,), timeout=self._timeout)

    def _ended(self, future: Future[Record], running: _Running) -> Record | None:
        """What became of an object; None where it is tried again."""
        from pebble import ProcessExpired

        code = None
        try:
            if future.done():
                return future.result()
        except TimeoutError:
            sentence = f"it took longer than --timeout {self._timeout:g} seconds"
            return self._work.give_up(running.job, sentence, self._timeout or 0.0)
        except ProcessExpired as error:
            code = error.exitcode
        except BrokenExecutor:
            pass  # it ended before it said what it had in its hands
        if not self._pools[running.worker].active:
            self._renew(running.worker)
        if running.tries >= _TRIES:
            return self._work.give_up(running.job, _last_words(code))
        self._again.append((running.job, running.tries + 1))
        return None

    def _renew(self, worker: int) -> None:
        _end(self._pools[worker])
        self._pools[worker] = self._new_pool(self._shares[worker])

    @staticmethod
    def _new_pool(cores: tuple[int, ...]) -> ProcessPool:
        from pebble import ProcessPool

        return ProcessPool(1, initializer=_prepare, initargs=(cores,), context=process_context())


def _end(pool: ProcessPool) -> None:
    """End the process of a pool now."""
    pool.stop()
    pool.join()


def _last_words(exit_code: int | None) -> str:
    """What is said of an object whose process ended by itself, or was ended."""
    memory = "probably because memory ran out"
    reason = memory if exit_code in (None, -9) else f"exit code {exit_code}"
    return f"its process was killed {_TRIES} times ({reason}); take fewer --workers, or a lower --resolution"


# -------------------------------------------------------------------- in the process of a worker


def _prepare(cores: tuple[int, ...]) -> None:
    """Make a process ready for its first object."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    use_cores(cores)
    threading.Thread(target=_end_with_driver, name="agsrec-driver", daemon=True).start()


def _end_with_driver() -> None:
    """End this process as soon as the driver has: another one may take up its object at any time."""
    driver = multiprocessing.parent_process()
    if driver is not None:
        driver.join()
        os._exit(1)

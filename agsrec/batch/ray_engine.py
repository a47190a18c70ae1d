"""Workers of a Ray cluster: objects are tasks, which Ray places, and places again when a node is lost."""

from __future__ import annotations

import logging
import os
import signal
import socket
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from agsrec.batch.machine import take_cores
from agsrec.batch.record import Job, Record
from agsrec.batch.work import Work
from agsrec.errors import AgsrecError, OptionError, OutputError, require
from agsrec.limits import usual_threads

__all__ = ["RayCluster"]

_RETRIES = 3  # of a task whose process or node was lost
_AHEAD = 2  # tasks that Ray knows of, for each that has room
_PATIENCE = 5.0  # seconds that a cluster may take to answer


@dataclass(frozen=True)
class RayCluster:
    """Runs jobs on a cluster; called with work and jobs, it yields their records.

    The output is one that all nodes reach: a shared folder or a URL; so are the photos. The package is
    installed on every node.

    Attributes:
        address: Of the cluster: "auto", host:port, or ray://host:port; None starts one on this machine.
        cpus: Cores that an object gets.
        gpus: GPUs that it gets.
        memory_gib: Memory that it gets.
        timeout: Seconds that it may take; without end by default.
    """

    address: str | None = None
    cpus: int = 1
    gpus: float = 0.0
    memory_gib: float = 2.0
    timeout: float | None = None

    def __call__(self, work: Work, jobs: Iterable[Job]) -> Iterator[Record]:
        """Do all jobs, in no particular order; only a few are known to Ray at a time.

        Raises:
            MissingExtraError: Ray is not installed.
            OptionError: The cluster does not answer, or no node of it has what an object needs.
            OutputError: Records cannot be written.
        """
        ray: Any = require("ray", "ray")
        with self._connected(ray):
            self._check_nodes(ray)
            yield from self._records(ray, work, iter(jobs))

    @contextmanager
    def _connected(self, ray: Any) -> Iterator[None]:
        """A connection to the cluster, which the program may have already."""
        if ray.is_initialized():
            yield
            return
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if self.address is None:
            quiet |= {"num_cpus": usual_threads(), "include_dashboard": False}
        else:
            _check_answer(self.address)
        try:
            ray.init(address=self.address, **quiet)
        except (ConnectionError, OSError, RuntimeError, ValueError) as error:
            raise _unreachable(self.address, error) from error
        try:
            yield
        finally:
            ray.shutdown()

    def _check_nodes(self, ray: Any) -> None:
        """Raise if a task would wait for ever."""
        needed = {"CPU": self.cpus, "GPU": self.gpus, "memory": self.memory_gib * 2**30}
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if not any(all(node.get(kind, 0) >= n for kind, n in needed.items()) for node in nodes):
            raise OptionError(
                f"no node of the cluster has {self.cpus} cores, {self.gpus:g} GPUs and "
                f"{self.memory_gib:g} GiB of memory for an object; lower --cpus, --gpus or --memory"
            )

    def _records(self, ray: Any, work: Work, waiting: Iterator[Job]) -> Iterator[Record]:
        """The records, as objects end."""
        task = ray.remote(_task).options(
            num_cpus=self.cpus, num_gpus=self.gpus, memory=self.memory_gib * 2**30, max_retries=_RETRIES
        )
        known: dict[Any, Job] = {}
        try:
            while True:
                while len(known) < self._at_once(ray) and (job := next(waiting, None)) is not None:
                    known[task.remote(work, job, self.cpus, self.timeout)] = job
                if not known:
                    return
                ended, _ = ray.wait(list(known), num_returns=1)
                for reference in ended:
                    yield _record(ray, work, known.pop(reference), reference)
        finally:
            for reference in known:
                ray.cancel(reference, force=True)

    def _at_once(self, ray: Any) -> int:
        """Tasks that Ray should know of, by the nodes there are now."""
        return _AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1) // self.cpus))


def _record(ray: Any, work: Work, job: Job, reference: Any) -> Record:
    """What became of an object."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        raise OutputError(str(cause)) if isinstance(cause, AgsrecError) else error from None
    except ray.exceptions.RayError as error:
        reason = type(error).__name__
        sentence = f"its process or node was lost {_RETRIES + 1} times ({reason}); give it more --memory"
        return work.give_up(job, sentence)


def _check_answer(address: str) -> None:
    """Raise if nothing listens at a host and port: Ray itself would wait for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise _unreachable(address, error) from error


def _unreachable(address: str | None, error: Exception) -> OptionError:
    reason = (str(error).splitlines() or [type(error).__name__])[0][:160]
    if address is None:
        return OptionError(f"--engine ray: Ray does not start ({reason}); take --engine local")
    return OptionError(
        f"--address {address}: no Ray cluster answers there ({reason}); start one with `ray start --head`"
    )


# -------------------------------------------------------------------- in the process of a worker


def _task(work: Work, job: Job, threads: int, timeout: float | None) -> Record:
    """One object, on whatever node."""
    _prepare(threads)
    with _ended_after(timeout):
        return work(job)


@lru_cache(maxsize=1)
def _prepare(threads: int) -> None:
    """Make a process ready for its first object; those that follow find it so."""
    user = os.getuid() if hasattr(os, "getuid") else 0
    take_cores(Path(tempfile.gettempdir()) / f"agsrec-cores-{user}", threads)


class _TooLong(AgsrecError):
    """An object takes too long."""


@contextmanager
def _ended_after(seconds: float | None) -> Iterator[None]:
    """Raise `_TooLong` in what is done meanwhile when so many seconds are over; Ray has no such thing."""
    if seconds is None or not hasattr(signal, "setitimer"):
        yield
        return

    def end(*_: object) -> None:
        raise _TooLong(f"it took longer than --timeout {seconds:g} seconds")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

"""Training samples made by worker processes in a fixed order."""

from __future__ import annotations

import multiprocessing as mp
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Generic, TypeVar

import torch

from agsrec.errors import OptionError

__all__ = ["RenderStream"]

_PREFETCH = 8  # samples per worker that are made ahead

T = TypeVar("T")


class RenderStream(Generic[T]):
    """`render(first)`, `render(first + 1)`, ... in that order, whatever the number of workers.

    Leaving the `with` block ends the workers; so does the death of this process, however it comes about.

    Attributes:
        missed: Samples so far that were not made yet when they were asked for.
    """

    def __init__(self, render: Callable[[int], T], *, workers: int, first: int = 0) -> None:
        """Start `workers` processes; with 0 of them, samples are made when they are asked for.

        Args:
            render: A function of the index alone that can be sent to another process. It returns NumPy
                arrays: tensors would travel through shared memory.
            workers: Number of processes.
            first: Index of the first sample.

        Raises:
            OptionError: `workers` is negative.
        """
        if workers < 0:
            raise OptionError(f"--workers must be at least 0, not {workers}")
        self.missed = 0
        self._render = render
        self._next = first
        self._ahead = workers * _PREFETCH
        self._pending: deque[Future[T]] = deque()
        self._workers = None
        if workers:
            context = mp.get_context("spawn")  # a fork would copy the locks of PyTorch's threads, and CUDA
            self._workers = ProcessPoolExecutor(workers, context, initializer=_follow_parent)

    def __enter__(self) -> RenderStream[T]:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._workers is not None:
            self._workers.shutdown(wait=True, cancel_futures=True)

    def __iter__(self) -> Iterator[T]:
        return self

    @property
    def queued(self) -> int:
        """Samples that are made and have not been asked for."""
        return sum(sample.done() for sample in self._pending)

    def __next__(self) -> T:
        if self._workers is None:
            self.missed += 1
            self._next += 1
            return self._render(self._next - 1)
        try:
            while len(self._pending) < self._ahead:
                self._pending.append(self._workers.submit(self._render, self._next))
                self._next += 1
            sample = self._pending.popleft()
            self.missed += not sample.done()
            return sample.result()
        except BrokenProcessPool as error:
            raise OptionError(
                "--workers: a process that renders objects was ended from outside, perhaps for want of "
                "memory; start the training again with fewer workers"
            ) from error


def _follow_parent() -> None:
    """Leave Ctrl-C to the parent process, and end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    parent = mp.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()

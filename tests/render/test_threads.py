from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from agsrec.render.cpu import threads
from agsrec.render.cpu.threads import parallel_for


@pytest.fixture(params=[1, 2, 5])
def workers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Run with that many threads, whatever the machine has."""
    monkeypatch.setattr(threads, "num_threads", lambda: request.param)
    threads._pool.cache_clear()
    yield request.param
    threads._pool.cache_clear()


def count(start: int, stop: int, counts: np.ndarray, lock: threading.Lock) -> None:
    assert start < stop
    with lock:
        counts[start:stop] += 1


@pytest.mark.parametrize("n_items", [0, 1, 2, 7, 1000])
@pytest.mark.parametrize("chunks_per_thread", [1, 4])
def test_every_item_exactly_once(workers: int, n_items: int, chunks_per_thread: int) -> None:
    counts = np.zeros(n_items, int)
    parallel_for(count, n_items, counts, threading.Lock(), chunks_per_thread=chunks_per_thread)
    assert (counts == 1).all()


@pytest.mark.parametrize("n_items", [1, 7, 8, 9, 30])
def test_too_little_is_not_handed_over(workers: int, n_items: int) -> None:
    seen: list[tuple[int, int, int]] = []

    def kernel(start: int, stop: int) -> None:
        seen.append((start, stop, threading.get_ident()))

    parallel_for(kernel, n_items, least=8)
    assert sum(stop - start for start, stop, _ in seen) == n_items
    assert all(stop - start >= min(8, n_items) for start, stop, _ in seen)
    if n_items < 16:
        assert seen == [(0, n_items, threading.get_ident())]


def test_what_is_lent_to_other_work_is_not_used(workers: int) -> None:
    seen = set()
    with threads.lent(workers - 1):
        parallel_for(lambda start, stop: seen.add(threading.get_ident()), 40)
        assert seen == {threading.get_ident()}
        with threads.lent(workers):  # one is always left
            parallel_for(lambda start, stop: seen.add(stop - start), 40)
    assert seen == {threading.get_ident(), 40}
    assert not threads._LENT


def test_more_than_one_thread_takes_part(workers: int) -> None:
    seen, meeting = set(), threading.Barrier(workers, timeout=20)

    def kernel(start: int, stop: int) -> None:
        seen.add(threading.get_ident())
        meeting.wait()

    parallel_for(kernel, workers, chunks_per_thread=1)
    assert len(seen) == workers


@pytest.mark.parametrize("bad", [0, 19, 39])
def test_exceptions_propagate_and_nothing_runs_on(workers: int, bad: int) -> None:
    running, lock = [0], threading.Lock()

    def kernel(start: int, stop: int) -> None:
        with lock:
            running[0] += 1
        try:
            if start <= bad < stop:
                raise ZeroDivisionError("item")
            time.sleep(0.002)
        finally:
            with lock:
                running[0] -= 1

    with pytest.raises(ZeroDivisionError, match="item"):
        parallel_for(kernel, 40)
    assert running == [0]
    counts = np.zeros(40, int)
    parallel_for(count, 40, counts, threading.Lock())
    assert (counts == 1).all()


def test_several_threads_at_once(workers: int) -> None:
    results = [np.zeros(101, int) for _ in range(8)]

    def call(counts: np.ndarray) -> None:
        for _ in range(20):
            parallel_for(count, len(counts), counts, threading.Lock())

    callers = [threading.Thread(target=call, args=(counts,), daemon=True) for counts in results]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(timeout=30)
    assert all((counts == 20).all() for counts in results)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_after_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "num_threads", lambda: 3)
    counts = np.zeros(50, int)
    parallel_for(count, 50, counts, threading.Lock())  # the parent's pool has threads now
    child = os.fork()
    if child == 0:
        try:
            parallel_for(count, 50, counts, threading.Lock())
            os._exit(0 if (counts == 2).all() else 1)
        finally:
            os._exit(2)
    assert wait_for(child, seconds=30) == 0


def wait_for(child: int, seconds: float) -> int:
    """Exit code of a child process; it is killed when it takes too long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        finished, status = os.waitpid(child, os.WNOHANG)
        if finished:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise AssertionError("the child hangs")

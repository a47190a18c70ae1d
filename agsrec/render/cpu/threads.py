"""One thread pool for all CPU kernels.

Kernels are compiled with `nogil=True` and driven from here rather than by Numba's `prange`: Numba's default
threading layer aborts the process when two Python threads enter it at once, which a web app does.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from itertools import pairwise
from typing import Any

from agsrec.limits import usual_threads

__all__ = ["lent", "num_threads", "parallel_for"]

_LENT: list[int] = []  # processors that other work of this process has at the moment; changed by `lent` alone


@lru_cache(maxsize=1)
def num_threads() -> int:
    """Threads used by CPU kernels: the processors this process has, or fewer by NUMBA_NUM_THREADS."""
    named = os.environ.get("NUMBA_NUM_THREADS", "")
    return min(usual_threads(), max(1, int(named))) if named.isdecimal() else usual_threads()


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(1, num_threads() - 1), thread_name_prefix="agsrec")


# A forked child inherits the pool object but none of its threads.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)


@contextmanager
def lent(count: int) -> Iterator[None]:
    """Leave so many processors to other work: threads that await each other must not wait for one."""
    _LENT.append(count)
    try:
        yield
    finally:
        _LENT.remove(count)


def parallel_for(
    kernel: Callable[..., Any], n_items: int, *args: Any, chunks_per_thread: int = 4, least: int = 1
) -> None:
    """Run `kernel(start, stop, *args)` over `range(n_items)` in contiguous chunks on all threads.

    Chunks have `least` items, but for the rest: to hand over fewer would take longer than to do them.

    The kernel must release the GIL and write disjoint outputs per item, so that the result does not depend
    on the number of threads.
    """
    threads = max(1, num_threads() - sum(_LENT))
    n_chunks = min(max(1, n_items // least), chunks_per_thread * threads)
    if n_chunks <= 1 or threads == 1:
        if n_items > 0:
            kernel(0, n_items, *args)
        return
    bounds = [n_items * i // n_chunks for i in range(n_chunks + 1)]
    chunks = iter(list(pairwise(bounds)))

    def drain() -> None:
        # `next` on a list iterator is atomic: every thread takes chunks until none is left.
        for start, stop in chunks:
            kernel(start, stop, *args)

    futures = [_pool().submit(drain) for _ in range(min(threads, n_chunks) - 1)]
    try:
        drain()
    finally:
        # Whatever happens here, nobody writes into the caller's arrays once this returns.
        for future in futures:
            future.exception()
    for future in futures:
        future.result()

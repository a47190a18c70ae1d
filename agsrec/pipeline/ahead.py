"""A value that is made in a thread of its own while something else is done."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from agsrec.limits import usual_threads

__all__ = ["Ahead"]

T = TypeVar("T")


class Ahead(Generic[T]):
    """A value that can be begun before it is asked for.

    As a context it is not left before its thread has ended, whatever happened: nobody writes into a folder
    afterwards. On one processor nothing is begun, and the value is made when it is asked for.

    Args:
        make: Makes the value; called once at most.

    Attributes:
        waited: Seconds that were spent waiting for the value.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make, self._future = make, Future[T]()
        self._is_begun = False
        self.waited = 0.0

    def begin(self) -> None:
        """Start making it, unless that was done before."""
        if self._is_begun or usual_threads() < 2:
            return
        self._is_begun = True
        with_thread = ThreadPoolExecutor(1, thread_name_prefix="ahead")
        self._future = with_thread.submit(self._make)
        with_thread.shutdown(wait=False)

    def check(self) -> None:
        """Raise what made it fail, if it has failed by now."""
        if self._future.done():
            self._future.result()

    def value(self) -> T:
        """The value, as soon as it is there.

        Raises:
            Exception: What making it raised.
        """
        clock = time.perf_counter()
        if not self._is_begun:
            self._is_begun = True
            self._future.set_result(self._make())
        value = self._future.result()
        self.waited += time.perf_counter() - clock
        return value

    def __enter__(self) -> Ahead[T]:
        return self

    def __exit__(self, *_: Any) -> None:
        if self._is_begun:
            self._future.exception()

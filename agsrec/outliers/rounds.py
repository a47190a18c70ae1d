"""The loop's state: what it has worked out so far, by name, on disk where a file is given."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from agsrec.store import plain, rebuilt

if TYPE_CHECKING:
    import torch

    from agsrec.store import Checkpointing

__all__ = ["Rounds"]

T = TypeVar("T")


class Rounds:
    """Results of steps that are computed once, and read back when an interrupted run is started again.

    Args:
        device: Where their tensors are to be.
        where: File and key; without them nothing is kept.
    """

    def __init__(self, device: torch.device | str = "cpu", where: Checkpointing | None = None) -> None:
        self._device, self._where = device, where
        self._known: dict[str, Any] = (None if where is None else where.load()) or {}

    def once(self, name: str, compute: Callable[[], T]) -> T:
        """The result of a step: known, or computed now and stored; of the kinds that `plain` knows."""
        if name not in self._known:
            clock = time.perf_counter()
            value = plain(compute())
            self._known[name] = {"value": value, "seconds": time.perf_counter() - clock}
            if self._where is not None:
                self._where.save(self._known)
        return rebuilt(self._known[name]["value"], device=self._device)

    @property
    def seconds(self) -> float:
        """Time that all steps took, in interrupted runs too."""
        return sum(step["seconds"] for step in self._known.values())

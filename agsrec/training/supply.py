"""How well the steps of a training are supplied with samples."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

__all__ = ["Supply", "Window"]


class Supply(Protocol):
    """Where the samples of a training come from."""

    missed: int
    """Samples so far that were not there yet when they were asked for."""

    @property
    def queued(self) -> int:
        """Samples that are there and have not been asked for."""
        ...


@dataclass
class Window:
    """What was measured since the last record.

    Attributes:
        losses: Of every step.
        waited: Seconds that the steps waited for their inputs.
        fed: Steps that asked for no sample that was not there yet.
        queued: Samples that were there, added up over the steps.
    """

    losses: list[Tensor] = field(default_factory=list)
    waited: float = 0.0
    fed: int = 0
    queued: int = 0

    def asked(self, inputs: Callable[[], tuple[Any, ...]], supply: Supply | None) -> tuple[Any, ...]:
        """The inputs of a step."""
        before, missed = time.perf_counter(), 0 if supply is None else supply.missed
        arguments = inputs()
        self.waited += time.perf_counter() - before
        if supply is not None:
            self.fed += supply.missed == missed
            self.queued += supply.queued
        return arguments

    def supply(self) -> dict[str, float]:
        """The share of the steps that found their samples there, and how many samples waited, on average."""
        count = len(self.losses)
        return {"fed_share": round(self.fed / count, 3), "queued": round(self.queued / count, 1)}

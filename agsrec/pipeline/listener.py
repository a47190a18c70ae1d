"""Who is told what a run does, and the names of its stages."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from agsrec.fit import FitProgress

__all__ = ["STAGES", "Listener", "StageName"]

StageName = Literal["cutout", "poses", "outliers", "fit", "mesh", "export"]

STAGES: tuple[StageName, ...] = get_args(StageName)
"""All stages of a run, in their order."""


class Listener:
    """Told what a run does; by itself it ignores everything. An exception from any method ends the run."""

    def stage(self, name: StageName, text: str) -> AbstractContextManager[object]:
        """A stage that is computed; it lasts as long as the returned context."""
        return nullcontext()

    def reused(self, name: StageName) -> None:
        """A stage was finished in an earlier run, and its value is used."""

    def doing(self, name: StageName, text: str) -> None:
        """What a stage does next."""

    def step(self, name: StageName, progress: FitProgress) -> None:
        """A step of a fit: of the fit, or of one by which poses are judged."""

    def say(self, text: str) -> None:
        """A sentence that the user should read."""

    def warn(self, text: str) -> None:
        """A sentence for which the result should be looked at; said like any other unless told otherwise."""
        self.say(text)

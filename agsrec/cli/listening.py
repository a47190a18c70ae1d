"""The console as listener of a run."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from agsrec.cli.printing import FitBar, say
from agsrec.pipeline import Listener, StageName

if TYPE_CHECKING:
    from rich.console import Console

    from agsrec.fit import FitProgress

__all__ = ["ConsoleListener"]

_NAMES = {"cutout": "cut-outs", "poses": "poses", "outliers": "checked poses", "fit": "fit", "mesh": "mesh"}


class ConsoleListener(Listener):
    """Shows a run on the console: a spinner or a bar for what goes on, and sentences.

    Args:
        console: Where to.
        iterations: Steps of the fit, if there is one.
    """

    def __init__(self, console: Console, iterations: int = 0) -> None:
        self._console = console
        self._bar = FitBar(console, iterations)
        self._said: set[str] = set()

    def stage(self, name: StageName, text: str) -> AbstractContextManager[object]:
        """A bar for the fit, a spinner for everything else."""
        return self._bar if name == "fit" else self._console.status(text)

    def reused(self, name: StageName) -> None:
        """Name what is not computed again."""
        if name in _NAMES:
            self.say(f"Using the {_NAMES[name]} of an earlier run (--explain tells why)")

    def doing(self, name: StageName, text: str) -> None:
        """Print what is being done."""
        say(self._console, text)

    def step(self, name: StageName, progress: FitProgress) -> None:
        """Move the bar."""
        if name == "fit":
            self._bar.advance(progress)

    def say(self, text: str) -> None:
        """Print a sentence, once."""
        if text not in self._said:
            self._said.add(text)
            say(self._console, text)

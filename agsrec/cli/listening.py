"""The console as listener of a run."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agsrec.cli.mesh import mesh_sentence
from agsrec.cli.printing import FitBar, print_metrics, say
from agsrec.pipeline import Listener, StageName

if TYPE_CHECKING:
    from rich.console import Console

    from agsrec.fit import FitProgress

__all__ = ["ConsoleListener"]


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

    def say(self, text: str) -> None:
        """Print a sentence, once."""
        if text not in self._said:
            self._said.add(text)
            say(self._console, text)

    def outliers(self, text: str) -> None:
        """Print what is being done."""
        say(self._console, text)

    def step(self, progress: FitProgress) -> None:
        """Move the bar."""
        self._bar.advance(progress)

    def saved(self, metrics: dict[str, Any]) -> None:
        """Print the figures."""
        print_metrics(self._console, metrics)

    def meshed(self, file: Path, figures: dict[str, Any]) -> None:
        """Print what the mesh is like."""
        say(self._console, mesh_sentence(file, figures))

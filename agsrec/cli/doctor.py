"""`agsrec doctor`: what is there, and what to do about what is not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agsrec.cli.printing import say

if TYPE_CHECKING:
    from rich.console import Console

    from agsrec.doctor import Check

__all__ = ["Doctor"]

_STYLES = {"ok": "green", "optional": "yellow", "problem": "bold red"}
_NAME, _STATE = 26, 10  # characters


@dataclass(frozen=True)
class Doctor:
    """Say what is there of all that a reconstruction needs, and what to do; status 1 if it cannot run."""

    def main(self, console: Console) -> None:
        """Print a line per check, and what to do below it."""
        from agsrec.doctor import can_reconstruct, examine

        with console.status("looking at everything"):
            checks = examine()
        for check in checks:
            _print(console, check)
        if can_reconstruct(checks):
            say(console, "Everything that `agsrec run` needs is there.")
            return
        say(console, "`agsrec run` has problems; do what stands below each.")
        raise SystemExit(1)


def _print(console: Console, check: Check) -> None:
    from rich.text import Text

    line = Text(check.name.ljust(_NAME))
    line.append(check.state.ljust(_STATE), _STYLES[check.state])
    line.append(check.detail)
    console.print(line, soft_wrap=True)
    if check.remedy:
        say(console, f"{'':{_NAME + _STATE}}-> {check.remedy}")

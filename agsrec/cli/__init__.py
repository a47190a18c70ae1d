"""The command line: `agsrec run`, `agsrec doctor` and the others."""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command; see `agsrec.cli.entry`, which takes a moment to load that somebody may interrupt."""
    try:
        from agsrec.cli import entry
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise SystemExit(130) from None
    entry.main(argv)

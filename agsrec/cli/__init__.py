"""The command line: `agsrec run`, `agsrec doctor` and the others."""

from agsrec.cli.entry import main

__all__ = ["main"]

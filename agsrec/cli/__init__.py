"""The command line: `agsrec process | run | eval | novel-view | train | convert`."""

from agsrec.cli.entry import main

__all__ = ["main"]

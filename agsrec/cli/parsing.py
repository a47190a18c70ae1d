"""The words of a command line, read by tyro; what is wrong with them becomes one sentence."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import redirect_stderr
from itertools import dropwhile, takewhile
from typing import Any

import tyro

from agsrec.errors import OptionError

__all__ = ["parse"]


def parse(kind: Any, argv: Sequence[str], *, prog: str, description: str | None, default: Any = None) -> Any:
    """A value of a kind that tyro knows, from the words of a command line; exits by itself on `--help`.

    Args:
        kind: The kind.
        argv: The words.
        prog: Name of the program, for its help.
        description: What it does, likewise.
        default: What options are that are not given. With it the words are cells of a table: all options have
            a value, those that are yes or no too.

    Raises:
        OptionError: The options do not parse.
    """
    printed = io.StringIO()
    try:
        with redirect_stderr(printed):
            if default is None:
                return tyro.cli(kind, prog=prog, args=argv, description=description)
            cells = (tyro.conf.FlagConversionOff,)
            return tyro.cli(
                kind, prog=prog, args=argv, description=description, default=default, config=cells
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        raise OptionError(_sentence(printed.getvalue())) from None


def _sentence(box: str) -> str:
    """What stands below the title in a box that tyro prints, up to the next rule, in one line."""
    lines = [line.strip(" │") for line in box.splitlines()[1:]]
    body = dropwhile(lambda line: not line.strip("─-"), lines)
    message = " ".join(takewhile(lambda line: line.strip("─-╰╯"), body))
    return f"{message.rstrip('.:')}; see the options with --help"

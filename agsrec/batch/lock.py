"""Only one batch writes to an output at a time, be it a folder of this machine or not."""

from __future__ import annotations

from contextlib import AbstractContextManager

from agsrec import locks
from agsrec.batch.places import Place

__all__ = ["locked"]


def locked(output: Place) -> AbstractContextManager[None]:
    """Hold an output while this lasts; see `agsrec.locks`.

    Raises:
        OptionError: Another process holds it.
        OutputError: The output cannot be written.
    """
    if output.path is not None:
        return locks.locked(output.path)
    return locks.held(locks.Board(str(output), output.read, output.write, output.remove))

"""Compiled kernels that lie beside their source, removed when what they were compiled from has changed.

Numba asks whether the file that a kernel is in has changed, not those of the functions and constants that are
compiled into it: after an update of a checkout it would go on with half of the old code.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from agsrec.errors import AgsrecError
from agsrec.files import atomic_write

__all__ = ["forget_outdated_kernels"]

_PACKAGE = Path(__file__).parents[2]
_ROOMS = {"render/cpu": ".", "synthetic": "synthetic"}
"""Folders whose files are compiled into each other's kernels, and below which folder these are."""
_STAMP = "render/cpu/__pycache__/kernels.json"


def forget_outdated_kernels(package: Path = _PACKAGE) -> None:
    """Remove the kernels in `__pycache__` folders unless their sources are those of the last time.

    Where nothing can be written there, Numba keeps no kernels there either.
    """
    now = {room: _stamps(package / room) for room in _ROOMS}
    try:
        before = json.loads((package / _STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        before = {}
    if before == now:
        return
    before = before if isinstance(before, dict) else {}
    with contextlib.suppress(OSError, AgsrecError):
        for room, below in _ROOMS.items():
            if before.get(room) != now[room]:
                for file in (package / below).rglob("__pycache__/*.nb[ci]"):
                    file.unlink(missing_ok=True)
        atomic_write(package / _STAMP, json.dumps(now))


def _stamps(folder: Path) -> dict[str, list[int]]:
    """When each source in a folder was written, and its size."""
    found = {file.name: file.stat() for file in sorted(folder.glob("*.py"))}
    return {name: [status.st_mtime_ns, status.st_size] for name, status in found.items()}

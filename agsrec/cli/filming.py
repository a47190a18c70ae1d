"""Where a command takes photos, it takes a video too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agsrec.cli.printing import say

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

__all__ = ["photos_of_video"]


def photos_of_video(console: Console, path: Path, *, look: bool = False) -> Path:
    """The folder with the frames of a video, which are chosen now if need be; any other path as it is.

    Args:
        console: Told what is being done, and what was chosen.
        path: What the user gave.
        look: Whether nothing is to be written.

    Raises:
        AgsrecError: The video cannot be used, see `agsrec.frames.extract_frames`.
    """
    from agsrec.frames import photos_of

    with console.status(f"choosing frames of {path.name}") as status:
        folder, taken = photos_of(path, status.update, look=look)
    if taken is not None:
        for sentence in (*taken.said, *taken.remarks):
            say(console, sentence)
    return folder

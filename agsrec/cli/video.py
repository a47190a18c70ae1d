"""`agsrec video`: a video in, a folder of photos out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Video"]


@dataclass(frozen=True)
class Video:
    """Choose sharp frames of a video that show an object from sides far apart, and write them as photos."""

    file: tyro.conf.Positional[Path]
    """Video of one object, around which the camera moves, or which turns."""
    output: Path | None = None
    """Folder for the photos; by default one of the video's name beside it."""
    frames: int = 24
    """Frames to take, at most: 3 to 300."""

    def main(self, console: Console) -> None:
        """Write them, and say which were chosen."""
        from agsrec.cli.printing import say
        from agsrec.frames import extract_frames

        with console.status(f"looking at {self.file.name}") as status:
            done = extract_frames(self.file, self.output, count=self.frames, report=status.update)
        for sentence in (*done.said, *done.remarks):
            say(console, sentence)

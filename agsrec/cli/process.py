"""`agsrec process`: photos in, cut-out and centred pictures out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Process"]


@dataclass(frozen=True)
class Process:
    """Cut out and centre the object in a photo, or in every photo of a folder."""

    path: tyro.conf.Positional[Path]
    """Photo, or folder of photos, or a video."""
    size: int = 2048
    """Side of the square results in pixels, at most: they have the photo's own pixels."""
    model: str = "auto"
    """What removes the background: "auto" (BiRefNet if its file is here, else the embedded model), "u2netp"
    (the embedded model), another model of rembg, or "grabcut"."""
    border_ratio: float = 0.2
    """Share of the side left free around the object."""
    recenter: bool = True
    """Centre and scale the object; --no-recenter fits the whole photo into the square."""

    cameras: Path | None = None
    """Camera file of the photos (transforms.json, or a folder with a COLMAP model): distortion is taken out;
    the one in the folder by default."""

    def main(self, console: Console) -> None:
        """Write `processed/` and `source/` beside the photos."""
        from agsrec.cli.filming import photos_of_video
        from agsrec.cli.printing import say
        from agsrec.preprocess import process

        done = process(
            photos_of_video(console, self.path),
            size=self.size,
            model=self.model,
            border_ratio=self.border_ratio,
            recenter=self.recenter,
            cameras=self.cameras,
        )
        for file in done.files:
            console.print(str(file), soft_wrap=True, highlight=False)
        for remark in done.remarks():
            say(console, remark)

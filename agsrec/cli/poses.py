"""`agsrec poses`: the cameras of photos, as a file and as a picture."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from agsrec.cli.filming import photos_of_video
from agsrec.cli.listening import ConsoleListener
from agsrec.cli.printing import say
from agsrec.errors import OptionError
from agsrec.names import BackgroundName, DeviceName, MethodName
from agsrec.options import scene_folder
from agsrec.pipeline import PhotoFolder, Posing, Settings

if TYPE_CHECKING:
    from rich.console import Console

    from agsrec.pipeline.photos import Posed

__all__ = ["Poses"]

_THUMBNAIL = 256  # pixels


@dataclass(frozen=True)
class Poses:
    """Estimate the cameras of photos of one object: cameras.json, and a picture of them."""

    folder: tyro.conf.Positional[Path]
    """Folder of photos; they are cut out first unless it has cut-out ones. Or a video."""
    method: MethodName | None = None
    """auto (all evidence together), nview, dust3r, mast3r, leap, noposplat, ace0 (a few photos, and others
    registered to them; auto does so with more than 12), colmap, or file to convert other programs' cameras.
    By default file where a transforms.json or a COLMAP model is with the photos, else auto."""
    model: str | None = None
    """Checkpoint of the method: a folder, a name in checkpoints/, or a hub id; its usual one by default."""
    file: Path | None = None
    """For the method file: a cameras.json, a transforms.json, or a folder with a COLMAP model."""
    focal: float | None = None
    """Focal length in pixels of the views (the cut-outs, 512 wide if they are wider); else from the photos'
    EXIF data, or estimated."""
    background: BackgroundName = "auto"
    """For the methods auto and ace0: static if what is around the object stood still with it, as where you
    walked around a table, and is to be matched too; moving if not, as on a turntable. auto finds out."""
    num_views: int | None = None
    """Use the first so many views; all by default."""
    views: tuple[str, ...] | None = None
    """Use exactly these views, by name."""
    output: Path | None = None
    """File to write instead of cameras.json in the folder; poses.png goes beside it."""
    overwrite: bool = False
    """Replace a file that is there already."""
    background_model: str = "auto"
    """What cuts objects out: "auto", "u2netp" (the embedded model), another model of rembg, or "grabcut"."""
    device: DeviceName = "auto"
    """Where to compute; auto takes CUDA where there is one."""
    seed: int = 0
    """Seed of everything random."""

    def main(self, console: Console) -> None:
        """Estimate, write both files, and say what could not be placed."""
        from agsrec.device import resolve_device
        from agsrec.files import prepare_folder
        from agsrec.locks import Board, held

        resolve_device(self.device)
        folder = scene_folder(photos_of_video(console, self.folder))
        output = folder / "cameras.json" if self.output is None else self.output
        self._check_output(output)
        prepare_folder(output.parent)
        with held(Board.of(output.parent)):  # a lock would stay behind with the photos
            posed = self._posed(folder, ConsoleListener(console))
            _write(output, posed)
            picture = output.with_name("poses.png")
            _draw(picture, posed)
        say(console, f"The cameras are in {output}, a picture of them in {picture}")

    def _posed(self, folder: Path, listener: ConsoleListener) -> Posed:
        """Cut out and pose the photos of a folder."""
        from agsrec.camera_files import find_photo_cameras
        from agsrec.pipeline.desk import Desk
        from agsrec.pipeline.run import pose

        file = self.file
        if file is None and self.method in (None, "file"):
            file = find_photo_cameras(folder)
        method = self.method or ("auto" if file is None else "file")
        settings = Settings(
            seed=self.seed,
            device=self.device,
            posing=Posing(method, self.model, file, self.focal, self.background),
            background_model=self.background_model,
        )
        return pose(Desk.at(None, settings, listener), PhotoFolder(folder, self.num_views, self.views))

    def _check_output(self, output: Path) -> None:
        if output.suffix.lower() != ".json":
            raise OptionError(f"--output: {output} must end in .json")
        same = self.file is not None and os.path.exists(self.file) and os.path.exists(output)
        if same and os.path.samefile(str(self.file), output):
            raise OptionError(f"--output: the result would overwrite {self.file}; name another file")
        if os.path.exists(output) and not self.overwrite:
            raise OptionError(
                f"{output} exists already; replace it with --overwrite, or name another --output"
            )


def _write(output: Path, posed: Posed) -> None:
    """The file with the cameras of all photos that have one."""
    from agsrec.camera_files import write_cameras_json
    from agsrec.cameras import Cameras

    names, cameras, others = posed.views.names, posed.estimate.cameras, posed.others
    if others is not None:
        names, cameras = (*names, *others.names), Cameras.cat([cameras, others.cameras])
    write_cameras_json(output, cameras, names, extras=posed.extras())


def _draw(picture: Path, posed: Posed) -> None:
    """The photos, where they were taken from."""
    import torch

    from agsrec.figures.cameras import cameras_figure
    from agsrec.images import save_png

    photos = posed.views.composited(torch.ones(3)).permute(0, 3, 1, 2)
    small = torch.nn.functional.interpolate(photos, (_THUMBNAIL, _THUMBNAIL), mode="area")
    thumbnails = small.permute(0, 2, 3, 1)
    names, cameras = posed.views.names, posed.estimate.cameras
    save_png(picture, cameras_figure(None, cameras, names=names, thumbnails=thumbnails))

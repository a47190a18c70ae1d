"""What every folder of results holds: the scene, the photos that were used, and their cameras."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from agsrec.camera_files import read_cameras_json
from agsrec.errors import CameraError, ImageError, OptionError, SceneError
from agsrec.files import read_bytes
from agsrec.ply import read_ply
from agsrec.view_files import load_views

if TYPE_CHECKING:
    from agsrec.cameras import Cameras
    from agsrec.gaussians import Gaussians
    from agsrec.views import Views

__all__ = ["fitted_size", "load_fitted", "load_splat"]

_METRICS_LIMIT = 64 * 2**20  # bytes
_ERRORS = {"splat.ply": SceneError, "cameras.json": CameraError, "views": ImageError}


def load_splat(folder: Path, *others: str) -> Gaussians:
    """The scene of a finished reconstruction, once the other parts named are known to be there too.

    Raises:
        OptionError: There is no such folder.
        SceneError, CameraError, ImageError: A part is missing, or the scene unusable.
    """
    if not os.path.isdir(folder):
        raise OptionError(f"{folder} is not a folder; give the folder of a finished reconstruction")
    for part in ("splat.ply", *others):
        if not os.path.exists(folder / part):
            raise _ERRORS[part](
                f"{folder} has no {part}; give the folder of a finished reconstruction, or make it anew"
            )
    gaussians = read_ply(folder / "splat.ply")
    if len(gaussians) == 0:
        raise SceneError(f"{folder / 'splat.ply'} is empty; reconstruct the object again")
    return gaussians


def fitted_size(folder: Path) -> int | None:
    """Longer side in pixels of the pictures that the scene of a finished reconstruction was fitted to.

    None where its `metrics.json` does not tell.
    """
    path = folder / "metrics.json"
    try:
        size = json.loads(read_bytes(path, error=SceneError, what="metrics", limit=_METRICS_LIMIT))[
            "fitted_size"
        ]
    except (SceneError, ValueError, RecursionError, LookupError, TypeError):
        return None
    return size if type(size) is int and size > 0 else None


def load_fitted(folder: Path) -> tuple[Gaussians, Views, Cameras]:
    """Scene, photos and cameras of a finished reconstruction, in the order of its `cameras.json`.

    Raises:
        OptionError: There is no such folder.
        SceneError, CameraError, ImageError: A part is missing or unusable.
    """
    gaussians = load_splat(folder, "cameras.json", "views")
    views = load_views(folder / "views", allow_blank=True)
    listed = read_cameras_json(folder / "cameras.json", views.width, views.height)
    missing = [name for name in listed.names if name not in views.names]
    if missing:
        raise ImageError(
            f"{folder / 'views'} lacks the photo of view {missing[0]}; reconstruct the object again"
        )
    return gaussians, views[[views.names.index(name) for name in listed.names]], listed.cameras

"""What every folder of results holds: the scene, the photos that were used, and their cameras."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from agsrec.camera_files import read_cameras_json
from agsrec.config import RESOLUTION_RANGE
from agsrec.errors import CameraError, ImageError, OptionError, SceneError
from agsrec.files import read_bytes
from agsrec.ply import read_ply
from agsrec.view_files import FullSizeViews, load_views

if TYPE_CHECKING:
    from agsrec.cameras import Cameras
    from agsrec.gaussians import Gaussians
    from agsrec.views import Views

__all__ = [
    "FITTED_SPLAT",
    "OTHERS_CAMERAS",
    "OTHERS_PHOTOS",
    "SHOWN_SPLAT",
    "fitted_size",
    "load_fitted",
    "load_full_size",
    "load_other_cameras",
    "load_others",
    "load_posed",
    "load_shown",
    "load_splat",
]

SHOWN_SPLAT = "splat.ply"
"""The scene for viewers, see `agsrec.export.viewer_splat.thickened_for_viewers`."""

FITTED_SPLAT = "splat_fitted.ply"
"""The scene as fitted, to work on further. Older results have it as their `SHOWN_SPLAT`."""

OTHERS_CAMERAS = "cameras_others.json"
"""The cameras of photos that the fit was not given."""

OTHERS_PHOTOS = "photos_others"
"""Folder with some of these photos, at their own sizes: those that the texture of the mesh has a use for."""

_PHOTOS = ("cameras.json", "views")
_METRICS_LIMIT = 64 * 2**20  # bytes
_ERRORS = {SHOWN_SPLAT: SceneError, "cameras.json": CameraError, "views": ImageError}


def load_splat(folder: Path, *others: str) -> Gaussians:
    """The scene of a finished reconstruction as fitted, once the other parts named are known to be there too.

    Raises:
        OptionError: There is no such folder.
        SceneError, CameraError, ImageError: A part is missing, or the scene unusable.
    """
    fitted = os.path.exists(folder / FITTED_SPLAT)
    return _load_scene(folder, FITTED_SPLAT if fitted else SHOWN_SPLAT, others)


def _load_scene(folder: Path, file: str, others: tuple[str, ...]) -> Gaussians:
    _check_parts(folder, file, *others)
    gaussians = read_ply(folder / file)
    if len(gaussians) == 0:
        raise SceneError(f"{folder / file} is empty; reconstruct the object again")
    return gaussians


def _check_parts(folder: Path, *parts: str) -> None:
    if not os.path.isdir(folder):
        raise OptionError(f"{folder} is not a folder; give the folder of a finished reconstruction")
    for part in parts:
        if not os.path.exists(folder / part):
            raise _ERRORS[part](
                f"{folder} has no {part}; give the folder of a finished reconstruction, or make it anew"
            )


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
    """Scene as fitted, photos and cameras of a finished reconstruction, in the order of its `cameras.json`.

    Raises:
        OptionError: There is no such folder.
        SceneError, CameraError, ImageError: A part is missing or unusable.
    """
    return (load_splat(folder, *_PHOTOS), *_load_photos(folder))


def load_shown(folder: Path) -> tuple[Gaussians, Views, Cameras]:
    """The same with the scene for viewers."""
    return (_load_scene(folder, SHOWN_SPLAT, _PHOTOS), *_load_photos(folder))


def load_posed(folder: Path) -> tuple[Views, Cameras]:
    """Photos and cameras of a finished reconstruction, in the order of its `cameras.json`.

    Raises:
        OptionError: There is no such folder.
        CameraError, ImageError: A part is missing or unusable.
    """
    _check_parts(folder, *_PHOTOS)
    return _load_photos(folder)


def load_other_cameras(path: Path, views: Views) -> Cameras:
    """Cameras of the photos of a finished reconstruction from another `cameras.json`, in the photos' order.

    The file may have more views than there are photos.

    Raises:
        OptionError: There is no such file.
        CameraError: It cannot be used, or lacks a photo or marks it as left out.
    """
    if not os.path.isfile(path):
        raise OptionError(f"{path} is not a file; give a cameras.json of the same photos")
    listed = read_cameras_json(path, views.width, views.height)
    usable = {name: i for i, name in enumerate(listed.names) if listed.flags[i]}
    missing = [name for name in views.names if name not in usable]
    if missing:
        known = len(views) - len(missing)
        raise CameraError(
            f"{path} has usable cameras of {known} of the {len(views)} photos, and none of {missing[0]}; "
            "give a cameras.json of the same photos under the same names"
        )
    return listed.cameras[[usable[name] for name in views.names]]


def _load_photos(folder: Path) -> tuple[Views, Cameras]:
    views = load_views(folder / "views", allow_blank=True, size=RESOLUTION_RANGE[1])
    listed = read_cameras_json(folder / "cameras.json", views.width, views.height)
    missing = [name for name in listed.names if name not in views.names]
    if missing:
        raise ImageError(
            f"{folder / 'views'} lacks the photo of view {missing[0]}; reconstruct the object again"
        )
    return views[[views.names.index(name) for name in listed.names]], listed.cameras


def load_full_size(folder: Path, views: Views) -> FullSizeViews | None:
    """The photos of a finished reconstruction at their own sizes; None where its views are all there is."""
    files = tuple(folder / "photos" / f"{name}_rgba.png" for name in views.names)
    return FullSizeViews(files, views.names) if all(os.path.isfile(file) for file in files) else None


def load_others(folder: Path, views: Views) -> tuple[FullSizeViews, Cameras] | None:
    """Photos of a finished reconstruction that its fit was not given, and their cameras; None without any.

    Raises:
        CameraError: The file of the cameras cannot be used.
    """
    if not os.path.isfile(folder / OTHERS_CAMERAS):
        return None
    listed = read_cameras_json(folder / OTHERS_CAMERAS, views.width, views.height)
    files = {name: folder / OTHERS_PHOTOS / f"{name}_rgba.png" for name in listed.names}
    rows = [k for k, name in enumerate(listed.names) if os.path.isfile(files[name])]
    if not rows:
        return None
    names = tuple(listed.names[k] for k in rows)
    return FullSizeViews(tuple(files[name] for name in names), names), listed.cameras[rows]

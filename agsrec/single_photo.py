"""One photo and nothing else: where its file is, the camera that is assumed, and how such a fit goes.

Nothing in one photo says how far away the object is or how it was looked at, so that its camera is an
assumption: at the usual distance, looking at the middle of the object's box.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from agsrec.cameras import CAMERA_DISTANCE, OBJECT_FILL, Cameras
from agsrec.config import WORKING_SIZE, FitConfig
from agsrec.dataset import Scene
from agsrec.errors import ImageError, OptionError
from agsrec.files import folder_entries
from agsrec.images import IMAGE_SUFFIXES, load_image, resized
from agsrec.view_files import FullSizeViews
from agsrec.views import Views, view_name

__all__ = [
    "PHOTO_ELEVATION_DEG",
    "PHOTO_FOV_DEG",
    "find_single_photo",
    "load_photo",
    "photo_cameras",
    "photo_scene",
    "single_photo_schedule",
]

PHOTO_FOV_DEG = 40.0
"""Field of view that is assumed of the square around the object."""
PHOTO_ELEVATION_DEG = 10.0
"""Degrees above the object that a photo is assumed to be taken from."""


def load_photo(path: str | Path, *, background_model: str = "auto", size: int = WORKING_SIZE) -> Views:
    """One photo, cut out and in the middle of a square, as a batch of one.

    Args:
        path: Image file; its transparency is used, or else its background removed.
        background_model: One of `agsrec.preprocess.BACKGROUND_MODELS`.
        size: Side of the square in pixels, at most; nothing is enlarged.

    Raises:
        ImageError: The file cannot be used, or shows no object.
        OptionError: Unknown background model.
    """
    return _as_views(_cut_out(Path(path), background_model, size), path)


def _as_views(cut: np.ndarray, path: str | Path) -> Views:
    """A picture [S, S, 4] uint8 as a batch of one, named after its file."""
    name = view_name(Path(path).name)
    return Views(torch.from_numpy(cut).float()[None] / 255, (name,))


def _cut_out(path: Path, background_model: str, size: int) -> np.ndarray:
    """The square [S, S, 4] uint8 around the object of a photo."""
    from agsrec.preprocess import make_remover, object_box, square_crop
    from agsrec.preprocess.matting import foreground_colors
    from agsrec.preprocess.recenter import crop_rgba

    rgba, has_alpha = load_image(path)
    if not has_alpha:
        alpha = make_remover(background_model)(np.ascontiguousarray(rgba[..., :3]))
    else:
        alpha = rgba[..., 3]
    box = object_box(alpha)
    if box is None:
        raise ImageError(f"{path}: no object found in it; cut it out by hand (PNG with alpha)")
    height, width = rgba.shape[:2]
    crop = square_crop(width, height, size, box=box, border_ratio=1 - OBJECT_FILL)
    cut = crop_rgba(rgba, crop, extend=False, alpha=alpha)
    if not has_alpha:
        cut[..., :3] = foreground_colors(crop_rgba(rgba, crop, extend=True)[..., :3], cut[..., 3])
    return cut


def photo_cameras(
    size: int,
    fov_deg: float,
    elevation_deg: Tensor | float,
    *,
    azimuth_deg: Tensor | float = 0.0,
    farther: Tensor | float = 0.0,
) -> Cameras:
    """Cameras that look at an object at the origin from the usual distance; arguments [V] or numbers.

    Args:
        size: Side of the pictures in pixels.
        fov_deg: Their field of view, degrees.
        elevation_deg: Above the object, degrees (positive is up, against the sign of `Cameras.orbit`).
        azimuth_deg: Around it, from +z to +x.
        farther: Share of the usual distance that is added to it.
    """
    values = torch.broadcast_tensors(
        *(torch.as_tensor(v, dtype=torch.float32).reshape(-1) for v in (elevation_deg, azimuth_deg, farther))
    )
    elevation, azimuth, farther = values
    focal = 0.5 * size / torch.tensor(fov_deg / 2).deg2rad().tan()
    Ks = Cameras.intrinsics(focal.expand(len(elevation)), size, size)
    radius = CAMERA_DISTANCE * (1 + farther)
    return Cameras.orbit(-elevation, azimuth, radius, Ks=Ks, width=size, height=size)


def photo_scene(
    path: str | Path,
    *,
    fov_deg: float = PHOTO_FOV_DEG,
    elevation_deg: float = PHOTO_ELEVATION_DEG,
    background_model: str = "auto",
    size: int = WORKING_SIZE,
) -> Scene:
    """A scene of one photo, with the camera that is assumed.

    Args:
        path: Image file.
        fov_deg: Field of view of the square around the object, degrees.
        elevation_deg: Degrees the photo was taken from above the object.
        background_model: What removes the background; see `load_photo`.
        size: Side of the view in pixels, at most.

    Raises:
        ImageError: The file cannot be used, or shows no object.
        OptionError: A number is out of range.
    """
    if not 1 <= fov_deg <= 150:
        raise OptionError(f"--fov must be between 1 and 150 degrees, not {fov_deg}")
    if not -90 < elevation_deg < 90:
        raise OptionError(f"--elevation must be between -90 and 90 degrees, not {elevation_deg}")
    from agsrec.preprocess import FULL_SIZE

    cut = _cut_out(Path(path), background_model, max(size, FULL_SIZE))
    side = min(size, len(cut))
    views = _as_views(resized(cut, side, side), path)
    cameras = photo_cameras(views.width, fov_deg, elevation_deg)
    full_size = FullSizeViews((cut,), views.names) if len(cut) > side else None
    return Scene(views.names[0], views, cameras, full_size=full_size)


def single_photo_schedule(config: FitConfig) -> FitConfig:
    """The schedule for one photo: guided rounds only, guided at every step, with the camera held.

    The other rounds are there to improve poses, which one photo says nothing about.
    """
    rounds = tuple(r for r in config.rounds if r.guided) or (replace(config.rounds[-1], guided=True),)
    return replace(
        config,
        rounds=rounds,
        guidance=replace(config.guidance, interval=1, lag=0),
        poses=replace(config.poses, optimize=False, refine_focal=False),
    )


# ---------------------------------------------------------------- finding the file


def find_single_photo(
    data_root: str | Path,
    category: str,
    *,
    num_views: int | None = None,
    views: Sequence[str] | None = None,
) -> Path | None:
    """The photo that is meant, where it is one photo without a camera; None for everything else.

    Args:
        data_root: Folder of scenes.
        category: A photo's file, or the name of a folder in `data_root` that has no cameras.json and either
            one photo or several of which one is asked for.
        num_views: Number of views asked for, all by default; of several photos, 1 takes the first by name.
        views: Names of the views asked for.

    Raises:
        OptionError: Several views are asked for where there is one photo.
    """
    folder = Path(data_root, category)
    # os.path answers where pathlib raises: names too long or with a null byte.
    is_image_name = Path(category).suffix.lower() in IMAGE_SUFFIXES
    if os.path.isfile(category) or (is_image_name and not os.path.isdir(folder)):
        if num_views not in (None, 1):
            raise OptionError(f"{num_views} views asked for, but {category} is one photo")
        return Path(category)
    is_name = Path(category).name == category and category not in ("", "..")
    if not is_name or os.path.exists(folder / "cameras.json"):
        return None
    photos = {view_name(photo.name): photo for photo in _photos_in(folder)}
    if views is not None and len(views) == 1:
        return photos.get(views[0])
    alone = len(photos) == 1 and views is None and num_views is None
    return next(iter(photos.values())) if photos and (alone or num_views == 1) else None


def _photos_in(folder: Path) -> list[Path]:
    """The cut-out photos of a scene by name, or if there are none its photos."""
    for place in (folder / "processed", folder):
        cut = [f for f in folder_entries(place) if f.name.endswith("_rgba.png")]
        if cut:
            return cut
    files = folder_entries(folder)
    return [f for f in files if f.suffix.lower() in IMAGE_SUFFIXES and f.name[0] != "." and os.path.isfile(f)]

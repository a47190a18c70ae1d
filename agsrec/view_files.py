"""Cut-out photos from folders and files, with everything a user can get wrong checked on the way."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agsrec.camera_files import FORMAT_SIZE, CameraFile, read_cameras_json, view_name
from agsrec.errors import CameraError, ImageError, OptionError
from agsrec.files import folder_entries
from agsrec.photos import Known, read_photo
from agsrec.views import Views

__all__ = ["choose_names", "image_path", "load_files", "load_unposed_views", "load_views"]

_MIN_OBJECT_PIXELS = 4  # fewer are dust, not an object


def load_views(
    source: str | Path | Sequence[str | Path],
    names: Sequence[str] | None = None,
    *,
    allow_blank: bool = False,
) -> Views:
    """Cut-out photos from a folder (its `*_rgba.png`, or those in its `processed/`) or from given files.

    Args:
        source: Folder, or image files in the order wanted.
        names: Views to pick, in that order; all by default, in the order of their names.
        allow_blank: Take images without an object too.

    Raises:
        ImageError: No image, an unusable image, one without an object, or different sizes.
        OptionError: A name that is not among the views.
    """
    files = _find_views(Path(source)) if isinstance(source, str | Path) else [Path(f) for f in source]
    if not files:
        raise ImageError("no image files given; name at least one")
    by_name: dict[str, Path] = {}
    for file in files:
        if view_name(file.name) in by_name:
            raise ImageError(
                f"{file} and {by_name[view_name(file.name)]} give the same view name; rename one"
            )
        by_name[view_name(file.name)] = file
    names = tuple(by_name) if names is None else tuple(names)
    _check_names("names", names, by_name, Path(files[0]).parent)
    return load_files([by_name[n] for n in names], names, allow_blank=allow_blank)


def _find_views(folder: Path) -> list[Path]:
    for candidate in (folder, folder / "processed"):
        files = [f for f in folder_entries(candidate) if f.name.endswith("_rgba.png")]
        if files:
            return sorted(files, key=lambda f: _natural(f.name))
    if not os.path.isdir(folder):
        raise ImageError(f"{folder} is not a folder; give a folder with *_rgba.png images")
    raise ImageError(
        f"{folder} has no *_rgba.png images; cut the photos out first with: agsrec process {folder}"
    )


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort key that puts 2 before 10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def load_files(
    files: Sequence[Path],
    names: Sequence[str],
    *,
    allow_blank: bool = False,
    known: Mapping[str, Known] | None = None,
) -> Views:
    """Image files of one size, each with an object cut out.

    Args:
        files: V image files.
        names: Their names.
        allow_blank: Take images without an object too.
        known: By name, what is known of those that are photos as they were taken: they are undistorted.

    Raises:
        ImageError: One is unusable, of another size, or without an object (unless `allow_blank`).
    """
    images: list[np.ndarray] = []
    for file, name in zip(files, names, strict=True):
        photo = read_photo(file, (known or {}).get(name))
        rgba = photo.rgba
        if not photo.cut_out:
            raise ImageError(
                f"{file} has no transparent background; cut the object out with: agsrec process {file}"
            )
        if not allow_blank and (rgba[..., 3] >= 128).sum() < _MIN_OBJECT_PIXELS:
            raise ImageError(
                f"{file} has no object: its mask is empty; cut it out again or leave the view out"
            )
        if images and rgba.shape != images[0].shape:
            sizes = [f"{i.shape[1]} x {i.shape[0]}" for i in (rgba, images[0])]
            raise ImageError(
                f"{file} is {sizes[0]} but {files[0].name} is {sizes[1]}; process all photos with one --size"
            )
        images.append(rgba)
    return Views(torch.from_numpy(np.stack(images)).float() / 255, tuple(names))


def load_unposed_views(
    folder: str | Path, *, num_views: int | None = None, views: Sequence[str] | None = None
) -> Views:
    """The views of a folder in the demo layout whose cameras are still to be found.

    With a `cameras.json`, the views it calls usable, in its order; else all, in the order of their names.
    Images without an object are among them.

    Args:
        folder: Folder with `*_rgba.png`, or with a `processed/` that has them.
        num_views: Use the first this many; all by default.
        views: Use exactly these.

    Raises:
        OptionError: Unknown views, or a number of views that does not work.
        ImageError, CameraError: A file is missing or unusable.
    """
    folder = Path(folder)
    path = folder / "cameras.json"
    if os.path.isfile(path):
        listed = read_cameras_json(path, FORMAT_SIZE, FORMAT_SIZE)
        names = choose_names(folder, listed, num_views, views)
        files = [image_path(folder / "processed", listed, listed.names.index(n)) for n in names]
        return load_files(files, names, allow_blank=True)
    if views is not None:
        if num_views is not None and num_views != len(views):
            raise OptionError(f"num_views is {num_views} but views names {len(views)}; give one of the two")
        return load_views(folder, views, allow_blank=True)
    known = [view_name(file.name) for file in _find_views(folder)]
    num_views = len(known) if num_views is None else num_views
    if not 1 <= num_views <= len(known):
        raise OptionError(f"{num_views} views asked for, but {folder} has 1 to {len(known)}")
    return load_views(folder, known[:num_views], allow_blank=True)


def choose_names(
    folder: Path, listed: CameraFile, num_views: int | None, views: Sequence[str] | None
) -> tuple[str, ...]:
    """Names of the views of a `cameras.json` to use: those asked for, or the first usable ones.

    Raises:
        OptionError: Unknown views, or a number of views that does not work.
        CameraError: No view is usable.
    """
    usable = tuple(name for name, flag in zip(listed.names, listed.flags, strict=True) if flag)
    if views is not None:
        _check_names("views", views, listed.names, folder / "cameras.json")
        if num_views is not None and num_views != len(views):
            raise OptionError(f"num_views is {num_views} but views names {len(views)}; give one of the two")
        usable, num_views = tuple(views), len(views)
    if num_views is None:
        num_views = len(usable)
        if num_views < 1:
            raise CameraError(f"{folder / 'cameras.json'} has no usable views; at least 1 is needed")
    if num_views < 1:
        raise OptionError(f"{num_views} views asked for; at least 1 is needed")
    if num_views > len(usable):
        raise OptionError(
            f"{num_views} views asked for, but {folder / 'cameras.json'} has {len(usable)} usable ones; "
            f"ask for at most {len(usable)}"
        )
    return usable[:num_views]


def _check_names(
    option: str, names: Sequence[str], known: Sequence[str] | Mapping[str, Any], where: Path
) -> None:
    """Raise if a name is unknown or given twice."""
    for i, name in enumerate(names):
        if name not in known:
            raise OptionError(f"{option}: {where} has no view {name!r}; there are: {', '.join(known)}")
        if name in names[:i]:
            raise OptionError(f"{option}: view {name!r} is given twice; name it once")


def image_path(folder: Path, listed: CameraFile, index: int) -> Path:
    """The image of a view: the file name that is stored, or else the one made from the view's name."""
    stored = folder / listed.files[index]
    return stored if os.path.exists(stored) else folder / f"{listed.names[index]}_rgba.png"

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
from agsrec.config import WORKING_SIZE
from agsrec.errors import CameraError, ImageError, OptionError
from agsrec.files import folder_entries
from agsrec.images import resized
from agsrec.photos import Known, read_photo
from agsrec.views import Views

__all__ = [
    "choose_names",
    "find_view_files",
    "image_path",
    "load_files",
    "load_unposed_views",
    "load_views",
]

_MIN_OBJECT_PIXELS = 4  # fewer are dust, not an object


def load_views(
    source: str | Path | Sequence[str | Path],
    names: Sequence[str] | None = None,
    *,
    allow_blank: bool = False,
    size: int = WORKING_SIZE,
) -> Views:
    """Cut-out photos from a folder (its `*_rgba.png`, or those in its `processed/`) or from given files.

    Args:
        source: Folder, or image files in the order wanted.
        names: Views to pick, in that order; all by default, in the order of their names.
        allow_blank: Take images without an object too.
        size: Longer side of the views in pixels, at most; see `load_files`.

    Raises:
        ImageError: No image, an unusable image, one without an object, or different sizes.
        OptionError: A name that is not among the views.
    """
    found = _named_files(source, names)
    return load_files([*found.values()], [*found], allow_blank=allow_blank, size=size)


def _named_files(source: str | Path | Sequence[str | Path], names: Sequence[str] | None) -> dict[str, Path]:
    """The files that `load_views` takes, by view name and in its order."""
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
    return {name: by_name[name] for name in names}


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
    size: int = WORKING_SIZE,
) -> Views:
    """Image files, each with an object cut out, as views of one size.

    Larger images are made smaller. Square ones of different sizes, as `agsrec.preprocess.process` writes
    them, become as large as the largest of them then is.

    Args:
        files: V image files.
        names: Their names.
        allow_blank: Take images without an object too.
        known: By name, what is known of those that are photos as they were taken: they are undistorted.
        size: Longer side of the views in pixels, at most.

    Raises:
        ImageError: One is unusable, without an object (unless `allow_blank`), or of another size while not
            all are square.
    """
    images: list[np.ndarray] = []
    shapes: list[tuple[int, int]] = []
    for file, name in zip(files, names, strict=True):
        rgba = _cut_out(file, (known or {}).get(name), allow_blank=allow_blank)
        height, width = rgba.shape[:2]
        shapes.append((height, width))
        if shapes[-1] != shapes[0] and not height / width == shapes[0][0] / shapes[0][1] == 1:
            sizes = [f"{w} x {h}" for h, w in (shapes[-1], shapes[0])]
            raise ImageError(
                f"{file} is {sizes[0]} but {files[0].name} is {sizes[1]}; only square images may differ in "
                "size, as agsrec process writes them"
            )
        scale = min(1.0, size / max(height, width))
        images.append(resized(rgba, max(1, round(scale * width)), max(1, round(scale * height))))
    height, width = max(image.shape[:2] for image in images)
    batch = np.stack([resized(image, width, height) for image in images])
    return Views(torch.from_numpy(batch).float() / 255, tuple(names))


def _cut_out(file: Path, known: Known | None, *, allow_blank: bool) -> np.ndarray:
    """The picture [H, W, 4] uint8 of an object that is cut out."""
    photo = read_photo(file, known)
    if not photo.cut_out:
        raise ImageError(
            f"{file} has no transparent background; cut the object out with: agsrec process {file}"
        )
    if not allow_blank and (photo.rgba[..., 3] >= 128).sum() < _MIN_OBJECT_PIXELS:
        raise ImageError(f"{file} has no object: its mask is empty; cut it out again or leave the view out")
    return photo.rgba


def load_unposed_views(
    folder: str | Path,
    *,
    num_views: int | None = None,
    views: Sequence[str] | None = None,
    size: int = WORKING_SIZE,
) -> Views:
    """The views of a folder in the demo layout whose cameras are still to be found.

    Images without an object are among them.

    Args:
        folder: Folder with `*_rgba.png`, or with a `processed/` that has them.
        num_views: Use the first this many; all by default.
        views: Use exactly these.
        size: Longer side of the views in pixels, at most; see `load_files`.

    Raises:
        OptionError: Unknown views, or a number of views that does not work.
        ImageError, CameraError: A file is missing or unusable.
    """
    found = find_view_files(folder, num_views=num_views, views=views)
    return load_files([*found.values()], [*found], allow_blank=True, size=size)


def find_view_files(
    folder: str | Path, *, num_views: int | None = None, views: Sequence[str] | None = None
) -> dict[str, Path]:
    """The cut-out photos of a folder in the demo layout, by view name.

    With a `cameras.json`, the views it calls usable, in its order; else all, in the order of their names.
    Arguments and errors as of `load_unposed_views`.
    """
    folder = Path(folder)
    path = folder / "cameras.json"
    if os.path.isfile(path):
        listed = read_cameras_json(path, FORMAT_SIZE, FORMAT_SIZE)
        names = choose_names(folder, listed, num_views, views)
        return {n: image_path(folder / "processed", listed, listed.names.index(n)) for n in names}
    if views is not None:
        if num_views is not None and num_views != len(views):
            raise OptionError(f"num_views is {num_views} but views names {len(views)}; give one of the two")
        return _named_files(folder, views)
    known = [view_name(file.name) for file in _find_views(folder)]
    num_views = len(known) if num_views is None else num_views
    if not 1 <= num_views <= len(known):
        raise OptionError(f"{num_views} views asked for, but {folder} has 1 to {len(known)}")
    return _named_files(folder, known[:num_views])


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

"""Cut-out photos from folders and files, with everything a user can get wrong checked on the way."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor

from agsrec.camera_files import FORMAT_SIZE, CameraFile, read_cameras_json
from agsrec.config import WORKING_SIZE
from agsrec.errors import CameraError, ImageError, OptionError, ShapeError
from agsrec.files import contents_digest, existing_name, folder_entries
from agsrec.images import encode_png, image_dimensions, resized
from agsrec.photos import Known, read_photo
from agsrec.views import Views, view_name

__all__ = [
    "FullSizeViews",
    "SizedViews",
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
    sizes: list[tuple[int, int]] = []
    for file, name in zip(files, names, strict=True):
        rgba = _cut_out(file, (known or {}).get(name), allow_blank=allow_blank)
        height, width = rgba.shape[:2]
        sizes.append((width, height))
        _require_alike(file, sizes[-1], files[0], sizes[0])
        scale = min(1.0, size / max(height, width))
        images.append(resized(rgba, max(1, round(scale * width)), max(1, round(scale * height))))
    height, width = max(image.shape[:2] for image in images)
    batch = np.stack([resized(image, width, height) for image in images])
    return Views(torch.from_numpy(batch).float() / 255, tuple(names))


def _require_alike(file: Path, size: tuple[int, int], first: Path, usual: tuple[int, int]) -> None:
    """Raise unless two images are of one size (width, height), or both square."""
    if size != usual and not size[0] / size[1] == usual[0] / usual[1] == 1:
        raise ImageError(
            f"{file} is {size[0]} x {size[1]} but {first.name} is {usual[0]} x {usual[1]}; only square "
            "images may differ in size, as agsrec process writes them"
        )


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
    return stored if os.path.exists(stored) else existing_name(folder / f"{listed.names[index]}_rgba.png")


# ---------------------------------------------------------------- at their own sizes


@dataclass(frozen=True, eq=False)
class FullSizeViews(Sequence[Tensor]):
    """V cut-out photos, each of the size it has; a file is read whenever its picture is asked for.

    They show the same as the `Views` of these names, so that the camera of a view is that of its picture once
    it is resized: `cameras[[i]].resized(width, height)`.

    Attributes:
        pictures: A file per view, or the picture itself, RGBA [H, W, 4] uint8 of straight alpha.
        names: One name per view.
        known: By name, what is known of those that are photos as they were taken: they are undistorted.
    """

    pictures: tuple[Path | np.ndarray, ...]
    names: tuple[str, ...]
    known: Mapping[str, Known] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.pictures) != len(self.names):
            raise ShapeError(f"{len(self.pictures)} pictures but {len(self.names)} names")

    def __len__(self) -> int:
        return len(self.pictures)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...

    @overload
    def __getitem__(self, index: slice) -> FullSizeViews: ...

    def __getitem__(self, index: int | slice) -> Tensor | FullSizeViews:
        """One picture, RGBA [H, W, 4] float32 in [0, 1], straight alpha; or some of the views.

        Raises:
            ImageError: Its file cannot be used any more.
        """
        if isinstance(index, slice):
            return self.select(self.names[index])
        picture = self.pictures[index]
        if isinstance(picture, Path):
            picture = read_photo(picture, self.known.get(self.names[index])).rgba
        return torch.from_numpy(picture).float() / 255

    def select(self, names: Sequence[str]) -> FullSizeViews:
        """Those of the views of these names, in their order."""
        index = [self.names.index(name) for name in names]
        return FullSizeViews(tuple(self.pictures[i] for i in index), tuple(names), self.known)

    @cached_property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Width and height of each in pixels, from the files' headers.

        Raises:
            ImageError: A file cannot be used.
        """
        return tuple(
            image_dimensions(p) if isinstance(p, Path) else (p.shape[1], p.shape[0]) for p in self.pictures
        )

    def exceed(self, width: int, height: int) -> bool:
        """Whether any is larger than that, so that views of that size do not show all there is."""
        return any(max(size) > max(width, height) for size in self.sizes)

    def png(self, index: int) -> bytes:
        """One picture as a PNG file.

        Raises:
            ImageError: Its file cannot be used any more.
        """
        return encode_png((self[index] * 255).round().byte().numpy(), effort=3)

    def contents(self) -> dict[str, object]:
        """By name, what tells whether a picture has changed: a digest of its file, or the picture."""
        return {
            name: contents_digest(picture) if isinstance(picture, Path) else picture
            for name, picture in zip(self.names, self.pictures, strict=True)
        }


@dataclass(frozen=True, eq=False)
class SizedViews(Sequence[Tensor]):
    """V cut-out photos of one size, as `load_files` has them, each read whenever it is asked for.

    Attributes:
        full: The photos at their own sizes.
        width: Of all, pixels.
        height: Of all, pixels.
    """

    full: FullSizeViews
    width: int
    height: int

    @staticmethod
    def of(files: Mapping[str, Path], *, size: int = WORKING_SIZE) -> SizedViews:
        """The photos in files, by view name; sizes and errors as of `load_files`, objects or not."""
        full = FullSizeViews(tuple(files.values()), tuple(files))
        first, *_ = files.values()
        for file, given in zip(files.values(), full.sizes, strict=True):
            _require_alike(file, given, first, full.sizes[0])
        width, height = max(full.sizes)
        scale = min(1.0, size / max(width, height))
        return SizedViews(full, max(1, round(scale * width)), max(1, round(scale * height)))

    @staticmethod
    def of_pictures(pictures: np.ndarray, names: Sequence[str]) -> SizedViews:
        """Photos in memory [V, H, W, 4] uint8, straight alpha, at their own size."""
        height, width = pictures.shape[1:3]
        return SizedViews(FullSizeViews(tuple(pictures), tuple(names)), width, height)

    def __len__(self) -> int:
        return len(self.full)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...

    @overload
    def __getitem__(self, index: slice) -> SizedViews: ...

    def __getitem__(self, index: int | slice) -> Tensor | SizedViews:
        """One picture, RGBA [H, W, 4] float32 in [0, 1], straight alpha; or some of the views.

        Raises:
            ImageError: Its file cannot be used, or shows no background.
        """
        if isinstance(index, slice):
            return SizedViews(self.full[index], self.width, self.height)
        picture = self.full.pictures[index]
        if isinstance(picture, Path):
            picture = _cut_out(picture, self.full.known.get(self.full.names[index]), allow_blank=True)
        return torch.from_numpy(resized(picture, self.width, self.height)).float() / 255

    def views(self, index: Sequence[int]) -> Views:
        """Some of the photos in memory."""
        return Views(torch.stack([self[i] for i in index]), tuple(self.full.names[i] for i in index))

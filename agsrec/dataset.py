"""Loading photos and scenes from folders, with everything a user can get wrong checked on the way.

Two layouts are known. *Demo*: `processed/<name>_rgba.png` with `cameras.json` in the public SparseAGS
format, optionally `cameras_gt.json`, and test views in `test/<name>_rgba.png` with `cameras_test.json`.
*Ground truth*: `transforms.json` with `images/`, `points.npy` and `points_visible.npy`, the world having +z
up.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agsrec.camera_files import FORMAT_SIZE, CameraFile, read_cameras_json, read_transforms_json, view_name
from agsrec.cameras import Z_UP_TO_Y_UP, Cameras
from agsrec.errors import CameraError, ImageError, OptionError, SceneError
from agsrec.files import folder_entries
from agsrec.images import load_image
from agsrec.views import Views

__all__ = [
    "GT_INPUT_VIEWS",
    "Scene",
    "load_gt_scene",
    "load_scene",
    "load_unposed_views",
    "load_views",
    "posed_scene",
]

GT_INPUT_VIEWS = 8
"""In a ground-truth folder the first views are inputs, all later ones are test views."""

_MIN_MEASURED_VIEWS = 2  # one view has no relative pose
_MIN_OBJECT_PIXELS = 4  # fewer are dust, not an object


@dataclass(frozen=True)
class Scene:
    """The photos of one object with what is known about their cameras.

    Attributes:
        name: Name of the object: its folder.
        views: V input views.
        cameras: V initial cameras, in pixels of the views.
        truth: The true cameras in the same world frame, if known.
        test_views: Views never shown to the method, if there are any.
        test_cameras: Their true cameras, in the world frame of `truth`.
        points: Surface points [M, 3] of the object in the world frame of `truth`, if known.
        points_visible: Whether any camera sees the point [M] bool.
        extras: Per view name, what `cameras.json` holds besides the camera, to be written back.
    """

    name: str
    views: Views
    cameras: Cameras
    truth: Cameras | None = None
    test_views: Views | None = None
    test_cameras: Cameras | None = None
    points: Tensor | None = None
    points_visible: Tensor | None = None
    extras: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


# ---------------------------------------------------------------- views


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
    return _load_files([by_name[n] for n in names], names, allow_blank=allow_blank)


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


def _load_files(files: Sequence[Path], names: Sequence[str], *, allow_blank: bool = False) -> Views:
    """Image files of one size, each with an object cut out."""
    images: list[np.ndarray] = []
    for file in files:
        rgba, has_alpha = load_image(file)
        if not has_alpha:
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


# ---------------------------------------------------------------- demo layout


def load_scene(
    data_root: str | Path,
    category: str,
    *,
    num_views: int | None = None,
    views: Sequence[str] | None = None,
) -> Scene:
    """A scene in the demo layout from the folder `data_root/category`.

    Args:
        data_root: Folder of scenes.
        category: Name of the scene.
        num_views: Use the first this many usable views, in the order of `cameras.json`; all by default.
        views: Use exactly these views, even those that `cameras.json` flags as left out.

    Raises:
        OptionError: Unknown category or views, or a number of views that does not work.
        CameraError: `cameras.json` or another camera file is missing or unusable.
        ImageError: An image is missing or unusable.
    """
    folder = _scene_folder(Path(data_root), category)
    path = folder / "cameras.json"
    if not os.path.isfile(path):
        raise CameraError(
            f"{path} is missing: rough camera poses are needed to start from; "
            f"put a cameras.json in SparseAGS format there, or estimate it with: agsrec poses {folder}"
        )
    listed = read_cameras_json(path, FORMAT_SIZE, FORMAT_SIZE)
    names = _choose(folder, listed, num_views, views)
    index = [listed.names.index(n) for n in names]
    loaded = _load_files([_image_path(folder / "processed", listed, i) for i in index], names)
    truth = _truth(folder / "cameras_gt.json", loaded)
    test_views, test_cameras = _test_set(folder)
    return Scene(
        name=folder.name,
        views=loaded,
        cameras=listed.cameras[index].resized(loaded.width, loaded.height),
        truth=truth,
        test_views=test_views,
        test_cameras=test_cameras,
        extras={n: listed.extras[n] for n in names},
    )


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
        names = _choose(folder, listed, num_views, views)
        files = [_image_path(folder / "processed", listed, listed.names.index(n)) for n in names]
        return _load_files(files, names, allow_blank=True)
    if views is not None:
        if num_views is not None and num_views != len(views):
            raise OptionError(f"num_views is {num_views} but views names {len(views)}; give one of the two")
        return load_views(folder, views, allow_blank=True)
    known = [view_name(file.name) for file in _find_views(folder)]
    num_views = len(known) if num_views is None else num_views
    if not 1 <= num_views <= len(known):
        raise OptionError(f"{num_views} views asked for, but {folder} has 1 to {len(known)}")
    return load_views(folder, known[:num_views], allow_blank=True)


def posed_scene(folder: str | Path, views: Views, cameras: Cameras) -> Scene:
    """The scene of views whose cameras come from elsewhere, with whatever truth its folder holds.

    Raises:
        CameraError, ImageError: A file of the truth or of the test views is unusable.
    """
    folder = Path(folder)
    test_views, test_cameras = _test_set(folder)
    return Scene(
        name=folder.absolute().name,
        views=views,
        cameras=cameras,
        truth=_truth(folder / "cameras_gt.json", views),
        test_views=test_views,
        test_cameras=test_cameras,
    )


def _scene_folder(root: Path, category: str) -> Path:
    if not os.path.isdir(root):
        raise OptionError(f"data folder {root} does not exist; name the folder of the scenes with --data")
    scenes = [
        f.name
        for f in folder_entries(root)
        if os.path.isfile(f / "cameras.json") or os.path.isdir(f / "processed")
    ]
    if category not in scenes:
        present = (
            f"there are: {', '.join(scenes)}" if scenes else "it has no scenes: name another with --data"
        )
        raise OptionError(f"unknown category {category!r} in {root}; {present}")
    return root / category


def _choose(
    folder: Path, listed: CameraFile, num_views: int | None, views: Sequence[str] | None
) -> tuple[str, ...]:
    """Names of the views to use."""
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


def _image_path(folder: Path, listed: CameraFile, index: int) -> Path:
    """The image of a view: the file name that is stored, or else the one made from the view's name."""
    stored = folder / listed.files[index]
    return stored if os.path.exists(stored) else folder / f"{listed.names[index]}_rgba.png"


def _truth(path: Path, views: Views) -> Cameras | None:
    """The true cameras of the views; None if there is no such file."""
    if not os.path.exists(path):
        return None
    truth = read_cameras_json(path, views.width, views.height)
    missing = [n for n in views.names if n not in truth.names]
    if missing:
        raise CameraError(
            f"{path} lacks view {', '.join(missing)}; add it, or remove the file to run without truth"
        )
    return truth.cameras[[truth.names.index(n) for n in views.names]]


def _test_set(folder: Path) -> tuple[Views | None, Cameras | None]:
    path = folder / "cameras_test.json"
    if not os.path.exists(path):
        return None, None
    listed = read_cameras_json(path, FORMAT_SIZE, FORMAT_SIZE)
    files = [_image_path(folder / "test", listed, i) for i in range(len(listed.names))]
    views = _load_files(files, listed.names)
    return views, listed.cameras.resized(views.width, views.height)


# ---------------------------------------------------------------- ground-truth layout


def load_gt_scene(folder: str | Path, num_views: int | None = None) -> Scene:
    """A scene with exact ground truth, in either layout; its cameras are the true ones in the +y-up world.

    Args:
        folder: Folder with `transforms.json`, or in the demo layout with `cameras_gt.json`.
        num_views: Use the first this many of the input views; all by default.

    Raises:
        OptionError: No such folder, or a number of views that does not work.
        CameraError, ImageError, SceneError: A file in it is missing or unusable.
    """
    folder = Path(folder).absolute()
    if os.path.isfile(folder / "transforms.json"):
        return _load_transforms_scene(folder, num_views)
    if not os.path.isfile(folder / "cameras.json"):
        raise OptionError(
            f"{folder} has neither transforms.json nor cameras.json; name a folder with ground truth"
        )
    scene = load_scene(folder.parent, folder.name, num_views=num_views)
    if scene.truth is None:
        raise CameraError(
            f"{folder / 'cameras_gt.json'} is missing: without true cameras there is nothing to compare"
        )
    if len(scene.views) < _MIN_MEASURED_VIEWS:
        raise OptionError(f"{folder}: one view has no relative pose to measure; use at least 2")
    return replace(scene, cameras=scene.truth)


def _load_transforms_scene(folder: Path, num_views: int | None) -> Scene:
    listed = read_transforms_json(folder / "transforms.json")
    inputs = min(GT_INPUT_VIEWS, len(listed.names))
    num_views = inputs if num_views is None else num_views
    least = _MIN_MEASURED_VIEWS
    if not least <= num_views <= inputs:
        raise OptionError(f"{num_views} views asked for; {folder} has {least} to {inputs} input views")
    rotation = torch.tensor(Z_UP_TO_Y_UP)
    cameras = listed.cameras.transformed(1.0, rotation, torch.zeros(3))

    def load(index: list[int]) -> tuple[Views, Cameras]:
        names = [listed.names[i] for i in index]
        views = _load_files([folder / "images" / listed.files[i] for i in index], names)
        return views, cameras[index].resized(views.width, views.height)

    views, truth = load(list(range(num_views)))
    test_index = list(range(GT_INPUT_VIEWS, len(listed.names)))
    test_views, test_cameras = load(test_index) if test_index else (None, None)
    points, visible = _load_points(folder, rotation)
    return Scene(
        name=folder.name,
        views=views,
        cameras=truth,
        truth=truth,
        test_views=test_views,
        test_cameras=test_cameras,
        points=points,
        points_visible=visible,
        extras={n: listed.extras[n] for n in views.names},
    )


def _load_points(folder: Path, rotation: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """Surface points [M, 3], rotated, and their visibility [M]; None where there are no such files."""
    path = folder / "points.npy"
    if not os.path.exists(path):
        return None, None
    points = _load_array(path)
    if points.ndim != 2 or points.shape[1] != 3 or points.dtype.kind != "f" or not np.isfinite(points).all():
        raise SceneError(f"{path} must hold finite points [M, 3], not {points.dtype} {list(points.shape)}")
    visible_path = folder / "points_visible.npy"
    visible = _load_array(visible_path) if os.path.exists(visible_path) else np.ones(len(points), dtype=bool)
    if visible.shape != points.shape[:1] or visible.dtype != np.bool_:
        raise SceneError(
            f"{visible_path} must hold {len(points)} booleans, not {visible.dtype} {list(visible.shape)}"
        )
    return torch.from_numpy(points).float() @ rotation.mT, torch.from_numpy(visible)


def _load_array(path: Path) -> np.ndarray:
    try:
        # Memory-mapped, so that a lying header cannot ask for more than the file holds.
        return np.array(np.load(path, mmap_mode="r", allow_pickle=False))
    except Exception as error:  # numpy meets damaged files with many types of exception
        raise SceneError(
            f"{path} is not a readable NumPy array ({str(error)[:80]}); copy it again"
        ) from error

"""Loading scenes from folders: photos and cameras, with everything a user can get wrong checked on the way.

Two layouts are known. *Demo*: `processed/<name>_rgba.png` with `cameras.json` in the public SparseAGS
format, optionally `cameras_gt.json`, and test views in `test/<name>_rgba.png` with `cameras_test.json`.
*Ground truth*: `transforms.json` with `images/`, `points.npy` and `points_visible.npy`, the world having +z
up.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agsrec.camera_files import FORMAT_SIZE, read_cameras_json, read_transforms_json
from agsrec.cameras import Z_UP_TO_Y_UP, Cameras
from agsrec.config import WORKING_SIZE
from agsrec.errors import CameraError, OptionError, SceneError
from agsrec.files import folder_entries
from agsrec.photos import Known, notes_of
from agsrec.view_files import (
    FullSizeViews,
    choose_names,
    image_path,
    load_files,
    load_unposed_views,
    load_views,
)
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
        full_size: The input views at the size of their files, where that is known to be more.
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
    full_size: FullSizeViews | None = None

    @property
    def focal_known(self) -> bool:
        """Whether nothing says that a focal length is only an estimate."""
        return not any(entry.get("focal_estimated") for entry in self.extras.values())


# ---------------------------------------------------------------- demo layout


def load_scene(
    data_root: str | Path,
    category: str,
    *,
    num_views: int | None = None,
    views: Sequence[str] | None = None,
    size: int = WORKING_SIZE,
) -> Scene:
    """A scene in the demo layout from the folder `data_root/category`.

    Args:
        data_root: Folder of scenes.
        category: Name of the scene.
        num_views: Use the first this many usable views, in the order of `cameras.json`; all by default.
        views: Use exactly these views, even those that `cameras.json` flags as left out.
        size: Longer side of the input views in pixels, at most; see `agsrec.view_files.load_files`. Test
            views have at most `WORKING_SIZE`, so that scores can be compared.

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
    names = choose_names(folder, listed, num_views, views)
    index = [listed.names.index(n) for n in names]
    files = [image_path(folder / "processed", listed, i) for i in index]
    loaded = load_files(files, names, size=size)
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
        full_size=_full_size(files, loaded),
    )


def posed_scene(
    folder: str | Path,
    views: Views,
    cameras: Cameras,
    *,
    files: Mapping[str, Path] | None = None,
) -> Scene:
    """The scene of views whose cameras come from elsewhere, with whatever truth its folder holds.

    Args:
        folder: Its folder.
        views: V views.
        cameras: Their cameras.
        files: By name, the files that the views are from, and perhaps others.

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
        full_size=None if files is None else _full_size([files[n] for n in views.names], views),
    )


def _full_size(
    files: Sequence[Path], views: Views, known: Mapping[str, Known] | None = None
) -> FullSizeViews | None:
    """What the files of views show at their own size; None where the views are all of it."""
    found = FullSizeViews(tuple(files), views.names, known or {})
    return found if found.exceed(views.width, views.height) else None


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
    files = [image_path(folder / "test", listed, i) for i in range(len(listed.names))]
    views = load_files(files, listed.names)
    return views, listed.cameras.resized(views.width, views.height)


# ---------------------------------------------------------------- ground-truth layout


def load_gt_scene(folder: str | Path, num_views: int | None = None, *, size: int = WORKING_SIZE) -> Scene:
    """A scene with exact ground truth, in either layout; its cameras are the true ones in the +y-up world.

    Args:
        folder: Folder with `transforms.json`, or in the demo layout with `cameras_gt.json`.
        num_views: Use the first this many of the input views; all by default.
        size: Longer side of the input views in pixels, at most; see `load_scene`.

    Raises:
        OptionError: No such folder, or a number of views that does not work.
        CameraError, ImageError, SceneError: A file in it is missing or unusable.
    """
    folder = Path(folder).absolute()
    if os.path.isfile(folder / "transforms.json"):
        return _load_transforms_scene(folder, num_views, size)
    if not os.path.isfile(folder / "cameras.json"):
        raise OptionError(
            f"{folder} has neither transforms.json nor cameras.json; name a folder with ground truth"
        )
    scene = load_scene(folder.parent, folder.name, num_views=num_views, size=size)
    if scene.truth is None:
        raise CameraError(
            f"{folder / 'cameras_gt.json'} is missing: without true cameras there is nothing to compare"
        )
    if len(scene.views) < _MIN_MEASURED_VIEWS:
        raise OptionError(f"{folder}: one view has no relative pose to measure; use at least 2")
    return replace(scene, cameras=scene.truth)


def _load_transforms_scene(folder: Path, num_views: int | None, size: int) -> Scene:
    path = folder / "transforms.json"
    listed = read_transforms_json(path)
    known = notes_of(path, listed)
    inputs = min(GT_INPUT_VIEWS, len(listed.names))
    num_views = inputs if num_views is None else num_views
    least = _MIN_MEASURED_VIEWS
    if not least <= num_views <= inputs:
        raise OptionError(f"{num_views} views asked for; {folder} has {least} to {inputs} input views")
    rotation = torch.tensor(Z_UP_TO_Y_UP)
    cameras = listed.cameras.transformed(1.0, rotation, torch.zeros(3))

    def files(index: list[int]) -> list[Path]:
        return [folder / "images" / listed.files[i] for i in index]

    def load(index: list[int], size: int = WORKING_SIZE) -> tuple[Views, Cameras]:
        names = [listed.names[i] for i in index]
        views = load_files(files(index), names, known=known, size=size)
        return views, cameras[index].resized(views.width, views.height)

    index = list(range(num_views))
    views, truth = load(index, size)
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
        full_size=_full_size(files(index), views, known),
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

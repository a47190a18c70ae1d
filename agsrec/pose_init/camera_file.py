"""Initialiser `file`: cameras that another program has estimated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from agsrec.camera_files import is_of_photos, read_cameras_json, read_photo_cameras
from agsrec.errors import CameraError
from agsrec.point_map import PointMap
from agsrec.pose_init.estimate import PoseEstimate
from agsrec.pose_init.normalize import normalize_estimate
from agsrec.preprocess.crops import read_crops, read_lenses
from agsrec.preprocess.recenter import carry_intrinsics

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agsrec.cameras import Cameras
    from agsrec.lenses import Lens
    from agsrec.preprocess.recenter import Crop
    from agsrec.views import Views

__all__ = ["initialize_from_file"]


def initialize_from_file(views: Views, file: str | Path, *, folder: str | Path | None = None) -> PoseEstimate:
    """The cameras of a file, matched with the views by name; views it lacks or flags 0 are not placed.

    A `cameras.json` is in the usual world already and stays as it is; other files are normalised.

    Args:
        views: V cut-out photos.
        file: SparseAGS `cameras.json`, nerfstudio `transforms.json`, or a folder with a COLMAP model.
        folder: Folder that preprocessing wrote; with it, cameras of the photos before cropping are accepted.

    Raises:
        OptionError: There is no such file.
        CameraError: It cannot be used.
    """
    file = Path(file)
    foreign = is_of_photos(file)
    listed = read_photo_cameras(file) if foreign else read_cameras_json(file, views.width, views.height)
    index = {name: i for i, name in enumerate(listed.names) if listed.flags[i]}
    placed = torch.tensor([name in index for name in views.names])
    if not placed.any():
        raise CameraError(
            f"{file} has no camera for any of the views {', '.join(views.names[:6])}: the names must be equal"
        )
    names = [name for name in views.names if name in index]
    chosen = [index[name] for name in names]
    cameras = listed.cameras[chosen]
    if foreign:
        photos = {name: (listed.lenses[i], listed.sizes[i]) for name, i in zip(names, chosen, strict=True)}
        cameras = _carried(cameras, photos, views, file, folder)
    points = None
    if listed.points is not None and listed.colors is not None and len(listed.points):
        points = PointMap(listed.points, listed.colors, torch.ones(len(listed.points)))
    estimate = PoseEstimate(cameras, placed, placed.float(), points)
    if not foreign:
        return estimate
    estimate = normalize_estimate(estimate)
    _require_looking_inwards(estimate.cameras, file)
    return estimate


def _require_looking_inwards(cameras: Cameras, file: Path) -> None:
    """Raise where most cameras have behind them what they should show, in the middle of the world."""
    if len(cameras) > 1 and bool((cameras.viewmats[:, 2, 3] < 0).float().mean() > 0.5):
        raise CameraError(
            f"{file}: the cameras look away from the place where their axes meet; poses of transforms.json "
            "are camera to world with axes right, up, backward, those of COLMAP world to camera: export them "
            "again"
        )


def _carried(
    cameras: Cameras,
    photos: Mapping[str, tuple[Lens | None, tuple[int, int]]],
    views: Views,
    file: Path,
    folder: str | Path | None,
) -> Cameras:
    """Cameras of other images in pixels of the views: of the whole photos, or of the same pictures scaled.

    Args:
        cameras: One for each photo, in pixels of its own size.
        photos: By name of the view, the lens of a photo and its width and height.
        views: The views.
        file: Where the cameras are from.
        folder: Folder that preprocessing wrote.
    """
    path = None if folder is None else Path(folder) / "processed" / "crops.json"
    crops = read_crops(path) if path is not None and path.is_file() else {}
    remedy = f"agsrec process {'FOLDER' if folder is None else folder} --cameras {file}"
    fits = all(name in crops and _fits(crops[name], size, views) for name, (_, size) in photos.items())
    if path is not None and fits:
        undistorted = read_lenses(path)
        for name, (lens, _) in photos.items():
            _require_same_lens(name, lens, undistorted.get(name), crops[name], file, remedy)
        sizes = [size for _, size in photos.values()]
        return _cropped(cameras, sizes, [crops[name] for name in photos], views.width)
    bent = next((name for name, (lens, _) in photos.items() if lens is not None), None)
    if bent is not None:
        raise CameraError(
            f"{file}: the lens of view {bent} distorts; undistort the photos and cut them out with: {remedy}"
        )
    (width, height), *others = dict.fromkeys(size for _, size in photos.values())
    if others or width * views.height != height * views.width:
        several = " and other sizes" if others else ""
        raise CameraError(
            f"{file} is for images of {width} x {height} pixels{several} but the views are "
            f"{views.width} x {views.height}: cut the photos out, which records the crops, with: {remedy}"
        )
    return replace(cameras, width=width, height=height).resized(views.width, views.height)


def _cropped(cameras: Cameras, sizes: Sequence[tuple[int, int]], crops: Sequence[Crop], side: int) -> Cameras:
    """Cameras of whole photos, each of its size or scaled, as cameras of their crops at that of the views."""
    photos = [
        replace(cameras[[i]], width=width, height=height).resized(crop.width, crop.height).Ks[0]
        for i, ((width, height), crop) in enumerate(zip(sizes, crops, strict=True))
    ]
    shown = [replace(crop, size=side) for crop in crops]
    Ks = torch.stack([carry_intrinsics(K, crop) for K, crop in zip(photos, shown, strict=True)])
    return replace(cameras, Ks=Ks, width=side, height=side)


def _fits(crop: Crop, size: tuple[int, int], views: Views) -> bool:
    """Whether cameras of that image size are for the photo of a crop, as it was or scaled.

    Cameras of exactly the views' size are for the views, unless the photos have that size as well.
    """
    if size == (crop.width, crop.height):
        return True
    scaled = abs(crop.width * size[1] / size[0] - crop.height) < 1
    return scaled and size != (views.width, views.height)


def _require_same_lens(
    name: str, lens: Lens | None, undistorted: Lens | None, crop: Crop, file: Path, remedy: str
) -> None:
    """Raise unless a photo was undistorted, before it was cropped, as its camera wants."""
    wanted = None if lens is None else lens.resized(crop.width, crop.height)
    if wanted is undistorted is None or (wanted and undistorted and wanted.is_close(undistorted)):
        return
    how = "as its lens distorts it" if undistorted is None else "undistorted for another camera"
    raise CameraError(f"{file}: the photo of view {name} was cut out {how}; cut it out again with: {remedy}")

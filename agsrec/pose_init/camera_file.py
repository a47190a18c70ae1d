"""Initialiser `file`: cameras that another program has estimated."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from agsrec.camera_files import (
    CameraFile,
    read_cameras_json,
    read_colmap,
    read_transforms_json,
)
from agsrec.errors import CameraError, OptionError
from agsrec.point_map import PointMap
from agsrec.pose_init.estimate import PoseEstimate
from agsrec.pose_init.normalize import normalize_estimate

if TYPE_CHECKING:
    from agsrec.cameras import Cameras
    from agsrec.views import Views

__all__ = ["initialize_from_file"]

_KINDS = "a cameras.json, a transforms.json or a folder with a COLMAP text model"


def initialize_from_file(views: Views, file: str | Path, *, folder: str | Path | None = None) -> PoseEstimate:
    """The cameras of a file, matched with the views by name; views it lacks or flags 0 are not placed.

    A `cameras.json` is in the usual world already and stays as it is; other files are normalised.

    Args:
        views: V cut-out photos.
        file: SparseAGS `cameras.json`, nerfstudio `transforms.json`, or the folder of a COLMAP text model.
        folder: Folder that preprocessing wrote; with it, cameras of the photos before cropping are accepted.

    Raises:
        OptionError: There is no such file.
        CameraError: It cannot be used.
    """
    listed, foreign = _read(Path(file), views)
    index = {name: i for i, name in enumerate(listed.names) if listed.flags[i]}
    placed = torch.tensor([name in index for name in views.names])
    if not placed.any():
        raise CameraError(
            f"{file} has no camera for any of the views {', '.join(views.names[:6])}: the names must be equal"
        )
    names = [name for name in views.names if name in index]
    cameras = listed.cameras[[index[name] for name in names]]
    if (cameras.width, cameras.height) != (views.width, views.height):
        cameras = _carried(cameras, names, views, Path(file), folder)
    points = None
    if listed.points is not None and listed.colors is not None and len(listed.points):
        points = PointMap(listed.points, listed.colors, torch.ones(len(listed.points)))
    estimate = PoseEstimate(cameras, placed, placed.float(), points)
    return normalize_estimate(estimate) if foreign else estimate


def _read(file: Path, views: Views) -> tuple[CameraFile, bool]:
    """Contents of a camera file of any known kind, and whether its world is anything but the usual one."""
    if os.path.isdir(file):
        if os.path.isfile(file / "cameras.txt"):
            return read_colmap(file), True
        raise OptionError(f"{file} has no cameras.txt; name {_KINDS}")
    if not os.path.isfile(file):
        raise OptionError(f"{file} does not exist; name {_KINDS}")
    if file.name == "cameras.txt":
        return read_colmap(file.parent), True
    if _is_transforms(file):
        return read_transforms_json(file), True
    return read_cameras_json(file, views.width, views.height), False


def _is_transforms(file: Path) -> bool:
    """Whether a JSON file is nerfstudio's: it alone has a list of frames."""
    from agsrec.camera_files.parsing import load_json_object

    return isinstance(load_json_object(file, _KINDS).get("frames"), list)


def _carried(
    cameras: Cameras, names: list[str], views: Views, file: Path, folder: str | Path | None
) -> Cameras:
    """Cameras of other images in pixels of the views: of the same pictures scaled, or of the whole photos."""
    from agsrec.preprocess.pipeline import read_crops
    from agsrec.preprocess.recenter import carry_intrinsics

    size = (cameras.width, cameras.height)
    path = None if folder is None else Path(folder) / "processed" / "crops.json"
    if path is not None and path.is_file():
        crops = read_crops(path)
        if all(n in crops and (crops[n].width, crops[n].height) == size for n in names):
            side = crops[names[0]].size
            Ks = [carry_intrinsics(K, crops[n]) for K, n in zip(cameras.Ks, names, strict=True)]
            cropped = replace(cameras, Ks=torch.stack(Ks), width=side, height=side)
            return cropped.resized(views.width, views.height)
    if cameras.width * views.height != cameras.height * views.width:
        raise CameraError(
            f"{file} is for images of {size[0]} x {size[1]} pixels but the views are "
            f"{views.width} x {views.height}: cut the photos out with agsrec process, which records the crops"
        )
    return cameras.resized(views.width, views.height)

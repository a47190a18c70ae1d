"""nerfstudio / instant-ngp `transforms.json`: OpenGL camera-to-world matrices, both directions.

The world is left as the file has it: many such files have +z up, where this package has +y up.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from agsrec.camera_files.parsing import (
    CameraFile,
    Field,
    check_unique,
    file_name,
    image_size,
    load_json_object,
    rotation_matrix,
    to_tensor,
    view_name,
)
from agsrec.cameras import Cameras
from agsrec.errors import CameraError, ShapeError
from agsrec.files import atomic_write

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["read_transforms_json", "write_transforms_json"]

_WHAT = "a transforms.json with a list of frames, each with file_path and transform_matrix"
_INTRINSICS = ("w", "h", "fl_x", "fl_y", "cx", "cy", "camera_angle_x", "camera_angle_y")
_MODELS = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE")
_DISTORTION = ("k1", "k2", "k3", "k4", "p1", "p2")
_FOCAL_RANGE = (0.01, 1e7)  # pixels


def read_transforms_json(path: str | Path, width: int | None = None, height: int | None = None) -> CameraFile:
    """Cameras with intrinsics per frame or for the whole file, in pixels of `width` x `height` if given.

    The file's own image size (`w`, `h`) may be left out when a size is given.

    Raises:
        CameraError: The file cannot be read or used; the message names the frame and the field.
    """
    path = Path(path)
    content = load_json_object(path, _WHAT)
    frames = content.get("frames")
    if not isinstance(frames, list) or not frames:
        raise CameraError(f"{path} has no list of frames; expected {_WHAT}")
    shared = {k: v for k, v in content.items() if k != "frames"}
    c2w, K, sizes, files, extras = [], [], [], [], {}
    for i, frame in enumerate(frames):
        where = f"{path}, frame {i}"
        if not isinstance(frame, dict):
            Field(where, frame).fail("an object with file_path and transform_matrix")
        missing = [key for key in ("file_path", "transform_matrix") if key not in frame]
        if missing:
            raise CameraError(f"{where} lacks {' and '.join(missing)}; expected {_WHAT}")
        files.append(file_name(f"{where}, file_path", frame["file_path"]))
        c2w.append(_transform(where, frame["transform_matrix"]))
        intrinsics, size = _intrinsics(where, shared | frame, width, height)
        K.append(intrinsics)
        sizes.append(size)
        known = ("file_path", "transform_matrix", *_INTRINSICS)
        extras[view_name(files[-1])] = {k: v for k, v in frame.items() if k not in known}
    check_unique(path, (view_name(f) for f in files))
    if len(set(sizes)) > 1:
        raise CameraError(f"{path} mixes image sizes {sorted(set(sizes))}; all images must be of one size")
    cameras = Cameras.from_opengl(to_tensor(c2w), to_tensor(K), *sizes[0])
    cameras = cameras.resized(width or cameras.width, height or cameras.height)
    names = tuple(view_name(f) for f in files)
    return CameraFile(cameras, names, tuple(files), (1,) * len(files), extras)


def _transform(where: str, value: Any) -> np.ndarray:
    """Checked camera-to-world matrix [4, 4]."""
    matrix = Field(f"{where}, transform_matrix", value).matrix(4, 4)
    if np.abs(matrix[3] - [0, 0, 0, 1]).max() > 1e-6:
        Field(f"{where}, last row of transform_matrix", matrix[3].tolist()).fail("0 0 0 1")
    matrix[:3, :3] = rotation_matrix(f"{where}, transform_matrix", matrix[:3, :3])
    return matrix


def _intrinsics(
    where: str, values: Mapping[str, Any], width: int | None, height: int | None
) -> tuple[np.ndarray, tuple[int, int]]:
    """K [3, 3] in pixels of the file's own image size, and that size."""
    model = values.get("camera_model", "PINHOLE")
    distorted = any(_number(where, values, key, 0.0) != 0 for key in _DISTORTION)
    if distorted or not isinstance(model, str) or model not in _MODELS:
        raise CameraError(f"{where} has a camera with lens distortion; undistort the images first")
    if ("w" not in values or "h" not in values) and (width is None or height is None):
        raise CameraError(f"{where} has no image size (w, h); add it to the file")
    w, h = image_size(where, values.get("w", width), values.get("h", height))
    fx = _focal(where, values, "x", w)
    fy = _focal(where, values, "y", h)
    if fx is None and fy is None:
        raise CameraError(f"{where} has no focal length; add fl_x or camera_angle_x to the file")
    fx, fy = fx or fy or 0.0, fy or fx or 0.0  # square pixels where only one is given
    cx, cy = _number(where, values, "cx", w / 2), _number(where, values, "cy", h / 2)
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]]), (w, h)


def _number(where: str, values: Mapping[str, Any], key: str, default: float) -> float:
    return Field(f"{where}, {key}", values[key]).number() if key in values else default


def _focal(where: str, values: Mapping[str, Any], axis: str, size: int) -> float | None:
    """Focal length in pixels along one axis, from `fl_*` or else from the field of view in radians."""
    key, angle_key = f"fl_{axis}", f"camera_angle_{axis}"
    if key in values:
        return Field(f"{where}, {key}", values[key]).number(*_FOCAL_RANGE)
    if angle_key in values:
        angle = Field(f"{where}, {angle_key} in radians", values[angle_key]).number(1e-4, 3.14)
        return size / (2 * math.tan(angle / 2))
    return None


def write_transforms_json(
    path: str | Path,
    cameras: Cameras,
    files: Sequence[str],
    *,
    extras: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Write V cameras with the image files they belong to, relative to the file's folder.

    Args:
        path: File to write, atomically.
        cameras: V cameras; the world is written as it is (+y up).
        files: V image paths; their stems name the views.
        extras: Per view name, further keys of its frame.

    Raises:
        OutputError: The file cannot be written.
    """
    if not len(cameras) == len({view_name(f) for f in files}) == len(files):
        raise ShapeError(f"{len(cameras)} cameras need as many files with different names, not {list(files)}")
    cameras = cameras.to("cpu")
    focal, center = cameras.focal_lengths.tolist(), cameras.principal_points.tolist()
    poses = cameras.to_opengl().detach().tolist()
    shared = {"camera_model": "PINHOLE", "w": cameras.width, "h": cameras.height}
    frames = []
    for i, file in enumerate(files):
        frame = {"file_path": file, "fl_x": focal[i][0], "fl_y": focal[i][1], "cx": center[i][0]}
        frame |= {"cy": center[i][1], "transform_matrix": poses[i]}
        more = (extras or {}).get(view_name(file), {})
        frames.append({**more, **frame})
    atomic_write(path, json.dumps(shared | {"frames": frames}, indent=2) + "\n")

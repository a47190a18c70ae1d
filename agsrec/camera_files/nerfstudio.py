"""nerfstudio / instant-ngp `transforms.json`: OpenGL camera-to-world matrices, both directions.

The world is left as the file has it: many such files have +z up, where this package has +y up.
"""

from __future__ import annotations

import json
import math
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from agsrec.camera_files.camera_models import FOCAL_RANGE, pinhole_and_lens
from agsrec.camera_files.parsing import (
    CameraFile,
    Field,
    check_unique,
    file_name,
    find_photo,
    image_size,
    load_json_object,
    rotation_matrix,
    to_tensor,
)
from agsrec.cameras import Cameras
from agsrec.errors import CameraError, ImageError, ShapeError
from agsrec.files import atomic_write
from agsrec.images import IMAGE_SUFFIXES, image_dimensions
from agsrec.lenses import FISHEYE_TERMS, Lens, LensKind
from agsrec.views import view_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["read_transforms_json", "write_transforms_json"]

_WHAT = "a transforms.json with a list of frames, each with file_path and transform_matrix"
_INTRINSICS = ("w", "h", "fl_x", "fl_y", "cx", "cy", "camera_angle_x", "camera_angle_y")
_KINDS: dict[str, LensKind] = {
    "SIMPLE_PINHOLE": "perspective",
    "PINHOLE": "perspective",
    "SIMPLE_RADIAL": "perspective",
    "RADIAL": "perspective",
    "OPENCV": "perspective",
    "OPENCV_FISHEYE": "fisheye",
}
_PERSPECTIVE_TERMS = ("k1", "k2", "k3", "p1", "p2")
_LENS = ("camera_model", "is_fisheye", "k1", "k2", "k3", "k4", "p1", "p2")
_SCALE_RANGE = (1e-6, 1e6)


def read_transforms_json(path: str | Path, width: int | None = None, height: int | None = None) -> CameraFile:
    """Cameras with intrinsics per frame or for the whole file, in pixels of `width` x `height` if given.

    The file's own image size (`w`, `h`) may be left out when a size is given, or where the photos are beside
    the file: their size is taken then. Matrices may be 3 x 4, and their rotation scaled evenly.

    Raises:
        CameraError: The file cannot be read or used; the message names the frame and the field. A size is
            asked for, and the images are of several.
    """
    path = Path(path)
    content = load_json_object(path, _WHAT)
    frames = content.get("frames")
    if not isinstance(frames, list) or not frames:
        raise CameraError(f"{path} has no list of frames; expected {_WHAT}")
    shared = {k: v for k, v in content.items() if k != "frames"}
    c2w, K, lenses, sizes, files, extras = [], [], [], [], [], {}
    for i, frame in enumerate(frames):
        where = f"{path}, frame {i}"
        if not isinstance(frame, dict):
            Field(where, frame).fail("an object with file_path and transform_matrix")
        missing = [key for key in ("file_path", "transform_matrix") if key not in frame]
        if missing:
            raise CameraError(f"{where} lacks {' and '.join(missing)}; expected {_WHAT}")
        files.append(_file(f"{where}, file_path", frame["file_path"]))
        c2w.append(_transform(where, frame["transform_matrix"]))
        values = shared | frame
        size = _size(where, values, path.parent, width, height)
        intrinsics, lens = _intrinsics(where, values, size)
        K.append(intrinsics)
        lenses.append(lens)
        sizes.append(size)
        known = ("file_path", "transform_matrix", *_INTRINSICS, *_LENS)
        extras[view_name(files[-1])] = {k: v for k, v in frame.items() if k not in known}
    check_unique(path, (view_name(f) for f in files))
    mixed = len(set(sizes)) > 1
    if mixed and (width or height):
        raise CameraError(f"{path} mixes image sizes {sorted(set(sizes))}; all images must be of one size")
    width, height = width or sizes[0][0], height or sizes[0][1]
    cameras = Cameras.from_opengl(to_tensor(c2w), to_tensor(K), *sizes[0]).resized(width, height)
    if not mixed:
        lenses = [None if lens is None else lens.resized(width, height) for lens in lenses]
    names = tuple(view_name(f) for f in files)
    own_sizes = tuple(sizes) if mixed else ()
    return CameraFile(
        cameras, names, tuple(files), (1,) * len(files), extras, tuple(lenses), own_sizes=own_sizes
    )


def _file(where: str, value: Any) -> str:
    """The bare name of a frame's image, which NeRF's own files give without an ending."""
    name = file_name(where, value)
    return name if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES else f"{name}.png"


def _transform(where: str, value: Any) -> np.ndarray:
    """Checked camera-to-world matrix [4, 4], its rotation without scale."""
    rows = 3 if isinstance(value, list) and len(value) == 3 else 4
    matrix = np.eye(4)
    matrix[:rows] = Field(f"{where}, transform_matrix", value).matrix(rows, 4)
    if np.abs(matrix[3] - [0, 0, 0, 1]).max() > 1e-6:
        Field(f"{where}, last row of transform_matrix", matrix[3].tolist()).fail("0 0 0 1")
    rotation = matrix[:3, :3]
    scale = float(np.cbrt(abs(np.linalg.det(rotation))))
    if not _SCALE_RANGE[0] <= scale <= _SCALE_RANGE[1]:
        Field(f"{where}, transform_matrix", rotation.tolist()).fail("a rotation, or a rotation times a scale")
    # What has unit length but for rounding stays as it is.
    rotation = rotation if abs(scale - 1) < 1e-6 else rotation / scale
    matrix[:3, :3] = rotation_matrix(f"{where}, transform_matrix", rotation)
    return matrix


def _size(
    where: str, values: Mapping[str, Any], folder: Path, width: int | None, height: int | None
) -> tuple[int, int]:
    """The image size that a frame's intrinsics are for."""
    if "w" not in values or "h" not in values:
        photo = find_photo(folder, values["file_path"])
        if width is None or height is None:
            if photo is None:
                raise CameraError(
                    f"{where} has no image size (w, h), and its photo is not beside the file; "
                    "add the size to the file"
                )
            try:
                width, height = image_dimensions(photo)
            except ImageError as error:
                raise CameraError(f"{where} has no image size (w, h), and {error}") from error
    return image_size(where, values.get("w", width), values.get("h", height))


def _intrinsics(
    where: str, values: Mapping[str, Any], size: tuple[int, int]
) -> tuple[np.ndarray, Lens | None]:
    """K [3, 3] of the undistorted picture in pixels of the file's own image size, and the lens."""
    kind = _lens_kind(where, values)
    names = FISHEYE_TERMS if kind == "fisheye" else _PERSPECTIVE_TERMS
    terms = {name: _number(where, values, name, 0.0) for name in names}
    if kind == "perspective" and _number(where, values, "k4", 0.0) != 0:
        raise CameraError(
            f"{where}: k4 is for fisheye lenses; set it to 0, or camera_model to OPENCV_FISHEYE"
        )
    w, h = size
    fx, fy = _focal(where, values, "x", w), _focal(where, values, "y", h)
    if fx is None and fy is None:
        raise CameraError(f"{where} has no focal length; add fl_x or camera_angle_x to the file")
    fx, fy = fx or fy or 0.0, fy or fx or 0.0  # square pixels where only one is given
    center = _number(where, values, "cx", w / 2), _number(where, values, "cy", h / 2)
    return pinhole_and_lens(where, kind, terms, (fx, fy), center, size)


def _lens_kind(where: str, values: Mapping[str, Any]) -> LensKind:
    """What the lens is: nerfstudio names a model, instant-ngp has a flag."""
    model = values.get("camera_model", "OPENCV_FISHEYE" if values.get("is_fisheye") is True else "OPENCV")
    if not isinstance(model, str) or model not in _KINDS:
        Field(f"{where}, camera_model", model).fail(f"one of {', '.join(_KINDS)}")
    return _KINDS[model]


def _number(where: str, values: Mapping[str, Any], key: str, default: float) -> float:
    return Field(f"{where}, {key}", values[key]).number() if key in values else default


def _focal(where: str, values: Mapping[str, Any], axis: str, size: int) -> float | None:
    """Focal length in pixels along one axis, from `fl_*` or else from the field of view in radians."""
    key, angle_key = f"fl_{axis}", f"camera_angle_{axis}"
    if key in values:
        return Field(f"{where}, {key}", values[key]).number(*FOCAL_RANGE)
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

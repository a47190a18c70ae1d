"""`cameras.json` in the public SparseAGS format, both directions.

One object per view, under the view's name: `R` [3, 3] and `T` [3] (PyTorch3D, row vectors), `focal_length`
(a number, [f] or [fx, fy]) and `principal_point` [2] in pixels of a 256 x 256 image whatever the real size,
`flag` (1 = usable, 0 = left out), `needs_checking`, `filepath` (only its file name matters). All other keys
travel through unchanged.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unicodedata import normalize

import numpy as np

from agsrec.camera_files.parsing import (
    CameraFile,
    Field,
    check_unique,
    file_name,
    load_json_object,
    rotation_matrix,
    to_tensor,
)
from agsrec.cameras import Cameras
from agsrec.errors import CameraError, ShapeError
from agsrec.files import atomic_write, is_plain_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["FORMAT_SIZE", "read_cameras_json", "write_cameras_json"]

FORMAT_SIZE = 256
"""Side in pixels of the image that `focal_length` and `principal_point` in the file refer to."""

_WHAT = "a cameras.json with R, T, focal_length and principal_point per view"
_INTRINSICS = ("focal_length", "principal_point")
_FOCAL_RANGE = (0.01, 1e6)  # pixels of a 256 image; outside it float32 projections break down


def read_cameras_json(path: str | Path, width: int, height: int) -> CameraFile:
    """Cameras of images of `width` x `height` pixels.

    Raises:
        CameraError: The file cannot be read or used; the message names the view and the field.
    """
    path = Path(path)
    content = load_json_object(path, _WHAT)
    if not content:
        raise CameraError(f"{path} has no views; expected {_WHAT}")
    poses, flags, files, extras = [], [], [], {}
    names = [normalize("NFC", name) for name in content]
    check_unique(path, names)
    content = dict(zip(names, content.values(), strict=True))
    for name, entry in content.items():
        where = f"{path}, view {name!r}"
        if not name.strip() or not is_plain_name(name) or any(c in name for c in "/\\"):
            raise CameraError(f"{where}: the name of a view must be printable and without slashes; rename it")
        if not isinstance(entry, dict):
            Field(where, entry).fail("an object with R, T, focal_length and principal_point")
        poses.append(_pose(where, entry))
        flags.append(_flag(where, entry))
        stored = entry.get("filepath", f"{name}_rgba.png")
        files.append(file_name(f"{where}, filepath", stored))
        extras[name] = {k: v for k, v in entry.items() if k not in ("R", "T", "flag", *_INTRINSICS)}
    R, T, Ks = (to_tensor(values) for values in zip(*poses, strict=True))
    cameras = Cameras.from_pytorch3d_params(R, T, Ks, FORMAT_SIZE, FORMAT_SIZE).resized(width, height)
    lenses = (None,) * len(content)
    return CameraFile(cameras, tuple(content), tuple(files), tuple(flags), extras, lenses)


def _pose(where: str, entry: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Checked R [3, 3], T [3] and K [3, 3] of one view."""
    missing = [key for key in ("R", "T", *_INTRINSICS) if key not in entry]
    if missing:
        raise CameraError(f"{where} lacks {' and '.join(missing)}; expected {_WHAT}")
    rotation = rotation_matrix(f"{where}, R", Field(f"{where}, R", entry["R"]).matrix(3, 3))
    translation = np.array(Field(f"{where}, T", entry["T"]).vector(3))
    fx, fy = _focal(Field(f"{where}, focal_length", entry["focal_length"]))
    cx, cy = Field(f"{where}, principal_point", entry["principal_point"]).vector(2)
    return rotation, translation, np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


def _focal(field: Field) -> tuple[float, float]:
    """Focal lengths (fx, fy) from a number, [f] or [fx, fy]."""
    values = field.value if isinstance(field.value, list) else [field.value]
    if len(values) not in (1, 2):
        field.fail("a positive number, [f] or [fx, fy], in pixels of a 256 image")
    focal = [Field(field.where, v).number(*_FOCAL_RANGE) for v in values]
    return focal[0], focal[-1]


def _flag(where: str, entry: dict[str, Any]) -> int:
    flag = entry.get("flag", 1)
    if not isinstance(flag, int | float) or flag not in (0, 1):
        Field(f"{where}, flag", flag).fail("1 (usable) or 0 (left out)")
    return int(flag)


def write_cameras_json(
    path: str | Path,
    cameras: Cameras,
    names: Sequence[str],
    *,
    extras: Mapping[str, Mapping[str, Any]] | None = None,
    flags: Sequence[int] | None = None,
) -> None:
    """Write cameras of any image size, in pixels of a 256 image as the format wants.

    Args:
        path: File to write, atomically.
        cameras: V cameras.
        names: V unique names, the keys of the file.
        extras: Per view name, further keys to store (as read by `read_cameras_json`). `needs_checking` and
            `filepath` default to False and `processed/<name>_rgba.png`.
        flags: Per view 1 = usable (default), 0 = left out.

    Raises:
        OutputError: The file cannot be written.
    """
    flags = [1] * len(names) if flags is None else flags
    if not len(cameras) == len(set(names)) == len(flags):
        counts = f"{len(set(names))} and {len(flags)}"
        raise ShapeError(f"{len(cameras)} cameras need as many unique names and flags, not {counts}")
    scaled = cameras.to("cpu").resized(FORMAT_SIZE, FORMAT_SIZE)
    R, T = (t.detach().tolist() for t in scaled.to_pytorch3d_params())
    focal, center = scaled.focal_lengths.tolist(), scaled.principal_points.tolist()
    content = {}
    for i, name in enumerate(names):
        entry: dict[str, Any] = {"R": R[i], "T": T[i], "needs_checking": False, "principal_point": center[i]}
        entry |= {"focal_length": focal[i], "flag": int(flags[i]), "filepath": f"processed/{name}_rgba.png"}
        more = (extras or {}).get(name, {})
        content[name] = entry | {k: v for k, v in more.items() if k not in ("R", "T", "flag", *_INTRINSICS)}
    atomic_write(path, json.dumps(content, indent=2) + "\n")

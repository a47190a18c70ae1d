"""COLMAP models, text or binary: `cameras`, `images` and `points3D` in one folder; text is written.

Poses are world-to-camera with OpenCV axes and pixel centres at +0.5, as ours. Binary files are read here and
not through pycolmap: one way in, the same checks for both kinds, and no C++ behind an untrusted count.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from agsrec.camera_files.camera_models import MODELS, model_intrinsics
from agsrec.camera_files.colmap_binary import binary_cameras, binary_images, unknown_model
from agsrec.camera_files.parsing import (
    MAX_BYTES,
    CameraFile,
    Field,
    check_unique,
    file_name,
    image_size,
    to_tensor,
)
from agsrec.cameras import Cameras
from agsrec.errors import CameraError, ShapeError
from agsrec.files import atomic_write, read_bytes
from agsrec.images import IMAGE_SUFFIXES
from agsrec.views import view_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

__all__ = ["read_colmap", "write_colmap"]

_WHAT = "a COLMAP model (cameras and images, .bin or .txt)"
_MAX_ABS = 1e9


def read_colmap(folder: str | Path) -> CameraFile:
    """Cameras of a COLMAP model, and of a text model the sparse points with their colours.

    Where a model is there in both kinds, the binary one is read, as COLMAP does.

    Raises:
        CameraError: A file cannot be read or used; the message names the line.
    """
    folder = Path(folder)
    binary = os.path.isfile(folder / "cameras.bin") and os.path.isfile(folder / "images.bin")
    kind, cameras_of, images_of = "txt", _text_cameras, _text_images
    if binary:
        kind, cameras_of, images_of = "bin", binary_cameras, binary_images
    known = {}
    for where, camera, model, values in cameras_of(folder / f"cameras.{kind}"):
        size = image_size(where, *values[:2])
        numbers = _in_range(where, values[2:])
        known[camera] = (*model_intrinsics(where, MODELS[model], numbers, size), size)
    path = folder / f"images.{kind}"
    viewmats, found, files = [], [], []
    for where, pose, camera, file in images_of(path):
        viewmats.append(_viewmat(where, _in_range(where, pose)))
        if camera not in known:
            raise CameraError(f"{where}: cameras.{kind} lacks camera {camera!r}; export both files together")
        found.append(known[camera])
        files.append(file_name(f"{where}, image name", file))
    if not files:
        raise CameraError(f"{path} has no images; expected {_WHAT}")
    Ks, lenses, sizes = zip(*found, strict=True)
    names = tuple(view_name(f) for f in files)
    check_unique(path, names)
    points, colors = (None, None) if binary else _read_points(folder / "points3D.txt")
    cameras = Cameras(to_tensor(viewmats), to_tensor(Ks), *sizes[0])
    own_sizes = sizes if len(set(sizes)) > 1 else ()
    return CameraFile(cameras, names, tuple(files), (1,) * len(names), {}, lenses, points, colors, own_sizes)


def _lines(path: Path) -> list[str]:
    data = read_bytes(path, error=CameraError, what=_WHAT, limit=MAX_BYTES)
    # Split at newlines only: splitlines() would also split at the odd separators a file name may hold.
    return [line.strip() for line in data.decode("utf-8", errors="replace").split("\n")]


def _floats(where: str, words: Sequence[str]) -> list[float]:
    """Finite numbers from words."""
    try:
        return _in_range(where, [float(word) for word in words])
    except ValueError:
        Field(where, list(words)).fail("numbers")


def _in_range(where: str, values: Sequence[float]) -> list[float]:
    """The same numbers, if they are finite."""
    if not all(abs(value) <= _MAX_ABS for value in values):
        Field(where, list(values)).fail(f"finite numbers within {_MAX_ABS:g}")
    return list(values)


def _text_cameras(path: Path) -> Iterator[tuple[str, str, str, list[float]]]:
    """What `binary_cameras` gives, from `cameras.txt`."""
    for number, line in enumerate(_lines(path), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        where = f"{path}, line {number}"
        model = words[1] if len(words) > 1 else line
        if model not in MODELS:
            raise CameraError(f"{where}: {unknown_model(repr(model))}")
        if len(words) != 4 + MODELS[model].parameters:
            expected = f"CAMERA_ID {model} WIDTH HEIGHT and {MODELS[model].parameters} parameters"
            Field(where, line).fail(expected)
        yield where, words[0], model, _floats(where, words[2:])


def _text_images(path: Path) -> Iterator[tuple[str, list[float], str, str]]:
    """What `binary_images` gives, from `images.txt`.

    The second line of every image, its 2D points, may be empty or missing and is skipped.
    """
    after_image = False
    for number, line in enumerate(_lines(path), 1):
        words = line.split()
        if after_image and not _is_image(words):
            after_image = False
            continue
        if not line or line.startswith("#"):
            continue
        where = f"{path}, line {number}"
        if len(words) < 10:
            Field(where, line).fail("IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME")
        yield where, _floats(where, words[1:8]), words[8], " ".join(words[9:])
        after_image = True


def _is_image(words: Sequence[str]) -> bool:
    """Whether a line where points may stand is of the next image: some programs write no line of points."""
    return len(words) >= 10 and Path(words[-1]).suffix.lower() in IMAGE_SUFFIXES


def _viewmat(where: str, pose: Sequence[float]) -> np.ndarray:
    """World-to-camera matrix [4, 4] from a quaternion wxyz and a translation."""
    values = np.array(pose)
    norm = np.linalg.norm(values[:4])
    if not 0.99 < norm < 1.01:
        raise CameraError(f"{where}: QW QX QY QZ must be a unit quaternion, not one of length {norm:.3g}")
    w, x, y, z = values[:4] / norm
    out = np.eye(4)
    out[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    out[:3, 3] = values[4:]
    return out


def _read_points(path: Path) -> tuple[Tensor | None, Tensor | None]:
    """Points [N, 3] and colours [N, 3] in [0, 1]; None for a model without the file."""
    if not os.path.exists(path):
        return None, None
    rows = []
    for number, line in enumerate(_lines(path), 1):
        words = line.split()
        if words and not words[0].startswith("#"):
            where = f"{path}, line {number}"
            if len(words) < 7:
                Field(where, line).fail("POINT3D_ID X Y Z R G B ...")
            rows.append(_floats(where, words[1:7]))
    values = torch.from_numpy(np.array(rows).reshape(-1, 6)).float()
    return values[:, :3], (values[:, 3:] / 255).clamp(0, 1)


def write_colmap(
    folder: str | Path,
    cameras: Cameras,
    files: Sequence[str],
    *,
    points: Tensor | None = None,
    colors: Tensor | None = None,
) -> None:
    """Write a COLMAP text model with one camera per image.

    Args:
        folder: Folder for the three files.
        cameras: V cameras.
        files: V image file names.
        points: Sparse points [N, 3], world units, optional.
        colors: Their colours [N, 3] in [0, 1]; grey if absent.

    Raises:
        OutputError: A file cannot be written.
    """
    if len(cameras) != len(files):
        raise ShapeError(f"{len(cameras)} cameras need as many image files, not {len(files)}")
    folder = Path(folder)
    cameras = cameras.to("cpu", torch.float64)
    size = f"{cameras.width} {cameras.height}"
    intrinsics = torch.cat([cameras.focal_lengths, cameras.principal_points], dim=1).tolist()
    quats, translations = _quaternions(cameras.rotations.numpy()), cameras.viewmats[:, :3, 3].tolist()
    camera_lines = ["# CAMERA_ID MODEL WIDTH HEIGHT FX FY CX CY"]
    image_lines = ["# IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME", "# POINTS2D[] as X Y POINT3D_ID"]
    for i, file in enumerate(files, 1):
        camera_lines.append(f"{i} PINHOLE {size} {_join(intrinsics[i - 1])}")
        image_lines += [f"{i} {_join([*quats[i - 1], *translations[i - 1]])} {i} {file}", ""]
    atomic_write(folder / "cameras.txt", "\n".join(camera_lines) + "\n")
    atomic_write(folder / "images.txt", "\n".join(image_lines) + "\n")
    atomic_write(folder / "points3D.txt", _points_text(points, colors))


def _join(values: Sequence[float]) -> str:
    return " ".join(repr(v) for v in values)


def _points_text(points: Tensor | None, colors: Tensor | None) -> str:
    lines = ["# POINT3D_ID X Y Z R G B ERROR TRACK[] as IMAGE_ID POINT2D_IDX"]
    if points is not None:
        rgb = torch.full_like(points, 0.5) if colors is None else colors
        rgb = (rgb.detach().clamp(0, 1) * 255).round().int().tolist()
        for i, (xyz, color) in enumerate(zip(points.detach().tolist(), rgb, strict=True), 1):
            lines.append(f"{i} {_join(xyz)} {_join(color)} 0")
    return "\n".join(lines) + "\n"


def _quaternions(rotations: np.ndarray) -> list[list[float]]:
    """Unit quaternions wxyz of rotations [V, 3, 3], as the leading eigenvector of a symmetric matrix.

    Bar-Itzhack's method: well conditioned at every angle, and the nearest quaternion to a matrix that is a
    rotation only to float32 rounding.
    """
    r = rotations
    k = np.zeros((len(r), 4, 4))
    for i in range(3):
        j, m = (i + 1) % 3, (i + 2) % 3
        k[:, 0, 0] += r[:, i, i]
        k[:, i + 1, i + 1] = r[:, i, i] - r[:, j, j] - r[:, m, m]
        k[:, 0, i + 1] = k[:, i + 1, 0] = r[:, m, j] - r[:, j, m]
        k[:, i + 1, j + 1] = k[:, j + 1, i + 1] = r[:, i, j] + r[:, j, i]
    quats = np.linalg.eigh(k)[1][:, :, -1]
    return np.where(quats[:, :1] < 0, -quats, quats).tolist()

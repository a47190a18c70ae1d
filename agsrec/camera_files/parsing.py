"""What the camera readers share: the value they return, and checked numbers out of untrusted text."""

from __future__ import annotations

import json
import os
import reprlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import torch

from agsrec.errors import CameraError
from agsrec.files import existing_name, is_plain_name, read_bytes
from agsrec.images import IMAGE_SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from torch import Tensor

    from agsrec.cameras import Cameras
    from agsrec.lenses import Lens

__all__ = [
    "MAX_BYTES",
    "CameraFile",
    "Field",
    "check_unique",
    "file_name",
    "find_photo",
    "image_size",
    "load_json_object",
    "rotation_matrix",
    "to_tensor",
]

MAX_BYTES = 256 * 2**20
"""Largest camera file that is read; COLMAP's images.txt can be long."""

_MAX_DEPTH = 64  # what is kept in `extras` has to be written back by a recursive encoder

_MAX_ABS = 1e9  # beyond it float32 loses whole pixels and products overflow
_MAX_IMAGE_SIZE = 100_000  # pixels
_ROTATION_TOLERANCE = 1e-3  # printed with three or four digits is still a rotation
_EXACT_TOLERANCE = 1e-6  # rounding of float32: left alone, so that write and read are exact


@dataclass(frozen=True)
class CameraFile:
    """What a camera file says, one entry per view in file order.

    Attributes:
        cameras: The cameras, in pixels of the image size asked for; those of the undistorted pictures where
            the photos were taken through a lens that distorts. Where images are of several sizes, each is in
            pixels of its own, and the size is that of the first.
        names: One unique name per view.
        files: Image file name of each view, without any folder.
        flags: Per view 1 = usable, 0 = left out.
        extras: Per view name, the keys this package does not interpret, to be written back unchanged.
        lenses: The lens of each view, which `agsrec.lenses.undistorted` takes out of its photo; None where
            the photo has no distortion.
        points: Sparse scene points [N, 3] in world units, where the format has them.
        colors: Their colours [N, 3] in [0, 1].
        own_sizes: Width and height of each view's image, where they are of several sizes.
    """

    cameras: Cameras
    names: tuple[str, ...]
    files: tuple[str, ...]
    flags: tuple[int, ...]
    extras: Mapping[str, Mapping[str, Any]]
    lenses: tuple[Lens | None, ...]
    points: Tensor | None = None
    colors: Tensor | None = None
    own_sizes: tuple[tuple[int, int], ...] = ()

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Width and height in pixels of the image that each camera is for."""
        return self.own_sizes or ((self.cameras.width, self.cameras.height),) * len(self.names)


@dataclass(frozen=True)
class Field:
    """One value of a file together with the words that say where it stands."""

    where: str
    value: Any

    def fail(self, expected: str) -> NoReturn:
        """Raise the error for a value that is not as expected."""
        # reprlib, because the value may be nested a thousand deep or megabytes long
        raise CameraError(f"{self.where} must be {expected}, not {reprlib.repr(self.value)}")

    def number(self, low: float = -_MAX_ABS, high: float = _MAX_ABS) -> float:
        """A finite number in [low, high]."""
        # Compared before float(): that of a huge integer overflows. NaN compares false.
        is_number = isinstance(self.value, int | float) and not isinstance(self.value, bool)
        if not is_number or not low <= self.value <= high:
            self.fail(f"a finite number between {low:g} and {high:g}")
        return float(self.value)

    def vector(self, length: int, low: float = -_MAX_ABS, high: float = _MAX_ABS) -> list[float]:
        """A list of `length` finite numbers."""
        if not isinstance(self.value, list) or len(self.value) != length:
            self.fail(f"a list of {length} numbers")
        return [Field(f"{self.where}[{i}]", v).number(low, high) for i, v in enumerate(self.value)]

    def matrix(self, rows: int, columns: int) -> np.ndarray:
        """A float64 array [rows, columns] from nested lists."""
        if not isinstance(self.value, list) or len(self.value) != rows:
            self.fail(f"a {rows} x {columns} matrix (a list of {rows} lists of {columns} numbers)")
        return np.array([Field(f"{self.where}[{i}]", v).vector(columns) for i, v in enumerate(self.value)])


def rotation_matrix(where: str, matrix: np.ndarray) -> np.ndarray:
    """The nearest rotation [3, 3] to a matrix that is one but for printing errors.

    Raises:
        CameraError: The matrix is not a rotation.
    """
    error = np.abs(matrix @ matrix.T - np.eye(3)).max()
    if not error < _ROTATION_TOLERANCE:
        raise CameraError(
            f"{where} is not a rotation: its rows must be orthogonal with length 1 (off by {error:.3g}); "
            "export the pose without scale or shear"
        )
    if np.linalg.det(matrix) < 0:
        raise CameraError(f"{where} mirrors (determinant -1), it is not a rotation; flip one camera axis")
    if error < _EXACT_TOLERANCE:
        return matrix
    u, _, vt = np.linalg.svd(matrix)
    return u @ vt


def to_tensor(arrays: Sequence[np.ndarray]) -> Tensor:
    """Arrays of equal shape as one float32 tensor [len(arrays), ...]."""
    return torch.from_numpy(np.stack(arrays)).float()


def image_size(where: str, width: Any, height: Any) -> tuple[int, int]:
    """A checked image size in pixels."""
    size = [
        Field(f"{where}, {name}", value).number(1, _MAX_IMAGE_SIZE)
        for name, value in (("width", width), ("height", height))
    ]
    if any(value != int(value) for value in size):
        raise CameraError(f"{where}: the image size must be whole pixels, not {size[0]:g} x {size[1]:g}")
    return int(size[0]), int(size[1])


def file_name(where: str, path: Any) -> str:
    """The bare file name in a stored path, which may be of another machine or operating system."""
    if not isinstance(path, str):
        Field(where, path).fail("the path of an image")
    name = PurePosixPath(path.replace("\\", "/")).name
    if name in ("", "..") or not is_plain_name(name):
        Field(where, path).fail("the path of an image")
    return name


def find_photo(folder: Path, stored: Any) -> Path | None:
    """The photo that a camera file names, beside it or in its `images/`; nothing outside that folder."""
    if not isinstance(stored, str) or "\0" in stored:
        return None
    parts = [part for part in stored.replace("\\", "/").split("/") if part not in ("", ".")]
    if not parts or ".." in parts:
        parts = parts[-1:]
    for place in (folder.joinpath(*parts), folder / "images" / (parts or ["."])[-1]):
        if os.path.isfile(found := existing_name(place, ("", *IMAGE_SUFFIXES))):
            return found
    return None


def check_unique(path: Path, names: Iterable[str]) -> None:
    """Raise if two views share a name."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise CameraError(f"{path}: view {name!r} appears twice; rename one of them, or keep only one")
        seen.add(name)


def load_json_object(path: Path, what: str) -> dict[str, Any]:
    """A JSON file whose outermost value is an object without duplicate keys."""
    data = read_bytes(path, error=CameraError, what=what, limit=MAX_BYTES)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        check_unique(path, (key for key, _ in pairs))
        return dict(pairs)

    try:
        content = json.loads(data.decode("utf-8-sig"), object_pairs_hook=unique)
    except RecursionError as error:
        raise CameraError(f"{path} is nested too deeply to be {what}; is it the right file?") from error
    except ValueError as error:  # also bad UTF-8 and integers of thousands of digits
        reason = str(error)[:100]
        raise CameraError(f"{path} is not valid JSON ({reason}); expected {what}: write it again") from error
    if not isinstance(content, dict):
        raise CameraError(f"{path} must hold a JSON object, not {type(content).__name__}; expected {what}")
    if _deeper_than(content, _MAX_DEPTH):
        raise CameraError(f"{path} is nested too deeply to be {what}; is it the right file?")
    return content


def _deeper_than(content: Any, depth: int) -> bool:
    """Whether lists and objects are nested more than `depth` levels."""
    level = [content]
    for _ in range(depth):
        children = [v.values() if isinstance(v, dict) else v for v in level if isinstance(v, dict | list)]
        level = [c for values in children for c in values]
    return bool(level)

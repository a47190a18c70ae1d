"""COLMAP's `cameras.bin` and `images.bin` in their documented layout: little-endian, without padding."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from agsrec.camera_files.camera_models import MODELS
from agsrec.camera_files.parsing import MAX_BYTES
from agsrec.errors import CameraError
from agsrec.files import read_bytes

__all__ = ["binary_cameras", "binary_images", "unknown_model"]

_WHAT = "a COLMAP model (cameras.bin and images.bin)"
_POINT_BYTES = 24  # x, y, id of the 3D point
_SMALLEST_CAMERA, _SMALLEST_IMAGE = 40, 73  # bytes
_LONGEST_NAME = 4096  # bytes


class _Reader:
    """A file and the place in it up to which it has been read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._data = read_bytes(path, error=CameraError, what=_WHAT, limit=MAX_BYTES)
        self._at = 0

    def take(self, layout: str) -> tuple:
        """The next values in a layout of `struct`."""
        self._need(struct.calcsize(f"<{layout}"))
        values = struct.unpack_from(f"<{layout}", self._data, self._at)
        self._at += struct.calcsize(f"<{layout}")
        return values

    def count(self, smallest: int) -> int:
        """A number of things of at least `smallest` bytes each, for which there is room."""
        (number,) = self.take("Q")
        self._need(number * smallest)
        return number

    def skip(self, size: int) -> None:
        """Pass over bytes."""
        self._need(size)
        self._at += size

    def text(self) -> str:
        """Text up to a null byte."""
        end = self._data.find(b"\0", self._at, self._at + _LONGEST_NAME)
        if end < 0:
            raise CameraError(f"{self.path} is damaged: an image's name does not end; export the model again")
        data, self._at = self._data[self._at : end], end + 1
        return data.decode("utf-8", errors="replace")

    def _need(self, size: int) -> None:
        if size > len(self._data) - self._at:
            raise CameraError(
                f"{self.path} is damaged or incomplete: it ends before its contents do; copy it again, or "
                "export the model again"
            )


def binary_cameras(path: Path) -> Iterator[tuple[str, str, str, list[float]]]:
    """Of every camera: where it stands, its id, the name of its model, and width, height and parameters.

    Raises:
        CameraError: The file is damaged, or has a camera model that is not understood.
    """
    names = {model.id: name for name, model in MODELS.items()}
    reader = _Reader(path)
    for _ in range(reader.count(_SMALLEST_CAMERA)):
        camera, model, *size = reader.take("iiQQ")
        where = f"{path}, camera {camera}"
        if model not in names:
            raise CameraError(f"{where}: {unknown_model(f'number {model}')}")
        parameters = reader.take(f"{MODELS[names[model]].parameters}d")
        yield where, str(camera), names[model], [*size, *parameters]


def binary_images(path: Path) -> Iterator[tuple[str, list[float], str, str]]:
    """Of every image: where it stands, quaternion wxyz and translation, id of its camera, its name.

    Raises:
        CameraError: The file is damaged.
    """
    reader = _Reader(path)
    for _ in range(reader.count(_SMALLEST_IMAGE)):
        image, *pose, camera = reader.take("i7di")
        name = reader.text()
        reader.skip(_POINT_BYTES * reader.count(_POINT_BYTES))
        yield f"{path}, image {image}", pose, str(camera), name


def unknown_model(model: str) -> str:
    """What to say of a camera model that is not understood."""
    return f"camera model {model} is not one of {', '.join(MODELS)}; undistort with colmap image_undistorter"

"""The camera models of COLMAP and nerfstudio, as a pinhole camera and the lens in front of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from agsrec.camera_files.parsing import Field
from agsrec.errors import CameraError
from agsrec.lenses import FISHEYE_TERMS, PERSPECTIVE_TERMS, Lens, LensKind

__all__ = ["FOCAL_RANGE", "MODELS", "CameraModel", "model_intrinsics", "pinhole_and_lens"]

FOCAL_RANGE = (0.01, 1e7)
"""Focal lengths in pixels that are taken for real."""


@dataclass(frozen=True)
class CameraModel:
    """How COLMAP stores a camera: focal lengths, principal point, coefficients of the lens.

    Attributes:
        id: Its number in binary files.
        focals: 1 for one focal length, 2 for fx and fy.
        kind: What the lens is.
        terms: Names of its coefficients, in the order of the file.
    """

    id: int
    focals: int
    kind: LensKind
    terms: tuple[str, ...] = ()

    @property
    def parameters(self) -> int:
        """How many numbers a camera has."""
        return self.focals + 2 + len(self.terms)


MODELS: dict[str, CameraModel] = {
    "SIMPLE_PINHOLE": CameraModel(0, 1, "perspective"),
    "PINHOLE": CameraModel(1, 2, "perspective"),
    "SIMPLE_RADIAL": CameraModel(2, 1, "perspective", ("k1",)),
    "RADIAL": CameraModel(3, 1, "perspective", ("k1", "k2")),
    "OPENCV": CameraModel(4, 2, "perspective", ("k1", "k2", "p1", "p2")),
    "OPENCV_FISHEYE": CameraModel(5, 2, "fisheye", ("k1", "k2", "k3", "k4")),
    "FULL_OPENCV": CameraModel(6, 2, "perspective", PERSPECTIVE_TERMS),
    "SIMPLE_RADIAL_FISHEYE": CameraModel(8, 1, "fisheye", ("k1",)),
    "RADIAL_FISHEYE": CameraModel(9, 1, "fisheye", ("k1", "k2")),
    "SIMPLE_FISHEYE": CameraModel(14, 1, "fisheye"),
    "FISHEYE": CameraModel(15, 2, "fisheye"),
}
"""COLMAP's camera models by name, as far as they are understood."""


def model_intrinsics(
    where: str, model: CameraModel, values: Sequence[float], size: tuple[int, int]
) -> tuple[np.ndarray, Lens | None]:
    """`pinhole_and_lens` of a camera's numbers in the order of COLMAP's files."""
    focal, rest = values[: model.focals], values[model.focals :]
    terms = dict(zip(model.terms, rest[2:], strict=True))
    return pinhole_and_lens(where, model.kind, terms, (focal[0], focal[-1]), (rest[0], rest[1]), size)


def pinhole_and_lens(
    where: str,
    kind: LensKind,
    terms: Mapping[str, float],
    focal: tuple[float, float],
    center: tuple[float, float],
    size: tuple[int, int],
) -> tuple[np.ndarray, Lens | None]:
    """K [3, 3] of the undistorted picture, and the lens, None where the photo is undistorted as it is.

    Args:
        where: Names the camera in messages.
        kind: What the lens is.
        terms: Its coefficients by name, those that are not zero.
        focal: fx and fy in pixels.
        center: cx and cy in pixels, pixel centres at +0.5.
        size: Width and height in pixels.

    Raises:
        CameraError: The numbers are of no camera.
    """
    fx, fy = (Field(f"{where}, focal length", f).number(*FOCAL_RANGE) for f in focal)
    if kind == "perspective" and not any(terms.values()):
        return np.array([[fx, 0.0, center[0]], [0.0, fy, center[1]], [0.0, 0.0, 1.0]]), None
    names = PERSPECTIVE_TERMS if kind == "perspective" else FISHEYE_TERMS
    lens = Lens(kind, tuple(terms.get(name, 0.0) for name in names), (fx, fy), center, *size)
    if lens.folds:
        given = " ".join(f"{name} {value:g}" for name, value in terms.items())
        raise CameraError(
            f"{where}: distortion {given or 'none'} at a focal length of {fx:g} pixels is of no lens, it "
            "folds the picture; calibrate the camera again"
        )
    return lens.pinhole, lens

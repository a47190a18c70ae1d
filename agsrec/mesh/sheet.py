"""A surface whose points move, as cameras see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from agsrec.mesh.normals import point_normals

if TYPE_CHECKING:
    from agsrec.cameras import Cameras

__all__ = ["Eye", "Sheet"]

Array = NDArray[np.float64]
Faces = NDArray[np.int32]

_SMOOTHINGS = 2  # of the normals: points side by side should not move apart


@dataclass(frozen=True)
class Sheet:
    """Triangles, each of whose points may move along its normal.

    Attributes:
        vertices: World positions [N, 3].
        faces: Corner indices [F, 3], anticlockwise seen from outside.
        normals: Unit normals of the vertices [N, 3], a little smoothed.
        edge: Mean length of an edge, world units: the unit of all moves.
    """

    vertices: Array
    faces: Faces
    normals: Array
    edge: float

    @staticmethod
    def of(vertices: Array, faces: Faces, edge: float) -> Sheet:
        """A surface: vertices [N, 3], faces [F, 3]."""
        normals = point_normals(vertices, faces, _SMOOTHINGS)
        return Sheet(vertices, faces, normals, edge)


@dataclass(frozen=True)
class Eye:
    """One pinhole camera in double precision, OpenCV axes.

    Attributes:
        rotation: World to camera [3, 3].
        translation: World to camera [3].
        K: Intrinsics [3, 3] in pixels, pixel centres at +0.5.
    """

    rotation: Array
    translation: Array
    K: Array

    @staticmethod
    def all_of(cameras: Cameras) -> list[Eye]:
        """One per camera."""
        poses, Ks = (t.detach().cpu().double().numpy() for t in (cameras.viewmats, cameras.Ks))
        return [Eye(pose[:3, :3], pose[:3, 3], K) for pose, K in zip(poses, Ks, strict=True)]

    @property
    def focal(self) -> Array:
        """Focal lengths [2] in pixels."""
        return np.array([self.K[0, 0], self.K[1, 1]])

    def project(self, points: Array) -> tuple[Array, Array]:
        """Pixels [M, 2] of world points [M, 3], and the points in the camera's frame [M, 3]."""
        local = points @ self.rotation.T + self.translation
        return local[:, :2] / local[:, 2:] * self.focal + self.K[:2, 2], local

    def facing(self, sheet: Sheet) -> Array:
        """Cosines [N] between normals and the ways to the camera."""
        way = -self.rotation.T @ self.translation - sheet.vertices
        return (way * sheet.normals).sum(axis=1) / np.maximum(np.linalg.norm(way, axis=1), 1e-30)

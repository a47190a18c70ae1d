"""The surface as one piece, before it is cut open for its texture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agsrec.mesh.normals import corner_normals, point_normals

__all__ = ["Shape"]

Array = NDArray[np.float64]

_SMOOTHINGS = 6


@dataclass(frozen=True)
class Shape:
    """Triangles whose corners in one place are one point.

    Attributes:
        points: World positions [P, 3].
        faces: Corner indices [F, 3], in the order of the mesh that it was made from.
        normals: Unit normals of the points [P, 3], smoothed: the surface has bumps that the object has not,
            and they should not decide which photo is frontal.
    """

    points: Array
    faces: NDArray[np.int32]
    normals: Array

    @staticmethod
    def of(vertices: Array, faces: NDArray[np.int32]) -> Shape:
        """The shape of a mesh: vertices [N, 3], faces [F, 3]."""
        points, place = np.unique(vertices, axis=0, return_inverse=True)
        corners = place.ravel()[faces].astype(np.int32)
        return Shape(points, corners, point_normals(points, corners, _SMOOTHINGS))

    @property
    def size(self) -> float:
        """Diagonal of the box around it."""
        return float(np.linalg.norm(np.ptp(self.points, axis=0)))

    def areas(self) -> Array:
        """Of the triangles [F]."""
        return 0.5 * np.linalg.norm(corner_normals(self.points, self.faces), axis=1)

    def neighbours(self) -> tuple[NDArray[np.int64], Array]:
        """Pairs of triangles [E, 2] that share an edge, and the edges' lengths [E]."""
        edges = np.sort(self.faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
        order = np.lexsort((edges[:, 1], edges[:, 0]))
        same = (edges[order[1:]] == edges[order[:-1]]).all(axis=1)
        a, b = self.points[edges[order[:-1][same]]].transpose(1, 0, 2)
        pairs = np.stack([order[:-1][same], order[1:][same]], axis=1) // 3
        return pairs, np.linalg.norm(a - b, axis=1)

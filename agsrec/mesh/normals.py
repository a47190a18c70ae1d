"""Normals of triangles and of the points between them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["corner_normals", "point_normals"]

Array = NDArray[np.float64]
Faces = NDArray[np.int32] | NDArray[np.intp]


def corner_normals(points: Array, faces: Faces) -> Array:
    """Normals of triangles [F, 3], as long as twice their areas.

    Args:
        points: [N, 3].
        faces: Corner indices [F, 3], anticlockwise seen from outside.
    """
    a, b, c = (points[faces[:, k]] for k in range(3))
    return np.cross(b - a, c - a)


def point_normals(points: Array, faces: Faces, smoothings: int = 0) -> Array:
    """Unit normals of points [N, 3], 0 of those without area.

    Args:
        points: [N, 3].
        faces: Corner indices [F, 3], anticlockwise seen from outside.
        smoothings: How often each becomes the mean of those around it.
    """
    normals = _summed(corner_normals(points, faces), faces, len(points))
    for _ in range(smoothings):
        normals = _summed(normals[faces].sum(axis=1), faces, len(points))
    return normals


def _summed(of_faces: Array, faces: Faces, count: int) -> Array:
    """Unit sums [count, 3] of what triangles [F, 3] bring to each of their corners."""
    corners, brought = faces.ravel(), np.repeat(of_faces, 3, axis=0)
    total = np.stack([np.bincount(corners, brought[:, k], count) for k in range(3)], axis=1)
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-30)

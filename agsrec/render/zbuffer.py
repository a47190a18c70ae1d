"""Z-buffer rasterization of triangle meshes on the CPU.

Triangles are scan-converted in homogeneous pixel coordinates (Olano and Greer, "Triangle scan conversion
using 2D homogeneous coordinates", 1997): for corners a, b, c already multiplied by K, the edge planes b x c,
c x a and a x b evaluated at a pixel (x, y, 1) are proportional to its perspective-correct barycentrics.
Nothing is clipped, triangles that cross the camera plane included, and shared edges leave no cracks: the
planes of an edge seen from its two triangles are exact negatives of each other.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

__all__ = ["Fragments", "interpolate", "rasterize_mesh"]


@dataclass(frozen=True)
class Fragments:
    """What each pixel centre sees of a mesh."""

    face_ids: NDArray[np.int32]
    """[V, H, W], row of `faces`, -1 where the ray meets nothing."""
    barycentrics: NDArray[np.float32]
    """[V, H, W, 3], perspective-correct weights of the face's corners, 0 where nothing is met."""
    depths: NDArray[np.float32]
    """[V, H, W], z in the camera frame (world units), inf where nothing is met."""

    @property
    def mask(self) -> NDArray[np.bool_]:
        """[V, H, W], whether the pixel centre meets the mesh."""
        return self.face_ids >= 0


def rasterize_mesh(
    vertices: ArrayLike,  # [N, 3]
    faces: ArrayLike,  # [F, 3]
    viewmats: ArrayLike,  # [V, 4, 4]
    Ks: ArrayLike,  # [V, 3, 3]
    width: int,
    height: int,
    *,
    cull_backfaces: bool = False,
    near: float = 1e-3,
    num_threads: int = 2,
) -> Fragments:
    """Find the nearest triangle at every pixel centre.

    Args:
        vertices: world positions.
        faces: corner indices, anticlockwise seen from outside.
        viewmats: world-to-camera, OpenCV axes.
        Ks: intrinsics in pixels, pixel centres at +0.5.
        width: image width in pixels.
        height: image height in pixels.
        cull_backfaces: skip triangles seen from inside; right for closed meshes, and faster.
        near: surface closer than this (world units along z) is not seen.
        num_threads: views are spread over this many threads.
    """
    corners = np.ascontiguousarray(vertices, dtype=np.float64)
    triangles = np.ascontiguousarray(faces, dtype=np.int32)
    poses = np.ascontiguousarray(viewmats, dtype=np.float64)
    intrinsics = np.ascontiguousarray(Ks, dtype=np.float64)
    assert corners.ndim == 2 and corners.shape[1] == 3 and np.isfinite(corners).all(), corners.shape
    assert triangles.ndim == 2 and triangles.shape[1] == 3, triangles.shape
    assert poses.shape[1:] == (4, 4) and intrinsics.shape == (len(poses), 3, 3), (
        poses.shape,
        intrinsics.shape,
    )
    assert triangles.size == 0 or (triangles.min() >= 0 and triangles.max() < len(corners)), (
        "face out of range"
    )

    shape = (len(poses), height, width)
    face_ids = np.full(shape, -1, dtype=np.int32)
    depths = np.full(shape, np.inf, dtype=np.float32)
    barycentrics = np.zeros((*shape, 3), dtype=np.float32)

    def render(v: int) -> None:
        points = project_points(corners, poses[v], intrinsics[v])
        rasterize_view(points, triangles, cull_backfaces, near, face_ids[v], depths[v])
        barycentrics_view(points, triangles, face_ids[v], barycentrics[v])

    with ThreadPoolExecutor(max(1, num_threads)) as pool:
        list(pool.map(render, range(len(poses))))
    return Fragments(face_ids, barycentrics, depths)


def interpolate(
    fragments: Fragments,
    faces: NDArray[np.integer],  # [F, 3]
    attributes: NDArray[np.floating],  # [N, D]
) -> NDArray[np.float64]:  # [M, D]
    """Vertex attributes at the M covered pixels, in the order of `fragments.mask`."""
    covered = fragments.mask
    corners = faces[fragments.face_ids[covered]]  # [M, 3]
    weights = fragments.barycentrics[covered].astype(np.float64)  # [M, 3]
    return sum(weights[:, i, None] * attributes[corners[:, i]] for i in range(3))  # type: ignore[return-value]


@njit(cache=True, nogil=True, error_model="numpy")
def project_points(vertices, viewmat, K):
    """[N, 3] homogeneous pixels K (R X + t): divide by the last entry, the depth, for pixel coordinates."""
    points = np.empty((vertices.shape[0], 3))
    P = K @ np.ascontiguousarray(viewmat[:3, :])
    for i in range(vertices.shape[0]):
        x, y, z = vertices[i, 0], vertices[i, 1], vertices[i, 2]
        for row in range(3):
            points[i, row] = P[row, 0] * x + P[row, 1] * y + P[row, 2] * z + P[row, 3]
    return points


@njit(cache=True, nogil=True, error_model="numpy")
def _corner(points, faces, f, corner):
    i = faces[f, corner]
    return points[i, 0], points[i, 1], points[i, 2]  # scalars: array views are costly in inner loops


@njit(cache=True, nogil=True, error_model="numpy")
def _cross(a, b):
    return (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])


@njit(cache=True, nogil=True, error_model="numpy")
def _pixel_range(p0, p1, p2, w0, w1, w2, near, size):
    """First and one-past-last pixel whose centre may lie in the triangle, along one image axis."""
    if min(w0, w1, w2) < near:
        return 0, size
    u0, u1, u2 = p0 / w0, p1 / w1, p2 / w2
    first = np.ceil(max(min(u0, u1, u2) - 0.5, 0.0))
    last = np.floor(min(max(u0, u1, u2) - 0.5, size - 1.0))
    return int(first), int(last) + 1


@njit(cache=True, nogil=True, error_model="numpy")
def rasterize_view(points, faces, cull_backfaces, near, face_ids, depths):
    """Draw triangles given by homogeneous pixels `points` into `face_ids` and `depths` (in place)."""
    height, width = face_ids.shape
    for f in range(faces.shape[0]):
        a, b, c = _corner(points, faces, f, 0), _corner(points, faces, f, 1), _corner(points, faces, f, 2)
        if max(a[2], b[2], c[2]) < near:
            continue
        e0 = _cross(b, c)
        det = a[0] * e0[0] + a[1] * e0[1] + a[2] * e0[2]
        if det == 0.0 or (cull_backfaces and det > 0.0):  # det < 0 faces the camera in OpenCV axes
            continue
        x_first, x_end = _pixel_range(a[0], b[0], c[0], a[2], b[2], c[2], near, width)
        y_first, y_end = _pixel_range(a[1], b[1], c[1], a[2], b[2], c[2], near, height)
        if x_first >= x_end or y_first >= y_end:
            continue
        e1, e2 = _cross(c, a), _cross(a, b)
        sign = 1.0 if det > 0.0 else -1.0
        for y in range(y_first, y_end):
            yc = y + 0.5
            r0 = sign * (e0[1] * yc + e0[2])
            r1 = sign * (e1[1] * yc + e1[2])
            r2 = sign * (e2[1] * yc + e2[2])
            for x in range(x_first, x_end):
                xc = sign * (x + 0.5)
                w0 = e0[0] * xc + r0
                w1 = e1[0] * xc + r1
                w2 = e2[0] * xc + r2
                if w0 < 0.0 or w1 < 0.0 or w2 < 0.0:
                    continue
                total = w0 + w1 + w2
                if total <= 0.0:
                    continue
                depth = sign * det / total
                if near <= depth < depths[y, x]:
                    depths[y, x] = depth
                    face_ids[y, x] = f


@njit(cache=True, nogil=True, error_model="numpy")
def barycentrics_view(points, faces, face_ids, barycentrics):
    """Fill the perspective-correct weights of the faces in `face_ids` (in place)."""
    height, width = face_ids.shape
    for y in range(height):
        for x in range(width):
            f = face_ids[y, x]
            if f < 0:
                continue
            a, b, c = _corner(points, faces, f, 0), _corner(points, faces, f, 1), _corner(points, faces, f, 2)
            e0, e1, e2 = _cross(b, c), _cross(c, a), _cross(a, b)
            xc, yc = x + 0.5, y + 0.5
            w0 = e0[0] * xc + e0[1] * yc + e0[2]
            w1 = e1[0] * xc + e1[1] * yc + e1[2]
            w2 = e2[0] * xc + e2[1] * yc + e2[2]
            total = w0 + w1 + w2
            barycentrics[y, x, 0] = w0 / total
            barycentrics[y, x, 1] = w1 / total
            barycentrics[y, x, 2] = w2 / total

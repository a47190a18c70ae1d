"""Truncated signed distances of a grid of points to the surface that depth maps show."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["fused_distances"]


def fused_distances(
    depths: NDArray[np.float32],  # [V, H, W]
    doubtful: NDArray[np.bool_],  # [V, H, W]
    viewmats: NDArray[np.float64],  # [V, 4, 4]
    Ks: NDArray[np.float64],  # [V, 3, 3]
    origin: NDArray[np.float64],  # [3]
    voxel: float,
    shape: tuple[int, int, int],
    truncation: float,
    *,
    num_threads: int = 2,
) -> NDArray[np.float32]:
    """Mean over views of the distance to the surface along the viewing ray, clipped to [-1, 1] truncations.

    Args:
        depths: z of the surface at each pixel, inf where there is none.
        doubtful: Pixels that say nothing.
        viewmats: World-to-camera, OpenCV axes.
        Ks: Intrinsics in pixels, pixel centres at +0.5.
        origin: Centre of the first voxel.
        voxel: Edge of a voxel, world units.
        shape: Voxels along x, y and z.
        truncation: World units.
        num_threads: The grid is cut along x for so many threads.

    Returns:
        [X, Y, Z], positive outside; -1, deep inside, where no view has a say, since such points lie far
        behind the surface from everywhere.
    """
    out = np.empty(shape, dtype=np.float32)
    projections = Ks @ viewmats[:, :3]

    def fill(x: int) -> None:
        _fill_slab(depths, doubtful, projections, origin, voxel, truncation, x, out[x])

    with ThreadPoolExecutor(max(1, num_threads)) as pool:
        list(pool.map(fill, range(shape[0])))
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def _fill_slab(depths, doubtful, projections, origin, voxel, truncation, x, out):
    """All voxels [Y, Z] of one x."""
    views, height, width = depths.shape
    px = origin[0] + voxel * x
    for y in range(out.shape[0]):
        py = origin[1] + voxel * y
        for z in range(out.shape[1]):
            pz = origin[2] + voxel * z
            total, count = 0.0, 0
            for v in range(views):
                P = projections[v]
                w = P[2, 0] * px + P[2, 1] * py + P[2, 2] * pz + P[2, 3]
                if w <= 0.0:
                    continue
                column = (P[0, 0] * px + P[0, 1] * py + P[0, 2] * pz + P[0, 3]) / w
                row = (P[1, 0] * px + P[1, 1] * py + P[1, 2] * pz + P[1, 3]) / w
                if column < 0.0 or row < 0.0 or column >= width or row >= height:
                    total += 1.0  # beside the picture, which shows the whole object
                    count += 1
                    continue
                i, j = int(row), int(column)
                if doubtful[v, i, j]:
                    continue
                ahead = depths[v, i, j] - w
                if ahead >= -truncation:
                    total += min(1.0, ahead / truncation)
                    count += 1
            out[y, z] = total / count if count else -1.0

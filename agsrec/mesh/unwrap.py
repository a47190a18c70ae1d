"""Texture coordinates, by xatlas."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["unwrapped"]

_PADDING = 2  # texels between charts, of a texture of 1024: as much when a viewer makes a larger one smaller


def unwrapped(
    vertices: NDArray[np.float64], faces: NDArray[np.int32], texture_size: int
) -> tuple[NDArray[np.float64], NDArray[np.int32], NDArray[np.float64]]:
    """A mesh cut along seams: vertices [N, 3], faces [F, 3] and texture coordinates [N, 2] in [0, 1].

    Charts do not overlap, and are some texels of a texture of that size apart. Faces keep their order.
    """
    import xatlas

    atlas = xatlas.Atlas()
    atlas.add_mesh(vertices.astype(np.float32), faces.astype(np.uint32))
    charts, packing = xatlas.ChartOptions(), xatlas.PackOptions()
    charts.max_iterations = 1
    packing.resolution, packing.bilinear = texture_size, True
    packing.padding = _PADDING * max(1, texture_size // 1024)
    atlas.generate(charts, packing)
    source, corners, uvs = atlas[0]
    return vertices[source], corners.astype(np.int32), np.asarray(uvs, dtype=np.float64).clip(0, 1)

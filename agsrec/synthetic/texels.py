"""Random objects as tables of a fixed size: a mesh whose paint is baked into a grid of texels per face.

What a device draws from any side later; see `device_render`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from agsrec.synthetic.paint_kernels import paint_at
from agsrec.synthetic.random_objects import ROWS, SIDES, RandomObject

__all__ = [
    "ALBEDO_SCALE",
    "FACE_WIDTH",
    "MAX_FACES",
    "MAX_VERTICES",
    "BakedObject",
    "bake_object",
    "max_texels",
]

_MAX_PARTS = 16
MAX_FACES = _MAX_PARTS * 2 * ROWS * SIDES
MAX_VERTICES = _MAX_PARTS * (ROWS + 1) * (SIDES + 1)
FACE_WIDTH = 6
"""Integers per face: three corners, first texel, texels along the first and along the second edge."""
ALBEDO_SCALE = 1.25
"""Largest albedo: grain brightens paint by up to a quarter."""

_TEXELS_PER_PIXEL = 0.8  # along a surface that fills the picture and faces the camera


class BakedObject(NamedTuple):
    """An object without its paint's formulas; all arrays have the same shape for every object.

    Attributes:
        vertices: [MAX_VERTICES, 3] world positions; those that no face needs are the first one again.
        normals: [MAX_VERTICES, 3] unit, outward.
        faces: [MAX_FACES, FACE_WIDTH]; all zero where there is no face.
        gloss: [MAX_FACES, 2] share of the light that is mirrored, and how sharply.
        texels: [max_texels(size), 3] uint8, square root of the linear albedo over `ALBEDO_SCALE`.
        lights: [5, 6], see `RandomObject.lights`.
        alike: Whether but for the light it looks the same from all around.
    """

    vertices: NDArray[np.float32]
    normals: NDArray[np.float32]
    faces: NDArray[np.int32]
    gloss: NDArray[np.float32]
    texels: NDArray[np.uint8]
    lights: NDArray[np.float32]
    alike: NDArray[np.bool_]


def max_texels(size: int, supersampling: int = 2) -> int:
    """Room for texels of an object that is drawn in pictures of so many pixels."""
    return max(8 * (size * supersampling) ** 2, 2 * MAX_FACES)


def bake_object(obj: RandomObject, size: int, supersampling: int = 2) -> BakedObject:
    """Tables of an object, with texels about as fine as the samples of pictures of `size` pixels.

    An object with more surface than there is room for has coarser ones.
    """
    faces, gloss = obj.faces.shape[0], obj.paints[obj.part_ids][:, 17:19]
    assert faces <= MAX_FACES and len(obj.vertices) <= MAX_VERTICES, (faces, len(obj.vertices))
    room = max_texels(size, supersampling)
    corners = _longest_edge_last(obj.vertices, obj.faces)
    grids = _grids(obj.vertices, corners, _TEXELS_PER_PIXEL * size * supersampling, room)
    counts = grids.prod(axis=1)
    starts = np.cumsum(counts) - counts
    table = np.zeros((MAX_FACES, FACE_WIDTH), dtype=np.int32)
    table[:faces] = np.column_stack([corners, starts, grids])
    texels = np.zeros((room, 3), dtype=np.uint8)
    _bake(obj.coords, table[:faces], obj.part_ids, obj.paints, texels)
    return BakedObject(
        _padded(obj.vertices, MAX_VERTICES, obj.vertices[0]),
        _padded(obj.normals, MAX_VERTICES, obj.normals[0]),
        table,
        _padded(gloss, MAX_FACES, np.zeros(2)),
        texels,
        obj.lights.astype(np.float32),
        np.array(obj.alike),
    )


def _padded(rows: NDArray[np.float64], count: int, filler: NDArray[np.float64]) -> NDArray[np.float32]:
    out = np.empty((count, rows.shape[1]), dtype=np.float32)
    out[: len(rows)], out[len(rows) :] = rows, filler
    return out


def _longest_edge_last(
    vertices: NDArray[np.float64], faces: NDArray[np.int32]
) -> NDArray[np.int32]:  # [F, 3]
    """Corners turned so that the longest edge lies opposite to the first: texels follow the other two."""
    points = vertices[faces]
    opposite = ((np.roll(points, -1, axis=1) - np.roll(points, 1, axis=1)) ** 2).sum(axis=2)  # [F, 3]
    turned = (opposite.argmax(axis=1)[:, None] + np.arange(3)) % 3
    return np.take_along_axis(faces, turned, axis=1)


def _grids(
    vertices: NDArray[np.float64], corners: NDArray[np.int32], per_unit: float, room: int
) -> NDArray[np.int64]:  # [F, 2]
    """Texels along the two edges at the first corner of each face, as many as there is room for."""
    points = vertices[corners]
    edges = np.linalg.norm(points[:, 1:] - points[:, :1], axis=2)
    while True:
        grids = np.maximum(np.ceil(per_unit * edges), 1).astype(np.int64)
        if grids.prod(axis=1).sum() <= room:
            return grids
        per_unit *= 0.9


@njit(cache=True, nogil=True, error_model="numpy")
def _bake(coords, faces, part_ids, paints, texels):
    """Fill the grids of all faces with their paint at the texels' middles."""
    for f in range(faces.shape[0]):
        i, j, k, start, rows, columns = faces[f]
        for row in range(rows):
            for column in range(columns):
                if row / rows + column / columns >= 1.0:
                    continue  # beyond the third edge
                u, v = (row + 0.5) / rows, (column + 0.5) / columns
                if u + v > 1.0:
                    u, v = u / (u + v), v / (u + v)
                w = 1.0 - u - v
                x = w * coords[i, 0] + u * coords[j, 0] + v * coords[k, 0]
                y = w * coords[i, 1] + u * coords[j, 1] + v * coords[k, 1]
                z = w * coords[i, 2] + u * coords[j, 2] + v * coords[k, 2]
                albedo = paint_at(paints, part_ids[f], x, y, z)
                out = start + row * columns + column
                for channel in range(3):
                    share = min(max(albedo[channel] / ALBEDO_SCALE, 0.0), 1.0)
                    texels[out, channel] = np.uint8(255.0 * np.sqrt(share) + 0.5)

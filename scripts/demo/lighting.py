"""Matte lighting fixed in the world: a sky of many small directional lights with shadow maps.

Ambient occlusion and soft shadows both come from asking, per surface sample, which of the lights it can see.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from agsrec.render.zbuffer import project_points, rasterize_view

Array = NDArray[np.float64]

__all__ = ["Lighting", "ShadowMaps", "irradiance", "shadow_maps", "studio"]

_LIGHT_DISTANCE = 40.0  # world units: far enough for the light cameras to be nearly parallel
_SCENE_RADIUS = 0.64  # world units: what the shadow maps cover


@dataclass(frozen=True)
class Lighting:
    """Directional lights."""

    directions: Array
    """[L, 3] unit vectors towards the lights."""
    radiance: Array
    """[L, 3] linear RGB that a white surface facing the light would reflect."""


@dataclass(frozen=True)
class ShadowMaps:
    """Depth of the nearest surface seen from each light."""

    viewmats: Array
    """[L, 4, 4] world-to-light."""
    K: Array
    """[3, 3] intrinsics shared by all maps."""
    depths: NDArray[np.float32]
    """[L, R, R]."""


def _fibonacci_sphere(count: int) -> Array:
    index = np.arange(count) + 0.5
    y = 1.0 - 2.0 * index / count
    angle = np.pi * (1.0 + 5.0**0.5) * index
    r = np.sqrt(1.0 - y * y)
    return np.stack([r * np.sin(angle), y, r * np.cos(angle)], axis=1)


def _soft_light(
    direction: ArrayLike, radiance: ArrayLike, spread: float, count: int = 10
) -> tuple[Array, Array]:
    """An area light as `count` directions within `spread` (tangent of the half angle)."""
    d = np.asarray(direction, dtype=np.float64)
    d = d / np.linalg.norm(d)
    a = np.cross(d, [0.31, 0.94, 0.17])
    a /= np.linalg.norm(a)
    b = np.cross(d, a)
    index = np.arange(count) + 0.5
    r, angle = spread * np.sqrt(index / count), np.pi * (1.0 + 5.0**0.5) * index
    spots = d + (r * np.cos(angle))[:, None] * a + (r * np.sin(angle))[:, None] * b
    spots /= np.linalg.norm(spots, axis=1, keepdims=True)
    return spots, np.tile(np.asarray(radiance, dtype=np.float64) / count, (count, 1))


def studio() -> Lighting:
    """Bright sky, pale floor, and three soft lamps around the object."""
    sky = _fibonacci_sphere(56)
    height = 0.5 + 0.5 * sky[:, 1:2]
    tint = (1.0 - height) * np.array([0.62, 0.56, 0.50]) + height * np.array([0.98, 1.02, 1.08])
    groups = [
        (sky, tint * (0.62 * 4.0 / len(sky))),  # a full sphere of radiance c reflects 4 c / 4 = c on average
        _soft_light([0.6, 1.0, 0.8], [0.50, 0.47, 0.42], 0.35),
        _soft_light([-1.0, 0.6, 0.15], [0.20, 0.22, 0.26], 0.35),
        _soft_light([0.35, 0.7, -1.0], [0.26, 0.25, 0.23], 0.35),
    ]
    return Lighting(np.concatenate([g[0] for g in groups]), np.concatenate([g[1] for g in groups]))


def _light_views(directions: Array) -> Array:
    """[L, 4, 4] cameras that look from each light at the origin."""
    forward = -directions
    helper = np.where(np.abs(forward[:, 1:2]) > 0.9, [[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]])
    right = np.cross(helper, forward)
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    viewmats = np.tile(np.eye(4), (len(directions), 1, 1))
    viewmats[:, :3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
    viewmats[:, 2, 3] = _LIGHT_DISTANCE
    return viewmats


def shadow_maps(
    vertices: Array,  # [N, 3]
    faces: NDArray[np.int32],  # [F, 3]
    lighting: Lighting,
    *,
    resolution: int = 512,
    num_threads: int = 2,
) -> ShadowMaps:
    """Render the mesh from every light."""
    viewmats = _light_views(lighting.directions)
    focal = 0.5 * resolution * _LIGHT_DISTANCE / _SCENE_RADIUS
    K = np.array([[focal, 0.0, 0.5 * resolution], [0.0, focal, 0.5 * resolution], [0.0, 0.0, 1.0]])
    depths = np.full((len(viewmats), resolution, resolution), np.inf, dtype=np.float32)
    corners = np.ascontiguousarray(vertices, dtype=np.float64)
    triangles = np.ascontiguousarray(faces, dtype=np.int32)

    def render(light: int) -> None:
        face_ids = np.full((resolution, resolution), -1, dtype=np.int32)
        points = project_points(corners, viewmats[light], K)
        rasterize_view(points, triangles, False, 1e-3, face_ids, depths[light])

    with ThreadPoolExecutor(num_threads) as pool:
        list(pool.map(render, range(len(viewmats))))
    return ShadowMaps(viewmats, K, depths)


def irradiance(
    points: Array,  # [M, 3]
    normals: Array,  # [M, 3]
    lighting: Lighting,
    maps: ShadowMaps,
) -> Array:  # [M, 3]
    """Linear RGB reflected by a white matte surface at each point."""
    # A shadow texel is 2 * radius / resolution wide; lifting the point by two of them avoids self-shadowing.
    bias = 4.0 * _SCENE_RADIUS / maps.depths.shape[1]
    chunks = np.array_split(np.arange(len(points)), 2)

    def shade(rows: NDArray[np.intp]) -> Array:
        return _irradiance(
            points[rows],
            normals[rows],
            lighting.directions,
            lighting.radiance,
            maps.viewmats,
            maps.K,
            maps.depths,
            bias,
        )

    with ThreadPoolExecutor(len(chunks)) as pool:
        return np.concatenate(list(pool.map(shade, chunks)))


@njit(cache=True, nogil=True)
def _irradiance(points, normals, directions, radiance, viewmats, K, maps, bias):
    out = np.zeros((points.shape[0], 3))
    resolution = maps.shape[1]
    for i in range(points.shape[0]):
        nx, ny, nz = normals[i, 0], normals[i, 1], normals[i, 2]
        x, y, z = points[i, 0] + bias * nx, points[i, 1] + bias * ny, points[i, 2] + bias * nz
        for light in range(directions.shape[0]):
            facing = nx * directions[light, 0] + ny * directions[light, 1] + nz * directions[light, 2]
            if facing <= 0.0:
                continue
            m = viewmats[light]
            depth = m[2, 0] * x + m[2, 1] * y + m[2, 2] * z + m[2, 3]
            u = K[0, 0] * (m[0, 0] * x + m[0, 1] * y + m[0, 2] * z + m[0, 3]) / depth + K[0, 2]
            v = K[1, 1] * (m[1, 0] * x + m[1, 1] * y + m[1, 2] * z + m[1, 3]) / depth + K[1, 2]
            column, row = int(u), int(v)
            if 0 <= column < resolution and 0 <= row < resolution and maps[light, row, column] < depth - bias:
                continue
            for channel in range(3):
                out[i, channel] += facing * radiance[light, channel]
    return out

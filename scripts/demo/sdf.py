"""Signed distance fields as plain functions: points [N, 3] -> distances [N], negative inside.

Primitives are centred at the origin; operators take fields and return fields. Fields of smooth or displaced
shapes are bounds rather than exact distances, which is all that polygonisation needs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Sdf = Callable[[Array], Array]

__all__ = [
    "Sdf",
    "box",
    "capsule",
    "cylinder",
    "ellipsoid",
    "extrude",
    "gradient",
    "intersect",
    "mirror",
    "offset",
    "polygon_distance",
    "project_to_surface",
    "repeat",
    "shell",
    "smooth_subtract",
    "smooth_union",
    "sphere",
    "subtract",
    "torus",
    "transform",
    "translate",
    "union",
]


def sphere(radius: float) -> Sdf:
    """Ball."""
    return lambda p: np.linalg.norm(p, axis=1) - radius


def box(half_size: ArrayLike, rounding: float = 0.0) -> Sdf:
    """Axis-aligned box; `rounding` is the radius of its edges, inside the given half size."""
    half = np.asarray(half_size, dtype=np.float64) - rounding

    def field(p: Array) -> Array:
        q = np.abs(p) - half
        outside = np.linalg.norm(np.maximum(q, 0.0), axis=1)
        return outside + np.minimum(q.max(axis=1), 0.0) - rounding

    return field


def cylinder(radius: float, half_height: float, rounding: float = 0.0) -> Sdf:
    """Cylinder along y with rounded rims."""

    def field(p: Array) -> Array:
        radial = np.hypot(p[:, 0], p[:, 2]) - radius + rounding
        axial = np.abs(p[:, 1]) - half_height + rounding
        outside = np.hypot(np.maximum(radial, 0.0), np.maximum(axial, 0.0))
        return outside + np.minimum(np.maximum(radial, axial), 0.0) - rounding

    return field


def torus(radius: float, thickness: float) -> Sdf:
    """Ring around y with tube radius `thickness`."""
    return lambda p: np.hypot(np.hypot(p[:, 0], p[:, 2]) - radius, p[:, 1]) - thickness


def ellipsoid(radii: ArrayLike) -> Sdf:
    """Ellipsoid (first-order distance bound)."""
    r = np.asarray(radii, dtype=np.float64)

    def field(p: Array) -> Array:
        k0 = np.linalg.norm(p / r, axis=1)
        k1 = np.linalg.norm(p / (r * r), axis=1)
        return k0 * (k0 - 1.0) / np.maximum(k1, 1e-9)

    return field


def capsule(start: ArrayLike, end: ArrayLike, radius_start: float, radius_end: float | None = None) -> Sdf:
    """Segment from `start` to `end` with a radius that changes linearly along it."""
    a, b = np.asarray(start, dtype=np.float64), np.asarray(end, dtype=np.float64)
    last = radius_start if radius_end is None else radius_end

    def field(p: Array) -> Array:
        axis = b - a
        t = np.clip((p - a) @ axis / (axis @ axis), 0.0, 1.0)
        return np.linalg.norm(p - a - t[:, None] * axis, axis=1) - (radius_start + (last - radius_start) * t)

    return field


def extrude(polygon: ArrayLike, half_depth: float, rounding: float = 0.0) -> Sdf:
    """Polygon [K, 2] in the x-y plane extruded along z, grown by `rounding` with round edges."""
    corners = np.asarray(polygon, dtype=np.float64)

    def field(p: Array) -> Array:
        flat = polygon_distance(p[:, :2], corners)
        deep = np.abs(p[:, 2]) - half_depth + rounding
        outside = np.hypot(np.maximum(flat, 0.0), np.maximum(deep, 0.0))
        return outside + np.minimum(np.maximum(flat, deep), 0.0) - rounding

    return field


@njit(cache=True, nogil=True)
def _polygon_distance(points, corners):
    out = np.empty(points.shape[0])
    count = corners.shape[0]
    for i in range(points.shape[0]):
        x, y = points[i, 0], points[i, 1]
        nearest, inside = 1e18, False
        j = count - 1
        for k in range(count):
            ex, ey = corners[j, 0] - corners[k, 0], corners[j, 1] - corners[k, 1]
            wx, wy = x - corners[k, 0], y - corners[k, 1]
            t = min(max((wx * ex + wy * ey) / max(ex * ex + ey * ey, 1e-18), 0.0), 1.0)
            dx, dy = wx - ex * t, wy - ey * t
            nearest = min(nearest, dx * dx + dy * dy)
            if (corners[k, 1] > y) != (corners[j, 1] > y) and x < corners[k, 0] + wy * ex / ey:
                inside = not inside
            j = k
        out[i] = -np.sqrt(nearest) if inside else np.sqrt(nearest)
    return out


def polygon_distance(points: Array, polygon: ArrayLike) -> Array:  # points [N, 2], polygon [K, 2] -> [N]
    """Exact signed distance to a closed polygon in the plane, negative inside."""
    corners = np.ascontiguousarray(polygon, dtype=np.float64)
    return _polygon_distance(np.ascontiguousarray(points, dtype=np.float64), corners)


def union(*fields: Sdf) -> Sdf:
    """Everything that is in any of the fields."""
    return lambda p: np.min([f(p) for f in fields], axis=0)


def intersect(*fields: Sdf) -> Sdf:
    """What is in all of the fields."""
    return lambda p: np.max([f(p) for f in fields], axis=0)


def subtract(field: Sdf, *cuts: Sdf) -> Sdf:
    """`field` without any of the cuts."""
    return lambda p: np.max([field(p), *(-c(p) for c in cuts)], axis=0)


def _smooth_min(a: Array, b: Array, radius: float) -> Array:
    h = np.maximum(radius - np.abs(a - b), 0.0) / radius
    return np.minimum(a, b) - h * h * radius * 0.25


def smooth_union(fields: Sequence[Sdf], radius: float) -> Sdf:
    """Union whose creases are filled over about `radius` (quadratic polynomial blend)."""

    def field(p: Array) -> Array:
        result = fields[0](p)
        for other in fields[1:]:
            result = _smooth_min(result, other(p), radius)
        return result

    return field


def smooth_subtract(field: Sdf, cut: Sdf, radius: float) -> Sdf:
    """Subtraction with a rounded rim."""
    return lambda p: -_smooth_min(-field(p), cut(p), radius)


def offset(field: Sdf, amount: float) -> Sdf:
    """Grow (positive) or shrink the shape."""
    return lambda p: field(p) - amount


def shell(field: Sdf, half_thickness: float) -> Sdf:
    """Hollow skin around the surface."""
    return lambda p: np.abs(field(p)) - half_thickness


def translate(field: Sdf, shift: ArrayLike) -> Sdf:
    """Move the shape."""
    vector = np.asarray(shift, dtype=np.float64)
    return lambda p: field(p - vector)


def transform(field: Sdf, matrix: ArrayLike) -> Sdf:
    """Move the shape by a rigid 4x4 matrix (shape to world)."""
    m = np.asarray(matrix, dtype=np.float64)
    return lambda p: field((p - m[:3, 3]) @ m[:3, :3])


def mirror(field: Sdf, axis: int) -> Sdf:
    """Repeat the half with positive coordinate on the negative side."""

    def mirrored(p: Array) -> Array:
        q = p.copy()
        q[:, axis] = np.abs(q[:, axis])
        return field(q)

    return mirrored


def repeat(field: Sdf, axis: int, spacing: float, count: int) -> Sdf:
    """`count` copies along an axis, `spacing` apart, centred on the origin."""

    def repeated(p: Array) -> Array:
        first = -0.5 * (count - 1)
        index = np.clip(np.round(p[:, axis] / spacing - first), 0, count - 1)
        q = p.copy()
        q[:, axis] -= (index + first) * spacing
        return field(q)

    return repeated


def gradient(field: Sdf, points: Array, step: float = 1e-4) -> Array:  # [N, 3] -> [N, 3]
    """Central differences of the field."""
    columns = []
    for axis in range(3):
        shift = np.zeros(3)
        shift[axis] = step
        columns.append((field(points + shift) - field(points - shift)) / (2.0 * step))
    return np.stack(columns, axis=1)


def project_to_surface(field: Sdf, points: Array, steps: int = 12) -> tuple[Array, Array]:
    """Newton steps onto the zero level: surface points [N, 3] and outward unit normals [N, 3]."""
    p = np.array(points, dtype=np.float64)
    for _ in range(steps):
        slope = gradient(field, p)
        p -= 0.8 * field(p)[:, None] * slope / np.maximum((slope * slope).sum(1, keepdims=True), 1e-6)
    slope = gradient(field, p)
    return p, slope / np.maximum(np.linalg.norm(slope, axis=1, keepdims=True), 1e-9)

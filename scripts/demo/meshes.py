"""Triangle meshes with texture coordinates: lofts, tubes, lathes, boxes and polygonised distance fields.

Every vertex carries a unit normal and three free texture coordinates. For polygonised fields these are the
point in the part's own frame; for lofted surfaces they are (length along the spine, turn around it in [0, 1],
fraction along it). They stay as they are when a mesh is placed, so a texture moves with its part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from skimage.measure import marching_cubes

from scripts.demo import sdf
from scripts.demo.sdf import Sdf

Array = NDArray[np.float64]

__all__ = [
    "Mesh",
    "blade",
    "box",
    "join",
    "lathe",
    "loft",
    "place",
    "polygonise",
    "rotation",
    "smooth_path",
    "translation",
    "tube",
]


@dataclass(frozen=True)
class Mesh:
    """Triangles, anticlockwise seen from outside."""

    vertices: Array
    """[N, 3] positions."""
    faces: NDArray[np.int32]
    """[F, 3] corner indices."""
    normals: Array
    """[N, 3] unit, outward."""
    coords: Array
    """[N, 3] texture coordinates."""


def _unit(vectors: Array) -> Array:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


# -------------------------------------------------------------------- placing


def translation(x: float, y: float, z: float) -> Array:
    """4x4 matrix that moves by (x, y, z)."""
    m = np.eye(4)
    m[:3, 3] = x, y, z
    return m


def rotation(axis: ArrayLike, degrees: float) -> Array:
    """4x4 matrix that turns about an axis through the origin, right-handed."""
    x, y, z = _unit(np.asarray(axis, dtype=np.float64))
    k = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    angle = np.deg2rad(degrees)
    m = np.eye(4)
    m[:3, :3] += np.sin(angle) * k + (1.0 - np.cos(angle)) * k @ k
    return m


def place(mesh: Mesh, matrix: ArrayLike) -> Mesh:
    """The mesh moved by an affine 4x4 matrix (mirroring allowed); texture coordinates stay."""
    m = np.asarray(matrix, dtype=np.float64)
    normals = _unit(mesh.normals @ np.linalg.inv(m[:3, :3]))
    faces = mesh.faces if np.linalg.det(m[:3, :3]) > 0 else mesh.faces[:, ::-1]
    return replace(mesh, vertices=mesh.vertices @ m[:3, :3].T + m[:3, 3], normals=normals, faces=faces)


def join(meshes: Sequence[Mesh]) -> Mesh:
    """Several meshes as one."""
    starts = np.cumsum([0, *(len(m.vertices) for m in meshes[:-1])])
    return Mesh(
        np.concatenate([m.vertices for m in meshes]),
        np.concatenate([m.faces + s for m, s in zip(meshes, starts, strict=True)]).astype(np.int32),
        np.concatenate([m.normals for m in meshes]),
        np.concatenate([m.coords for m in meshes]),
    )


# -------------------------------------------------------------------- distance fields


def polygonise(field: Sdf, lower: ArrayLike, upper: ArrayLike, spacing: float) -> Mesh:
    """Zero level of a distance field inside a box, by marching cubes with the given grid spacing."""
    low, high = np.asarray(lower, dtype=np.float64), np.asarray(upper, dtype=np.float64)
    counts = np.maximum(np.ceil((high - low) / spacing).astype(int) + 1, 2)
    axes = [low[i] + spacing * np.arange(counts[i]) for i in range(3)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    volume = field(grid).reshape(counts)
    vertices, faces, _, _ = marching_cubes(volume, 0.0, spacing=(spacing,) * 3, gradient_direction="ascent")
    vertices = vertices.astype(np.float64) + low
    normals = _unit(sdf.gradient(field, vertices, step=0.1 * spacing))
    return Mesh(vertices, _outward(vertices, faces.astype(np.int32), normals), normals, vertices)


def _outward(vertices: Array, faces: NDArray[np.int32], normals: Array) -> NDArray[np.int32]:
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    agreement = (np.cross(b - a, c - a) * normals[faces[:, 0]]).sum()
    return faces if agreement > 0 else np.ascontiguousarray(faces[:, ::-1])


def box(half_size: ArrayLike, rounding: float, spacing: float = 0.02) -> Mesh:
    """Axis-aligned box with rounded edges."""
    half = np.asarray(half_size, dtype=np.float64)
    margin = 1.5 * spacing
    return polygonise(sdf.box(half, rounding), -half - margin, half + margin, spacing)


# -------------------------------------------------------------------- lofts


def loft(rings: ArrayLike, *, cap_ends: bool = True) -> Mesh:
    """Closed surface through rings of points [S, K, 3].

    Rings run anticlockwise seen from the last ring towards the first. Ends are closed by flat caps; a last
    ring that shrinks to a point needs none.
    """
    points = np.asarray(rings, dtype=np.float64)
    count, sides = points.shape[:2]
    points = np.concatenate([points, points[:, :1]], axis=1)  # [S, K + 1, 3], seam doubled
    spine = points[:, :-1].mean(axis=1)
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(spine, axis=0), axis=1))])
    along = np.gradient(points, axis=0)
    padded = np.concatenate([points[:, -2:-1], points, points[:, 1:2]], axis=1)
    normals = _unit(np.cross(padded[:, 2:] - padded[:, :-2], along))
    normals = _fill_tips(normals, points, spine)
    turn = np.broadcast_to(np.linspace(0.0, 1.0, sides + 1), (count, sides + 1))
    coords = np.stack(
        [
            np.broadcast_to(length[:, None], turn.shape),
            turn,
            np.broadcast_to((length / max(length[-1], 1e-12))[:, None], turn.shape),
        ],
        axis=-1,
    )
    s, k = np.meshgrid(np.arange(count - 1), np.arange(sides), indexing="ij")
    first = (s * (sides + 1) + k).ravel()
    above = first + sides + 1
    faces = np.concatenate(
        [np.stack([first, first + 1, above + 1], 1), np.stack([first, above + 1, above], 1)]
    )
    body = Mesh(
        points.reshape(-1, 3), faces.astype(np.int32), normals.reshape(-1, 3), coords.reshape(-1, 3).copy()
    )
    if not cap_ends:
        return body
    return join(
        [
            body,
            _cap(points[0], coords[0], spine[0] - spine[1]),
            _cap(points[-1], coords[-1], spine[-1] - spine[-2]),
        ]
    )


def _fill_tips(normals: Array, points: Array, spine: Array) -> Array:
    """Where a ring is a single point the normal is the direction of the spine there."""
    radius = np.linalg.norm(points - spine[:, None], axis=-1).max(axis=1)
    for index, inner in ((0, 1), (-1, -2)):
        if radius[index] < 1e-9:
            normals[index] = _unit(spine[index] - spine[inner])
    return normals


def _cap(ring: Array, coords: Array, direction: Array) -> Mesh:
    """Flat fan over a ring [K + 1, 3] (first point repeated at the end), facing `direction`."""
    center, normal = ring[:-1].mean(axis=0), _unit(direction)
    vertices = np.concatenate([center[None], ring])
    index = np.arange(1, len(ring))
    faces = np.stack([np.zeros_like(index), index, index + 1], axis=1)
    around = np.cross(ring[:-1] - center, ring[1:] - center).sum(axis=0)
    if around @ normal < 0:
        faces = faces[:, ::-1]
    middle = coords.mean(axis=0, keepdims=True)
    return Mesh(
        vertices,
        np.ascontiguousarray(faces, dtype=np.int32),
        np.broadcast_to(normal, vertices.shape).copy(),
        np.concatenate([middle, coords]),
    )


def lathe(profile: ArrayLike, sides: int = 48) -> Mesh:
    """Surface of revolution around y of a profile [S, 2] of (radius, height), taken bottom to top."""
    r, y = np.asarray(profile, dtype=np.float64).T
    if ((r[1:] + r[:-1]) * np.diff(y)).sum() < 0:
        r, y = r[::-1], y[::-1]
    angle = np.linspace(0.0, 2.0 * np.pi, sides, endpoint=False)
    rings = np.stack(
        [
            r[:, None] * np.sin(angle),
            np.broadcast_to(y[:, None], (len(r), sides)),
            r[:, None] * np.cos(angle),
        ],
        axis=-1,
    )
    return loft(rings)


def smooth_path(controls: ArrayLike, count: int) -> Array:
    """Catmull-Rom curve [count, D] through control points [K, D]."""
    c = np.asarray(controls, dtype=np.float64)
    c = np.concatenate([2.0 * c[:1] - c[1:2], c, 2.0 * c[-1:] - c[-2:-1]])
    t = np.linspace(0.0, len(c) - 3.0, count)
    i = np.minimum(t.astype(int), len(c) - 4)
    u = (t - i)[:, None]
    p0, p1, p2, p3 = (c[i + k] for k in range(4))
    return 0.5 * (
        2.0 * p1
        + (p2 - p0) * u
        + (2.0 * p0 - 5.0 * p1 + 4.0 * p2 - p3) * u**2
        + (3.0 * p1 - p0 - 3.0 * p2 + p3) * u**3
    )


def _frames(path: Array, side: ArrayLike | None) -> tuple[Array, Array]:
    """Two unit vectors [S, 3] across a path, the first near `side` or carried along without twist."""
    tangents = _unit(np.gradient(path, axis=0))
    if side is not None:
        reference = np.broadcast_to(np.asarray(side, dtype=np.float64), path.shape)
        first = _unit(reference - (reference * tangents).sum(1, keepdims=True) * tangents)
        return first, np.cross(tangents, first)
    first = np.empty_like(path)
    start = np.eye(3)[np.argmin(np.abs(tangents[0]))]
    for i, tangent in enumerate(tangents):
        start = _unit(start - (start @ tangent) * tangent)
        first[i] = start
    return first, np.cross(tangents, first)


def tube(path: ArrayLike, radii: ArrayLike, *, sides: int = 16, side: ArrayLike | None = None) -> Mesh:
    """Tube along a path [S, 3]; radii is a number, [S], or [S, 2] for ellipses (along `side`, across)."""
    p = np.asarray(path, dtype=np.float64)
    r = np.asarray(radii, dtype=np.float64)
    r = np.broadcast_to(r[:, None] if r.ndim == 1 else r, (len(p), 2))
    first, second = _frames(p, side)
    angle = np.linspace(0.0, 2.0 * np.pi, sides, endpoint=False)
    across = np.cos(angle)[None, :, None] * (first * r[:, :1])[:, None]
    rings = p[:, None] + across + np.sin(angle)[None, :, None] * (second * r[:, 1:])[:, None]
    return loft(rings)


def blade(path: ArrayLike, widths: ArrayLike, thickness: float, side: ArrayLike, sides: int = 12) -> Mesh:
    """Thin leaf along a path [S, 3], half widths [S] along `side`; cos(2 pi turn) runs from edge to edge."""
    w = np.asarray(widths, dtype=np.float64)
    relative = np.sqrt(np.maximum(w / max(w.max(), 1e-12), 0.0))
    return tube(path, np.stack([w, np.maximum(thickness * relative, 1e-4)], axis=1), sides=sides, side=side)

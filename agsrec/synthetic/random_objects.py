"""Endless random objects for training: deformed primitives put together, each with its own procedural paint.

An object is a handful of grid surfaces (superquadrics, boxes, cylinders, tori, limbs) that grow out of each
other; half of them are mirror-symmetric. Everything is stored as flat arrays, so that one compiled kernel
renders it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from agsrec.synthetic.paint_kernels import PAINT_WIDTH

Array = NDArray[np.float64]

__all__ = [
    "PROFILE_POINTS",
    "ROWS",
    "SHAPE_WIDTH",
    "SIDES",
    "RandomObject",
    "assemble_parts",
    "random_lights",
    "random_object",
]

OBJECT_RADIUS = 0.57
"""Objects fill a sphere of this radius around the origin (world units)."""

ROWS, SIDES = 14, 18
"""Quads along and around every primitive."""

PROFILE_POINTS = 8
"""Radii along the axis of a swept primitive."""
SHAPE_WIDTH = 16 + PROFILE_POINTS
"""Numbers that describe a primitive."""

_KINDS = 5  # superquadric, box, cylinder, torus, limb: those that random objects are made of; 5 is swept
_CAP = 2 / ROWS  # share of a swept primitive's rows that closes an end
_VERTICES = (ROWS + 1) * (SIDES + 1)
_LIGHTS = 3
_FAMILIES = 10  # of paint: the first so many


@dataclass(frozen=True)
class RandomObject:
    """A textured triangle mesh with its own fixed light."""

    vertices: Array
    """[N, 3] world positions."""
    faces: NDArray[np.int32]
    """[F, 3], anticlockwise seen from outside."""
    normals: Array
    """[N, 3] unit, outward."""
    coords: Array
    """[N, 3] point in the frame that the paint lives in; mirrored parts may share it with their originals."""
    part_ids: NDArray[np.int32]
    """[F], row of `paints` per face."""
    paints: Array
    """[P, PAINT_WIDTH], see `paint_kernels`."""
    lights: Array
    """[2 + L, 6]: sky and ground colour, then direction and colour of each lamp (linear RGB)."""
    alike: bool = False
    """Whether but for the light it looks the same from all around."""


def random_object(seed: int) -> RandomObject:
    """The object of a seed; equal seeds give equal objects."""
    rng = np.random.default_rng(seed)
    symmetric = rng.random() < 0.5
    shapes, frames, mirrored = _random_parts(rng, symmetric)
    shared_paint = rng.random() < 0.75
    paints = _random_paints(rng, len(shapes))
    if symmetric:
        shapes = np.concatenate([shapes, shapes[mirrored]])
        paint_ids = np.concatenate([np.arange(len(paints)), np.flatnonzero(mirrored)])
    else:
        paint_ids = np.arange(len(paints))
    flips = np.concatenate([np.ones(len(frames)), -np.ones(len(shapes) - len(frames))])
    frames = np.concatenate([frames, frames[mirrored]]) if symmetric else frames
    vertices, normals, coords = _tessellate(shapes, frames, flips, shared_paint)
    vertices, normals = _normalise(vertices, normals, rng)
    faces = _grid_faces(len(shapes), flips)
    part_ids = np.repeat(paint_ids, 2 * ROWS * SIDES).astype(np.int32)
    return RandomObject(vertices, faces, normals, coords, part_ids, paints, random_lights(rng))


def assemble_parts(shapes: Array, frames: Array, rng: np.random.Generator) -> RandomObject:
    """A mesh of primitives without paint or light, turned about the vertical and centred.

    Args:
        shapes: Rows [P, SHAPE_WIDTH] of kind, half sizes [3], exponents [2], taper, bend, twist, bump height
            and frequency, limb curve [4], depth of an opening, radii from bottom to top [PROFILE_POINTS].
        frames: Placements [P, 3, 4].
        rng: Source of the turn.
    """
    flips = np.ones(len(shapes))
    vertices, normals, coords = _tessellate(shapes, frames, flips, False)
    vertices, normals = _normalise(vertices, normals, rng)
    part_ids = np.repeat(np.arange(len(shapes)), 2 * ROWS * SIDES).astype(np.int32)
    nothing = np.zeros((len(shapes), PAINT_WIDTH))
    return RandomObject(
        vertices, _grid_faces(len(shapes), flips), normals, coords, part_ids, nothing, np.zeros((2, 6))
    )


# -------------------------------------------------------------------- composition


def _random_parts(rng: np.random.Generator, symmetric: bool) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Shape rows [P, SHAPE_WIDTH], placements [P, 3, 4], and which parts get a mirrored copy [P]."""
    count = int(rng.integers(2, 10))
    shapes = np.stack([_random_shape(rng, 1.0 if i == 0 else rng.uniform(0.22, 0.75)) for i in range(count)])
    frames = np.zeros((count, 3, 4))
    mirrored = np.zeros(count, dtype=bool)
    for i in range(count):
        upright = rng.random() < 0.6
        frames[i, :, :3] = np.eye(3) if upright and i == 0 else _random_rotation(rng, 0.3 if upright else 3.0)
        if i == 0:
            continue
        parent = int(rng.integers(0, i)) if rng.random() < 0.5 else 0
        direction = rng.standard_normal(3)
        direction /= np.linalg.norm(direction)
        reach = shapes[parent, 1:4] * direction * rng.uniform(0.75, 1.1)
        frames[i, :, 3] = frames[parent, :, :3] @ reach + frames[parent, :, 3]
        if symmetric and rng.random() < 0.7:
            mirrored[i] = True
        elif symmetric:
            frames[i, 0, 3] = 0.0
    if symmetric:
        mirrored &= np.cumsum(mirrored) + count <= 16
    return shapes, frames, mirrored


def _random_shape(rng: np.random.Generator, scale: float) -> Array:
    """Kind, half sizes [3], exponents [2], taper, bend, twist, bump height and frequency, limb curve [4]."""
    kind = int(rng.choice(_KINDS, p=[0.3, 0.2, 0.2, 0.1, 0.2]))
    size = scale * rng.uniform(0.35, 1.0, 3) * (0.5 if kind == 4 else 1.0)
    if kind == 4:
        size[1] = scale * rng.uniform(0.6, 1.2)
        size[[0, 2]] *= 0.45
    row = np.zeros(SHAPE_WIDTH)
    row[0] = kind
    row[1:4] = size
    row[4:6] = rng.uniform(0.25, 1.3, 2) if kind == 0 else rng.uniform(0.2, 0.5, 2)
    row[6] = rng.uniform(-0.6, 0.6) if rng.random() < 0.4 else 0.0
    row[7] = rng.uniform(-1.0, 1.0) if rng.random() < 0.3 else 0.0
    row[8] = rng.uniform(-1.2, 1.2) if rng.random() < 0.2 else 0.0
    row[9] = rng.uniform(0.015, 0.05) if rng.random() < 0.25 else 0.0
    row[10] = rng.uniform(3.0, 9.0)
    row[11:15] = rng.uniform(-0.6, 0.6, 4)
    return row


def _random_rotation(rng: np.random.Generator, spread: float) -> Array:
    """[3, 3] rotation: any for a large spread, near upright for a small one."""
    q = np.concatenate([[1.0], spread * rng.standard_normal(3)])
    w, x, y, z = q / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def _random_paints(rng: np.random.Generator, count: int) -> Array:
    """Paint rows [count, PAINT_WIDTH] with a palette and contrast common to the object."""
    mood = rng.choice(4, p=[0.55, 0.2, 0.15, 0.1])  # lively, pale, dark, nearly uniform
    low, high = ((0.02, 0.9), (0.35, 0.95), (0.005, 0.10), (0.2, 0.7))[mood]
    palette = rng.uniform(low, high, (4, 3))
    palette += rng.uniform(0.0, 0.7) * (palette.mean(axis=1, keepdims=True) - palette)
    if mood == 3:
        palette = palette[:1] + 0.06 * (palette - palette[:1])
    flat = rng.random() < 0.12
    paints = np.zeros((count, PAINT_WIDTH))
    for row in paints:
        row[0] = 0 if flat else rng.integers(0, _FAMILIES)
        row[1:10] = palette[rng.permutation(4)[:3]].ravel()
        row[10] = np.exp(rng.uniform(np.log(3.0), np.log(14.0)))
        row[11] = rng.uniform(0.2, 0.8)
        row[12:15] = rng.standard_normal(3)
        row[12:15] /= np.linalg.norm(row[12:15])
        row[15] = rng.integers(0, 1 << 20)
        row[16] = 0.0 if flat else rng.uniform(0.0, 0.25)
    return paints


def random_lights(rng: np.random.Generator) -> Array:
    """Rows [2 + L, 6] of a soft sky, the ground and some lamps; see `RandomObject.lights`."""
    rows = np.zeros((2 + _LIGHTS, 6))
    ambient = rng.uniform(0.3, 0.6)
    rows[0, 3:] = ambient * rng.uniform(0.9, 1.1, 3)
    rows[1, 3:] = ambient * rng.uniform(0.4, 0.9) * rng.uniform(0.9, 1.1, 3)
    directions = rng.standard_normal((_LIGHTS, 3))
    directions[:, 1] = np.abs(directions[:, 1]) + 0.3
    rows[2:, :3] = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    rows[2:, 3:] = rng.uniform(0.1, 0.45, (_LIGHTS, 1)) * rng.uniform(0.9, 1.1, (_LIGHTS, 3))
    return rows


# -------------------------------------------------------------------- tessellation


def _normalise(vertices: Array, normals: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Turn about the vertical, centre, and scale to `OBJECT_RADIUS`."""
    angle = rng.uniform(0.0, 2.0 * np.pi)
    c, s = np.cos(angle), np.sin(angle)
    yaw = np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
    turned = vertices @ yaw.T
    turned -= 0.5 * (turned.min(axis=0) + turned.max(axis=0))
    turned *= OBJECT_RADIUS / np.sqrt((turned**2).sum(axis=1).max())
    return turned, normals @ yaw.T


def _grid_faces(count: int, flips: Array) -> NDArray[np.int32]:
    """Two triangles per quad of every part; a mirrored part runs the other way round."""
    row, side = np.meshgrid(np.arange(ROWS), np.arange(SIDES), indexing="ij")
    a = (row * (SIDES + 1) + side).ravel()
    b, c, d = a + 1, a + SIDES + 2, a + SIDES + 1
    grid = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    faces = grid[None] + (np.arange(count) * _VERTICES)[:, None, None]
    faces[flips < 0] = faces[flips < 0][:, :, ::-1]
    return np.ascontiguousarray(faces.reshape(-1, 3), dtype=np.int32)


def _tessellate(shapes: Array, frames: Array, flips: Array, shared_paint: bool) -> tuple[Array, Array, Array]:
    """Vertices, normals and paint coordinates [P * _VERTICES, 3] of all parts."""
    size = len(shapes) * _VERTICES
    out = np.empty((size, 3)), np.empty((size, 3)), np.empty((size, 3))
    _tessellate_parts(shapes, frames, flips, shared_paint, *out)
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def _signed_power(base, exponent):
    return np.sign(base) * np.abs(base) ** exponent


@njit(cache=True, nogil=True, error_model="numpy")
def _profile(s):
    """Radius and height of a cylinder with bevelled rims, for s in [0, 1] from bottom to top."""
    if s < 0.25:
        return min(s / 0.1875, 1.0) * 0.95 if s < 0.1875 else 0.95 + 0.05 * (s - 0.1875) / 0.0625, (
            -1.0 if s < 0.1875 else -1.0 + 0.05 * (s - 0.1875) / 0.0625
        )
    if s > 0.75:
        radius, height = _profile(1.0 - s)
        return radius, -height
    return 1.0, (s - 0.5) * 3.8


@njit(cache=True, nogil=True, error_model="numpy")
def _swept(shape, s):
    """Radius and height of a swept primitive: flat at the bottom, and at the top unless it opens there."""
    along = min(max((s - _CAP) / (1.0 - 2.0 * _CAP), 0.0), 1.0) * (PROFILE_POINTS - 1)
    k = min(int(along), PROFILE_POINTS - 2)
    radius = shape[16 + k] + (along - k) * (shape[17 + k] - shape[16 + k])
    height = 2.0 * along / (PROFILE_POINTS - 1) - 1.0
    inwards = max(_CAP - s, s - (1.0 - _CAP)) / _CAP  # from the rim to the middle
    if inwards <= 1e-9:
        return radius, height
    if s > 0.5 and shape[15] > 0.0:
        return radius * (1.0 - 0.24 * inwards if inwards < 0.75 else 0.0), height - 2.0 * shape[15]
    return radius * (1.0 - min(inwards, 1.0)), height


@njit(cache=True, nogil=True, error_model="numpy")
def _square(angle):
    """Point of the square [-1, 1]^2 in direction `angle`."""
    c, s = np.cos(angle), np.sin(angle)
    scale = 1.0 / max(abs(c), abs(s))
    return c * scale, s * scale


@njit(cache=True, nogil=True, error_model="numpy")
def _surface_point(shape, s, angle):
    """Point of the undeformed primitive: s runs from bottom to top in [0, 1], angle around."""
    kind = int(shape[0])
    if kind == 0:
        latitude = (s - 0.5) * np.pi
        ring = _signed_power(np.cos(latitude), shape[4])
        return (
            shape[1] * ring * _signed_power(np.sin(angle), shape[5]),
            shape[2] * _signed_power(np.sin(latitude), shape[4]),
            shape[3] * ring * _signed_power(np.cos(angle), shape[5]),
        )
    if kind == 1 or kind == 2:
        radius, height = _profile(s)
        z, x = _square(angle) if kind == 1 else (np.cos(angle), np.sin(angle))
        return shape[1] * radius * x, shape[2] * height, shape[3] * radius * z
    if kind == 3:
        around = 2.0 * np.pi * s
        radius = 1.0 - shape[4] - shape[4] * np.cos(around)
        return (
            shape[1] * radius * np.sin(angle),
            -0.6 * shape[1] * shape[4] * np.sin(around),
            shape[3] * radius * np.cos(angle),
        )
    if kind == 5:
        radius, height = _swept(shape, s)
        return (
            shape[1] * radius * _signed_power(np.sin(angle), shape[4]),
            shape[2] * height,
            shape[3] * radius * _signed_power(np.cos(angle), shape[4]),
        )
    t = 2.0 * s - 1.0  # limb: a curved, rounded rod whose thickness changes along it
    end = np.sqrt(max(1.0 - t**6, 0.0)) * (1.0 + 0.5 * shape[13] * t)
    x = shape[1] * end * np.sin(angle) + shape[2] * shape[11] * (t * t - 0.4)
    z = shape[3] * end * np.cos(angle) + shape[2] * shape[12] * (t * t - 0.4)
    return x, shape[2] * t, z


@njit(cache=True, nogil=True, error_model="numpy")
def _deform(shape, x, y, z):
    """Bumps, taper, twist and bend about the part's own axis."""
    if shape[9] > 0.0:
        f = shape[10] / max(shape[1], shape[2], shape[3])
        swell = 1.0 + shape[9] * (
            np.sin(f * x + shape[11] * 9.0) + np.sin(f * y + shape[12] * 9.0) + np.sin(f * z)
        )
        x, y, z = x * swell, y * swell, z * swell
    level = y / shape[2]
    grow = 1.0 + shape[6] * level
    x, z = x * grow, z * grow
    c, s = np.cos(shape[8] * level), np.sin(shape[8] * level)
    x, z = c * x + s * z, c * z - s * x
    x += 0.5 * shape[7] * shape[2] * level * level
    return x, y, z


@njit(cache=True, nogil=True, error_model="numpy")
def _tessellate_parts(shapes, frames, flips, shared_paint, vertices, normals, coords):
    for part in range(shapes.shape[0]):
        shape, frame, flip = shapes[part], frames[part], flips[part]
        base = part * _VERTICES
        for row in range(ROWS + 1):
            for side in range(SIDES + 1):
                i = base + row * (SIDES + 1) + side
                angle = 2.0 * np.pi * (side % SIDES) / SIDES - np.pi
                p = _surface_point(shape, row / ROWS, angle)
                x, y, z = _deform(shape, p[0], p[1], p[2])
                for axis in range(3):
                    vertices[i, axis] = (
                        frame[axis, 0] * x + frame[axis, 1] * y + frame[axis, 2] * z + frame[axis, 3]
                    )
                vertices[i, 0] *= flip
                coords[i, 0], coords[i, 1], coords[i, 2] = vertices[i, 0], vertices[i, 1], vertices[i, 2]
                if shared_paint:
                    coords[i, 0] *= flip
        _grid_normals(vertices, normals, base, flip, shape[0] == 3)


@njit(cache=True, nogil=True, error_model="numpy")
def _difference(vertices, i, j):
    return vertices[i, 0] - vertices[j, 0], vertices[i, 1] - vertices[j, 1], vertices[i, 2] - vertices[j, 2]


@njit(cache=True, nogil=True, error_model="numpy")
def _grid_normals(vertices, normals, base, flip, closed):
    """Normals of one part from differences across its grid; a pole takes the mean of the ring beside it."""
    stride = SIDES + 1
    for row in range(0 if closed else 1, ROWS + 1 if closed else ROWS):
        below, above = row - 1, row + 1
        if row == 0 or row == ROWS:
            below, above = ROWS - 1, 1
        for side in range(stride):
            left, right = (side - 1) % SIDES, (side + 1) % SIDES
            i, j = base + row * stride + left, base + row * stride + right
            k, m = base + below * stride + side, base + above * stride + side
            ax, ay, az = _difference(vertices, j, i)
            bx, by, bz = _difference(vertices, m, k)
            nx, ny, nz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
            scale = flip / max(np.sqrt(nx * nx + ny * ny + nz * nz), 1e-30)
            out = base + row * stride + side
            normals[out, 0], normals[out, 1], normals[out, 2] = scale * nx, scale * ny, scale * nz
    if not closed:
        for row, inner in ((0, 1), (ROWS, ROWS - 1)):
            ring = base + inner * stride
            mean = normals[ring : ring + SIDES].sum(axis=0)
            normals[base + row * stride : base + (row + 1) * stride] = mean / np.sqrt((mean * mean).sum())

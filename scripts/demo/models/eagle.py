"""An eagle with spread wings on a branch: layered feathers, hooked beak, talons, bark and leaves.

Model frame: +y up, the bird faces +z, wings along x; the wing span is about 1.5 units.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scripts.demo import meshes, sdf
from scripts.demo.meshes import Mesh, rotation, translation
from scripts.demo.noise import fbm, hash_unit
from scripts.demo.rendering import Model, Part, Texture, build_model
from scripts.demo.textures import band, grain, mix, stripes

Array = NDArray[np.float64]

__all__ = ["build"]

_HEAD = np.array([0.0, 0.79, 0.16])
_WING_BONE = np.array(
    [[0.07, 0.56, 0.02], [0.20, 0.66, -0.05], [0.34, 0.80, -0.06], [0.45, 0.92, 0.0], [0.52, 0.99, 0.02]]
)


def build() -> Model:
    """Bird, branch and leaves."""
    rng = np.random.default_rng(77)
    return build_model(
        [
            Part(meshes.polygonise(_body, [-0.25, 0.05, -0.4], [0.25, 0.95, 0.4], 0.0085), _body_paint),
            *_head_parts(),
            *[part for side in (-1.0, 1.0) for part in _wing(side, rng)],
            *_tail(rng),
            *[part for side in (-1.0, 1.0) for part in _leg(side)],
            *_branch(rng),
        ]
    )


# -------------------------------------------------------------------- body and head


def _body(p: Array) -> Array:
    torso = [
        sdf.capsule([0, 0.26, -0.16], [0, 0.46, 0.02], 0.085, 0.155),
        sdf.capsule([0, 0.46, 0.02], [0, 0.62, 0.09], 0.15, 0.10),
        sdf.capsule([0, 0.62, 0.09], _HEAD, 0.085, 0.075),
        sdf.translate(sdf.ellipsoid([0.082, 0.080, 0.100]), _HEAD),
        sdf.mirror(sdf.capsule([0.085, 0.32, -0.01], [0.095, 0.15, 0.05], 0.085, 0.042), 0),
        sdf.mirror(sdf.capsule([0.05, 0.54, 0.02], [0.17, 0.63, -0.04], 0.09, 0.06), 0),
    ]
    ruffle = 0.010 * (fbm(p * np.array([26.0, 16.0, 26.0]), 2, 5) - 0.5)
    return sdf.smooth_union(torso, 0.07)(p) + ruffle


def _scales(around: Array, down: Array, seed: int) -> tuple[Array, Array]:
    """Overlapping rows of small feathers, one unit apart: rim in [0, 1] and a number in [0, 1) per feather.

    A feather is the lower half of a unit disc around a lattice point and hides the top of the row below.
    """

    def nearest(row: Array) -> tuple[Array, Array]:
        shifted = around - 0.5 * np.mod(row, 2.0)
        column = np.round(shifted)
        return column, np.hypot(1.25 * (shifted - column), down - row)

    above = np.floor(down)
    column, distance = nearest(above)
    covered = distance < 1.0
    row = np.where(covered, above, above + 1.0)
    column = np.where(covered, column, nearest(above + 1.0)[0])
    cells = np.stack([column, row, np.zeros_like(row)], axis=1).astype(np.int64)
    rim = np.where(covered, np.clip((distance - 0.68) / 0.22, 0.0, 1.0), 0.0)
    return rim, hash_unit(cells, seed)


def _coat(p: Array, count: float, rows: float, seed: int) -> tuple[Array, Array]:
    """Scales around the leaning axis of the body: `count` around, `rows` per unit height."""
    axis = np.interp(p[:, 1], [0.15, 0.26, 0.46, 0.62, 0.80], [-0.06, -0.10, 0.02, 0.09, 0.14])
    around = np.arctan2(p[:, 0], p[:, 2] - axis) * count / (2.0 * np.pi)
    return _scales(around, -rows * p[:, 1], seed)


def _body_paint(p: Array) -> Array:
    y = p[:, 1]
    rim, label = _coat(p, 22.0, 30.0, 2)
    brown = mix("#8f5f33", "#573519", label)
    brown = mix(brown, "#d9ab6e", 0.8 * rim) * grain(p, 50.0, 0.2, 9)
    breast = mix("#b58850", "#7a5028", label)
    breast = mix(breast, "#3a2210", rim)
    base = mix(brown, breast, np.clip((p[:, 2] - 0.04) / 0.05, 0, 1) * (y < 0.62))
    rim, label = _coat(p, 20.0, 42.0, 21)
    white = mix(mix("#faf6ec", "#d9cdb2", label), "#857658", 0.9 * rim)
    ragged = y + 0.05 * (fbm(p * 22.0, 2, 3) - 0.5) + 0.15 * p[:, 2]
    return mix(base, white, np.clip((ragged - 0.695) / 0.006, 0.0, 1.0))


def _head_parts() -> list[Part]:
    upper = meshes.smooth_path(
        [[0, 0.795, 0.21], [0, 0.807, 0.27], [0, 0.792, 0.313], [0, 0.752, 0.33], [0, 0.728, 0.322]], 40
    )
    lower = meshes.smooth_path([[0, 0.762, 0.21], [0, 0.757, 0.255], [0, 0.759, 0.292]], 24)
    fraction = np.linspace(0.0, 1.0, 40)
    width = np.interp(fraction, [0, 0.35, 0.75, 1.0], [0.037, 0.030, 0.016, 0.002])
    bill = meshes.tube(upper, np.stack([0.8 * width, 1.15 * width], axis=1), sides=28, side=[1, 0, 0])
    jaw = meshes.tube(lower, np.linspace(0.023, 0.007, 24), sides=20, side=[1, 0, 0])
    eye = meshes.polygonise(sdf.sphere(0.020), [-0.03] * 3, [0.03] * 3, 0.003)
    brow = meshes.smooth_path([[0.052, 0.842, 0.13], [0.066, 0.836, 0.19], [0.050, 0.818, 0.245]], 24)
    ridge = meshes.tube(brow, np.interp(np.linspace(0, 1, 24), [0, 0.5, 1], [0.006, 0.016, 0.006]), sides=14)
    flip = np.diag([-1.0, 1.0, 1.0, 1.0])
    return [
        Part(bill, _bill_paint),
        Part(jaw, lambda c: mix("#e2a50f", "#a86a08", stripes(c[:, 0], 0.02, 0.3))),
        *[
            Part(meshes.place(eye, translation(s * 0.066, 0.808, 0.208)), lambda p, s=s: _eye_paint(p, s))
            for s in (-1.0, 1.0)
        ],
        *[
            Part(m, lambda c: mix("#f1eadb", "#8d7d62", stripes(c[:, 0], 0.014, 0.4)))
            for m in (ridge, meshes.place(ridge, flip))
        ],
    ]


def _bill_paint(c: Array) -> Array:
    length, turn, fraction = c.T
    base = mix("#f7c325", "#d8860b", fraction) * grain(
        np.stack([length * 30, turn * 6, turn * 0], axis=1), 1.0, 0.2, 4
    )
    base = mix(base, "#3d2c17", np.clip((fraction - 0.8) / 0.15, 0, 1))
    nostril = np.hypot((fraction - 0.24) / 0.06, (np.abs(turn - 0.5) - 0.46) / 0.03) < 1
    return mix(base, "#3d2c17", nostril)


def _eye_paint(p: Array, side: float) -> Array:
    gaze = p / 0.020 @ np.array([side * 0.85, 0.05, 0.5])
    base = mix("#2a1b0c", "#f5c518", band(gaze, 0.55, 2.0, 0.02))
    return mix(base, "#0b0805", band(gaze, 0.86, 2.0, 0.02))


# -------------------------------------------------------------------- feathers


def _feather(root: Array, direction: Array, length: float, width: float, normal: Array, sweep: float) -> Mesh:
    """Blade from `root`, lying across `normal`, bent out of its plane by `sweep` at the tip."""
    t = np.linspace(0.0, 1.0, 22)[:, None]
    along = direction / np.linalg.norm(direction)
    path = root + length * t * along + sweep * length * t**2 * normal
    outline = np.interp(t[:, 0], [0, 0.1, 0.45, 0.8, 0.93, 1.0], [0.3, 0.55, 1.0, 0.95, 0.6, 0.05])
    return meshes.blade(path, width * outline, 0.006, np.cross(normal, along))


def _feather_paint(
    base: str, bars: str, tip: str, *, spacing: float, seed: int, tip_start: float = 0.8
) -> Texture:
    """Shaft, slanting barbs, cross bars and a tip of its own colour; the two faces differ a little."""

    def texture(c: Array) -> Array:
        length, turn, fraction = c.T
        across = np.cos(2.0 * np.pi * turn)
        wobble = 0.02 * (
            fbm(np.stack([length * 30, across * 2, np.full_like(length, seed)], axis=1), 2, seed) - 0.5
        )
        bar = stripes(length + 0.03 * np.abs(across) + wobble + 0.013 * seed, spacing, 0.45)
        paint = mix(base, bars, 0.8 * bar)
        paint = mix(paint, tip, np.clip((fraction - tip_start - 0.04 * np.abs(across)) / 0.03, 0.0, 1.0))
        barbs = 0.88 + 0.12 * np.sin(2.0 * np.pi * (length - 0.04 * np.abs(across)) / 0.014)
        under = 1.0 + 0.22 * (np.sin(2.0 * np.pi * turn) < 0)
        rim = mix(paint * (barbs * under)[:, None], "#24140a", 0.8 * band(np.abs(across), 0.93, 2.0, 0.04))
        return mix(rim, "#eadbb8", band(across, -0.07, 0.07, 0.02) * (fraction < 0.93))

    return texture


def _wing(side: float, rng: np.random.Generator) -> list[Part]:
    """Flight feathers and three rows of coverts on both faces of one wing, swung back at the shoulder."""
    swing = translation(*_WING_BONE[0]) @ rotation([0, 1, 0], 24) @ translation(*-_WING_BONE[0])
    flip = np.diag([side, 1.0, 1.0, 1.0]) @ swing
    bone = meshes.smooth_path(_WING_BONE, 120)
    radii = np.interp(np.linspace(0, 1, 120), [0, 0.3, 0.8, 1.0], [0.055, 0.042, 0.03, 0.010])
    arm = meshes.tube(bone, np.stack([radii, 0.7 * radii], axis=1), sides=24, side=[0, 1, 0])
    parts = [Part(meshes.place(arm, flip), _arm_paint)]
    rows = [
        # count, first and last station on the bone, length at root and tip, half width, height, colours
        (22, 0.02, 1.0, 0.36, 0.44, 0.034, 0.0, ("#4f3118", "#2a180b", "#1d110a")),
        (18, 0.02, 0.97, 0.23, 0.22, 0.032, 0.014, ("#7a4d26", "#4a2b13", "#d6b07a")),
        (18, 0.00, 0.95, 0.15, 0.14, 0.028, 0.024, ("#9a6a38", "#5b391b", "#e7cfa2")),
        (16, 0.00, 0.93, 0.09, 0.085, 0.024, 0.032, ("#6a421f", "#3b2210", "#caa06a")),
    ]
    for row, (count, first, last, near, far, width, height, colors) in enumerate(rows):
        for i in range(count):
            s = i / (count - 1)
            feathers = _wing_feather(
                bone, first + (last - first) * s, s, near + (far - near) * s, width, height, rng
            )
            paint = _feather_paint(
                *colors, spacing=0.05 + 0.02 * rng.random(), seed=int(rng.integers(1000)), tip_start=0.84
            )
            parts += [Part(meshes.place(f, flip), paint) for f in (feathers if row else feathers[:1])]
    return parts


def _wing_feather(
    bone: Array,
    station: float,
    s: float,
    length: float,
    width: float,
    height: float,
    rng: np.random.Generator,
) -> list[Mesh]:
    """The feather at a station of the bone, on the back of the wing and on its front."""
    root = bone[round(station * (len(bone) - 1))]
    angle = np.deg2rad(
        np.interp(s, [0.0, 0.25, 0.5, 0.75, 1.0], [-84, -66, -38, 8, 62]) + 3.0 * rng.uniform(-1, 1)
    )
    direction = np.array([np.cos(angle), np.sin(angle), -0.22 + 0.18 * s])
    scale = length * (1.0 + 0.06 * rng.uniform(-1, 1)) * (1.0 - 0.22 * max(0.0, 0.35 - abs(s - 0.62)))
    stagger = 0.0022 * (round(s * 100) % 3 - 1)
    out = []
    for face in (-1.0, 1.0):
        normal = np.array([0.0, 0.0, face])
        lifted = root + normal * (height + stagger)
        out.append(_feather(lifted, direction, scale, width, normal, -0.6 * height / max(scale, 1e-6)))
    return out


def _arm_paint(c: Array) -> Array:
    rim, label = _scales(12.0 * c[:, 1], 34.0 * c[:, 0], 33)
    return mix(mix("#8f5f33", "#573519", label), "#dcb071", 0.8 * rim)


def _tail(rng: np.random.Generator) -> list[Part]:
    parts = []
    for i, spread in enumerate(np.linspace(-1.0, 1.0, 11)):
        direction = np.array([0.62 * spread, -0.42, -0.80])
        normal = np.cross(direction, [1.0, 0.0, 0.0]) + np.array([0.25 * spread, 0.0, 0.0])
        normal /= np.linalg.norm(normal)
        root = np.array([0.035 * spread, 0.24, -0.20]) + 0.006 * (i % 2) * normal
        mesh = _feather(root, direction, 0.36 - 0.05 * abs(spread), 0.040, normal, -0.10)
        paint = _feather_paint(
            "#f1ecdf", "#8e7a5c", "#5a3d22", spacing=0.07, seed=int(rng.integers(1000)), tip_start=0.86
        )
        parts.append(Part(mesh, paint))
    return parts


# -------------------------------------------------------------------- legs, branch, leaves


def _leg(side: float) -> list[Part]:
    """Shank, four toes that grip the branch, and their claws."""
    ankle = np.array([0.098, 0.068, 0.045])
    shank = meshes.tube(ankle + np.array([[0, 0.13, 0], [0, 0.07, 0.01], [0, 0, 0]]), 0.021, sides=16)
    toes, claws = [], []
    for turn in (-0.55, 0.0, 0.55, np.pi):
        ahead, up = np.array([np.sin(turn), 0.0, np.cos(turn)]), np.array([0.0, 1.0, 0.0])
        knuckle, end = ankle + 0.055 * ahead + 0.008 * up, ankle + 0.088 * ahead - 0.028 * up
        toe = meshes.smooth_path(np.stack([ankle, knuckle, end]), 20)
        toes.append(meshes.tube(toe, np.linspace(0.021, 0.014, 20), sides=14))
        hook = np.stack([end, end + 0.022 * ahead - 0.016 * up, end + 0.018 * ahead - 0.052 * up])
        claws.append(meshes.tube(meshes.smooth_path(hook, 16), np.linspace(0.012, 0.001, 16), sides=12))
    flip = np.diag([side, 1.0, 1.0, 1.0])
    return [
        Part(meshes.place(meshes.join([shank, *toes]), flip), _toe_paint),
        Part(meshes.place(meshes.join(claws), flip), lambda c: mix("#4a4139", "#17120e", c[:, 2])),
    ]


def _toe_paint(c: Array) -> Array:
    return mix("#f2b51c", "#9c6a08", stripes(c[:, 0], 0.012, 0.35))


def _branch(rng: np.random.Generator) -> list[Part]:
    main = meshes.smooth_path(
        [
            [-0.48, -0.05, -0.05],
            [-0.3, 0.015, 0.02],
            [0.0, 0.0, 0.05],
            [0.3, 0.03, 0.03],
            [0.5, -0.02, -0.04],
        ],
        80,
    )
    twigs = [
        [[-0.33, 0.0, 0.01], [-0.39, 0.06, 0.10], [-0.43, 0.13, 0.17]],
        [[0.33, 0.02, 0.02], [0.40, 0.00, 0.12], [0.46, 0.05, 0.20]],
        [[0.22, 0.02, 0.03], [0.30, -0.09, -0.08], [0.36, -0.12, -0.20]],
        [[-0.22, 0.02, 0.03], [-0.30, -0.10, -0.07], [-0.40, -0.12, -0.16]],
    ]
    wood = [_bark_tube(main, np.interp(np.linspace(0, 1, 80), [0, 0.5, 1], [0.040, 0.055, 0.034]))]
    parts = []
    for twig in twigs:
        path = meshes.smooth_path(twig, 24)
        wood.append(_bark_tube(path, np.linspace(0.022, 0.008, 24)))
        for k in (8, 13, 18, 23):
            parts.append(_leaf(path[k], path[k] - path[k - 3], rng))
    return [Part(meshes.join(wood), _bark_paint), *parts]


def _bark_tube(path: Array, radii: Array) -> Mesh:
    mesh = meshes.tube(path, radii, sides=36, side=[0, 1, 0])
    bumps = fbm(mesh.vertices * np.array([14.0, 40.0, 40.0]), 3, 8) - 0.5
    moved = mesh.vertices + 0.016 * bumps[:, None] * mesh.normals
    return Mesh(moved, mesh.faces, mesh.normals, mesh.vertices)


def _bark_paint(p: Array) -> Array:
    ridges = fbm(p * np.array([14.0, 60.0, 60.0]), 3, 8)
    base = mix("#2e2016", "#9a7650", np.clip(2.4 * (ridges - 0.3), 0.0, 1.0))
    lichen = np.clip((fbm(p * 16.0, 3, 51) - 0.60) / 0.04, 0.0, 1.0)
    return mix(base, "#9fae78", 0.9 * lichen)


def _leaf(root: Array, stem: Array, rng: np.random.Generator) -> Part:
    direction = stem / np.linalg.norm(stem) + rng.uniform(-0.9, 0.9, 3)
    direction /= np.linalg.norm(direction)
    normal = np.array([0.0, 1.0, 0.0]) + rng.uniform(-0.3, 0.3, 3)
    normal -= (normal @ direction) * direction
    normal /= np.linalg.norm(normal)
    size = rng.uniform(0.11, 0.15)
    t = np.linspace(0.0, 1.0, 24)[:, None]
    path = root + size * t * direction - 0.25 * size * t**2 * normal
    outline = np.sin(np.pi * t[:, 0] ** 0.75) * 0.34 * size + 1e-3
    green = ("#4f9a3a", "#7fb03c", "#3d7f3f", "#c9a227")[int(rng.integers(4))]
    return Part(
        meshes.blade(path, outline, 0.005, np.cross(normal, direction)), lambda c: _leaf_paint(c, green)
    )


def _leaf_paint(c: Array, green: str) -> Array:
    _, turn, fraction = c.T
    across = np.cos(2.0 * np.pi * turn)
    veins = stripes(fraction - 0.25 * np.abs(across), 0.14, 0.2)
    base = mix(green, "#e3e9a0", 0.75 * veins)
    base = mix(base, "#f0f2c4", band(across, -0.09, 0.09, 0.03))
    return mix(base, "#24451b", 0.7 * band(np.abs(across), 0.88, 2.0, 0.04))

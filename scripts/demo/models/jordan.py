"""A high-top sneaker: cupped sole, panelled upper with stitching, laces, padded collar and tongue.

Model frame: toe at +x, heel at -x, +y up, outer side at +z; the shoe is one unit long.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scripts.demo import meshes, sdf
from scripts.demo.meshes import Mesh
from scripts.demo.noise import fbm
from scripts.demo.rendering import Model, Part, build_model
from scripts.demo.sdf import Sdf
from scripts.demo.textures import (
    band,
    checks,
    color,
    grain,
    label_image,
    mix,
    solid,
    speckle,
    stamp,
    stripes,
    weave,
)

Array = NDArray[np.float64]

__all__ = ["build"]

_LENGTHWISE = np.array([-0.5, -0.49, -0.46, -0.40, -0.25, -0.05, 0.12, 0.27, 0.38, 0.45, 0.485, 0.5])
_HALF_WIDTH = np.array([0.02, 0.06, 0.095, 0.122, 0.130, 0.122, 0.142, 0.160, 0.138, 0.095, 0.055, 0.015])
_TOP = np.array([0.30, 0.34, 0.38, 0.42, 0.43, 0.36, 0.285, 0.225, 0.19, 0.155, 0.12, 0.10])
_THROAT = np.array(
    [
        [0.25, 0.245],
        [0.16, 0.285],
        [0.07, 0.34],
        [0.0, 0.405],
        [-0.05, 0.475],
        [-0.085, 0.545],
        [-0.105, 0.61],
    ]
)

_BLUE, _NAVY, _WHITE, _BLACK, _RED = "#1f5fd0", "#12306f", "#f2f0ea", "#2a2b31", "#d8352a"


def build() -> Model:
    """The whole shoe."""
    upper = _upper()
    return build_model(
        [
            Part(meshes.polygonise(upper, [-0.53, 0.0, -0.2], [0.53, 0.72, 0.2], 0.0075), _upper_paint),
            Part(meshes.polygonise(_sole(), [-0.56, -0.05, -0.24], [0.56, 0.2, 0.24], 0.0075), _sole_paint),
            Part(_tongue(), _tongue_paint),
            Part(_pull_tab(), _pull_tab_paint),
            *_lacing(upper),
        ]
    )


# -------------------------------------------------------------------- shape


def _midline(x: Array) -> Array:
    """Lateral position of the foot's centre line: toes turn in."""
    return np.interp(x, [-0.5, -0.1, 0.2, 0.5], [0.0, 0.008, 0.0, -0.035])


def _toe_spring(x: Array) -> Array:
    return 0.05 * np.clip((x - 0.22) / 0.28, 0.0, 1.0) ** 2


def _collar_height(x: Array) -> Array:
    return 0.585 + 0.28 * (x + 0.29)


def _foot(p: Array) -> Array:
    """Front and lower part: a superellipse arch over every station along the shoe."""
    x, y, z = p.T
    width = np.interp(x, _LENGTHWISE, 0.94 * _HALF_WIDTH) * np.interp(x, [-0.3, 0.1], [0.82, 1.0])
    top = np.interp(x, _LENGTHWISE, _TOP)
    level = np.maximum(y - 0.05, 0.0) / (top - 0.05)
    arch = (np.abs((z - _midline(x)) / width) ** 2.3 + level**2.3) ** (1.0 / 2.3)
    ends = np.maximum(np.abs(x) - 0.485, 0.02 - y)
    return np.maximum((arch - 1.0) * 0.6 * np.minimum(width, top), ends)


def _shaft(p: Array) -> Array:
    """Ankle part: elliptic sections around a slightly backward leaning axis."""
    x, y, z = p.T
    levels = [0.05, 0.2, 0.35, 0.5, 0.65]
    half_length = np.interp(y, levels, [0.165, 0.178, 0.170, 0.17, 0.185])
    half_width = np.interp(y, levels, [0.080, 0.095, 0.100, 0.102, 0.112])
    radial = np.sqrt(((x + 0.275 + 0.02 * y) / half_length) ** 2 + (z / half_width) ** 2)
    return np.maximum((radial - 1.0) * 0.85 * half_width, 0.06 - y)


def _solid_upper(p: Array) -> Array:
    padding = 0.010 * np.exp(-(((p[:, 1] - _collar_height(p[:, 0]) + 0.05) / 0.045) ** 2))
    above_sole = 0.062 + _toe_spring(p[:, 0]) - p[:, 1]
    return np.maximum(sdf.smooth_union([_foot, _shaft], 0.07)(p) - padding - _relief(p), above_sole)


def _relief(p: Array) -> Array:
    """Panels sewn on top stand out a little."""
    raised = np.zeros(len(p))
    for distance in (_heel_panel(p), _mudguard(p), _eyestay(p), _wave(p)):
        raised = np.maximum(raised, np.clip(-distance / 0.008, 0.0, 1.0))
    return 0.006 * raised


def _upper() -> Sdf:
    def cavity(p: Array) -> Array:
        return np.maximum(_shaft(p) + 0.022, 0.16 - p[:, 1])

    def above(p: Array) -> Array:
        return _collar_height(p[:, 0]) - p[:, 1]

    return sdf.smooth_subtract(sdf.smooth_subtract(_solid_upper, above, 0.02), cavity, 0.02)


def _sole() -> Sdf:
    stations = np.concatenate([_LENGTHWISE, _LENGTHWISE[::-1]])
    sides = np.concatenate([_HALF_WIDTH, -_HALF_WIDTH[::-1]])
    outline = np.stack([stations * 1.01, _midline(stations) + sides], axis=1)
    slab = sdf.extrude(outline, 0.058, rounding=0.014)

    def field(p: Array) -> Array:
        x, y, z = p.T
        height = y - _toe_spring(x) - 0.045
        rim = np.interp(x, [-0.5, -0.35, 0.3, 0.5], [0.022, 0.0, 0.0, 0.02])
        groove = 0.004 * np.exp(-(((height + 0.025) / 0.006) ** 2))
        lugs = 0.006 * stripes(x + 0.5 * np.abs(z), 0.05, 0.35) * (height < -0.035)
        return slab(np.stack([x, z, height - 0.5 * rim], axis=1)) - 0.3 * rim + groove + lugs

    return field


def _tongue() -> Mesh:
    path = meshes.smooth_path(
        [[0.02, 0.33, 0], [-0.055, 0.47, 0], [-0.105, 0.60, 0], [-0.115, 0.68, 0], [-0.10, 0.735, 0]], 40
    )
    widths = np.interp(np.linspace(0, 1, 40), [0, 0.6, 0.85, 0.96, 1.0], [0.05, 0.062, 0.07, 0.06, 0.02])
    depths = np.interp(np.linspace(0, 1, 40), [0, 0.9, 1.0], [0.018, 0.018, 0.006])
    return meshes.tube(path, np.stack([widths, depths], axis=1), sides=40, side=[0, 0, 1])


def _pull_tab() -> Mesh:
    path = meshes.smooth_path(
        [[-0.462, 0.47, 0], [-0.478, 0.52, 0], [-0.48, 0.57, 0], [-0.455, 0.585, 0], [-0.44, 0.55, 0]], 30
    )
    return meshes.tube(path, np.tile([0.026, 0.006], (30, 1)), sides=20, side=[0, 0, 1])


def _lacing(upper: Sdf) -> list[Part]:
    """Criss-cross laces, eyelet rings and a bow, laid on the surface of the upper."""
    throat = meshes.smooth_path(_THROAT, 7)
    flat = np.zeros((7, 1))
    rows = {}
    for side in (-1.0, 1.0):
        guess = np.concatenate([throat, flat + side * 0.062], axis=1)
        rows[side] = sdf.project_to_surface(upper, guess)
    cords = []
    for i in range(7):
        cords.append(_cord(upper, rows[-1.0][0][i], rows[1.0][0][i]))
        if i < 6:
            cords.append(_cord(upper, rows[-1.0][0][i], rows[1.0][0][i + 1]))
            cords.append(_cord(upper, rows[1.0][0][i], rows[-1.0][0][i + 1]))
    rings = [_eyelet(p, n) for side in rows for p, n in zip(*rows[side], strict=True)]
    knot = 0.5 * (rows[-1.0][0][6] + rows[1.0][0][6]) + np.array([0.05, 0.0, 0.0])
    bow = [_bow_loop(knot, side) for side in (-1.0, 1.0)] + [_bow_end(knot, side) for side in (-1.0, 1.0)]
    return [
        Part(meshes.join(cords), _lace_paint),
        Part(meshes.join(rings), lambda c: solid("#c9ccd2", len(c))),
        Part(meshes.join(bow), _lace_paint),
    ]


def _cord(upper: Sdf, start: Array, end: Array) -> Mesh:
    t = np.linspace(0.0, 1.0, 14)[:, None]
    points, normals = sdf.project_to_surface(upper, start + (end - start) * t)
    lift = 0.006 + 0.020 * np.sin(np.pi * t)
    radii = np.tile([0.0105, 0.0055], (14, 1))
    path = points + lift * normals
    along = np.cross(normals[7], end - start)
    return meshes.tube(path, radii, sides=10, side=along)


def _eyelet(point: Array, normal: Array) -> Mesh:
    angle = np.linspace(0.0, 2.0 * np.pi, 17)
    a = np.cross(normal, [0.0, 1.0, 0.0])
    a /= np.linalg.norm(a)
    b = np.cross(normal, a)
    ring = point + 0.003 * normal + 0.013 * (np.cos(angle)[:, None] * a + np.sin(angle)[:, None] * b)
    return meshes.tube(ring, 0.005, sides=8)


def _bow_loop(knot: Array, side: float) -> Mesh:
    shape = np.array(
        [
            [0, 0, 0],
            [0.02, 0.03, 0.05],
            [0.03, 0.02, 0.10],
            [0.05, -0.03, 0.115],
            [0.04, -0.03, 0.06],
            [0, 0, 0],
        ]
    )
    path = meshes.smooth_path(knot + shape * [1.0, 1.0, side], 40)
    return meshes.tube(path, 0.0085, sides=10)


def _bow_end(knot: Array, side: float) -> Mesh:
    shape = np.array([[0, 0, 0], [0.035, -0.03, 0.03], [0.05, -0.09, 0.055], [0.085, -0.14, 0.09]])
    return meshes.tube(meshes.smooth_path(knot + shape * [1.0, 1.0, side], 24), 0.0075, sides=10)


# -------------------------------------------------------------------- panels: signed distances on the upper


def _heel_panel(p: Array) -> Array:
    x, y, _ = p.T
    return sdf.polygon_distance(
        np.stack([x, y], axis=1),
        [[-0.7, 0.0], [-0.18, 0.0], [-0.20, 0.14], [-0.30, 0.26], [-0.37, 0.40], [-0.7, 0.42]],
    )


def _mudguard(p: Array) -> Array:
    x, y, _ = p.T
    return sdf.polygon_distance(
        np.stack([x, y], axis=1),
        [[0.06, 0.0], [0.12, 0.13], [0.26, 0.145], [0.38, 0.14], [0.43, 0.175], [0.7, 0.2], [0.7, 0.0]],
    )


def _throat_distance(p: Array) -> Array:
    """Signed distance to the lacing opening along the instep."""
    x, y, z = p.T
    front = np.interp(y, _THROAT[:, 1], _THROAT[:, 0])
    beside = np.abs(z) - 0.045
    beyond = np.maximum(x - 0.25, front - 0.16 - x)
    outside = np.hypot(np.maximum(beside, 0.0), np.maximum(beyond, 0.0))
    return outside + np.minimum(np.maximum(beside, beyond), 0.0)


def _eyestay(p: Array) -> Array:
    return np.maximum(_throat_distance(p) - 0.048, -_throat_distance(p))


def _collar(p: Array) -> Array:
    return _collar_height(p[:, 0]) - 0.10 - p[:, 1]


def _wave(p: Array) -> Array:
    """A tapering wave along each side, another one on the inner side."""
    x, y, z = p.T
    outer = z > 0
    middle = np.where(outer, 0.185 + 0.055 * np.sin(11.0 * (x + 0.17)), 0.16 - 0.4 * (x + 0.02))
    half = np.where(outer, np.interp(x, [-0.36, -0.15, 0.17], [0.008, 0.036, 0.008]), 0.022)
    within = np.maximum(np.abs(x + 0.09) - 0.26, 0.03 - np.abs(z))
    return np.maximum(np.abs(y - middle) - half, within)


# -------------------------------------------------------------------- paint


def _panel(base: Array, paint: Array, distance: Array, p: Array, thread: str) -> Array:
    """Cover where distance < 0, with a dark seam at the edge and a dashed double line of thread inside it."""
    out = mix(base, paint, np.clip(-distance / 0.002 + 0.5, 0.0, 1.0))
    out = mix(out, "#0c0f18", 0.75 * np.clip(1.0 - np.abs(distance) / 0.0035, 0.0, 1.0))
    dashes = stripes(p[:, 0] + 0.83 * p[:, 1] + 0.6 * p[:, 2], 0.018, 0.62)
    return mix(out, thread, band(-distance, 0.010, 0.0145, 0.001) * dashes)


def _upper_paint(p: Array) -> Array:
    x, y, z = p.T
    mesh = mix("#e9e6de", "#aeb6c4", speckle(p, 55.0, 0.33, 4))
    knit = mix("#e9e6de", "#c3cad6", stripes(y + 0.35 * x, 0.022, 0.4)) * weave(x, y, 0.006, 0.25)
    base = np.where((x > 0.2)[:, None], mesh, knit)
    blue = color(_BLUE) * grain(p, 45.0, 0.25, 2)
    base = _panel(base, blue, _mudguard(p), p, "#f4f1e8")
    carbon = mix(_NAVY, "#3f74dd", checks(x + y, y - x, 0.035))
    base = _panel(base, carbon, _heel_panel(p), p, "#f4f1e8")
    base = _panel(base, color(_RED) * grain(p, 40.0, 0.2, 5), np.where(z > 0, _wave(p), 1.0), p, "#ffd6c9")
    bars = mix(_BLACK, _RED, stripes(x, 0.07, 0.5))
    base = _panel(base, bars, np.where(z < 0, _wave(p), 1.0), p, "#ffffff")
    base = _panel(base, color(_NAVY) * grain(p, 45.0, 0.3, 8), _eyestay(p), p, "#9fc0ff")
    base = mix(
        base, mix("#32343c", "#565a66", stripes(y, 0.02, 0.5)), np.clip(-_throat_distance(p) / 0.002, 0, 1)
    )
    collar = mix(_BLACK, "#4a5060", stripes(_collar(p), 0.022, 0.3)) * grain(p, 60.0, 0.3, 9)
    base = _panel(base, collar, _collar(p), p, "#e04b3c")
    base = _badges(base, p)
    inside = np.maximum(_shaft(p) + 0.012, 0.16 - y) < 0
    lining = mix("#a8332a", "#6d1c18", checks(x + z, y, 0.03))
    return np.where(inside[:, None], lining, base)


def _badges(base: Array, p: Array) -> Array:
    x, y, z = p.T
    for side, text, paper in ((1.0, "AGS", "#f3c53a"), (-1.0, "8V", "#f2f0ea")):
        radius = np.hypot(x + 0.27, y - 0.415)
        here = side * z > 0.02
        base = mix(base, paper, band(radius, -1.0, 0.058) * here)
        base = mix(base, "#15181f", band(radius, 0.048, 0.054) * here)
        image = label_image((128, 128), [(text, 0.5, 0.5, 0.36, "#15181f")])
        base = stamp(base, image, 0.5 + side * (x + 0.27) / 0.12, 0.5 - (y - 0.415) / 0.12, here)
    number = label_image((160, 80), [("VIEW 23", 0.5, 0.5, 0.42, "#ffffff")])
    return stamp(base, number, 0.5 + z / 0.13, 0.5 - (y - 0.27) / 0.07, x < -0.44)


def _sole_paint(p: Array) -> Array:
    x, y, z = p.T
    height = y - _toe_spring(x)
    ribs = stripes(x, 0.022, 0.45) * band(height, 0.035, 0.075, 0.002) * ((x > 0.18) | (x < -0.33))
    base = mix(_WHITE, "#c9c3b4", ribs) * grain(p, 20.0, 0.08, 12)
    base = mix(base, _RED, band(height, 0.066, 0.076, 0.002))
    base = mix(base, _NAVY, band(height, 0.031, 0.036, 0.002))
    dots = (
        speckle(np.stack([x, height, z], axis=1), 60.0, 0.3, 21)
        * band(height, 0.036, 0.066)
        * (np.abs(x + 0.08) < 0.2)
    )
    base = mix(base, _BLUE, dots)
    tread = mix(_BLUE, "#0d2457", stripes(x + 0.5 * np.abs(z), 0.05, 0.35))
    gum = mix("#1f5fd0", "#123a8a", stripes(x, 0.03, 0.5))
    base = np.where((height < 0.022)[:, None], gum, base)
    base = np.where((height < -0.005)[:, None], tread, base)
    return base * (0.92 + 0.16 * fbm(p * 30.0, 2, 3)[:, None])


def _tongue_paint(c: Array) -> Array:
    length, turn, fraction = c.T
    across = np.cos(2.0 * np.pi * turn)
    base = mix("#d3332a", "#8f1d18", stripes(length, 0.02, 0.5)) * weave(length, across * 0.06, 0.008, 0.3)
    base = mix(base, "#f2f0ea", band(np.abs(across), 0.80, 0.88, 0.02))
    image = label_image(
        (160, 110),
        [("SPARSE", 0.5, 0.32, 0.26, "#ffffff"), ("high top", 0.5, 0.7, 0.2, "#f3c53a")],
        background="#14161d",
    )
    front = np.sin(2.0 * np.pi * turn)
    base = stamp(base, image, 0.5 - across * 0.7, (0.94 - fraction) / 0.2, front > 0)
    return stamp(base, image, 0.5 + across * 0.7, (0.94 - fraction) / 0.2, front < 0)


def _pull_tab_paint(c: Array) -> Array:
    return mix("#f3c53a", "#15181f", stripes(c[:, 0] + 0.02 * np.cos(2 * np.pi * c[:, 1]), 0.03, 0.4))


def _lace_paint(c: Array) -> Array:
    twill = stripes(c[:, 0] + 0.02 * c[:, 1], 0.02, 0.3)
    return mix("#f7f5ee", "#2b59b8", twill)

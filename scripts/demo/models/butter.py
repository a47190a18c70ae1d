"""A spray bottle of melted butter: moulded body, trigger head, different labels front and back.

Model frame: +y up, +z towards the front label, nozzle along +x; units are roughly centimetres / 10.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from scripts.demo import meshes, sdf
from scripts.demo.meshes import Mesh
from scripts.demo.noise import hash_unit
from scripts.demo.rendering import Model, Part, build_model
from scripts.demo.textures import band, checks, grain, label_image, linear_image, mix, stamp, stripes

Array = NDArray[np.float64]

__all__ = ["build"]

_PROFILE = np.array(  # height, half width along x, half width along z
    [
        [0.00, 0.30, 0.17],
        [0.015, 0.335, 0.195],
        [0.05, 0.35, 0.21],
        [0.30, 0.365, 0.215],
        [0.55, 0.36, 0.212],
        [0.72, 0.335, 0.205],
        [0.84, 0.27, 0.185],
        [0.93, 0.18, 0.15],
        [0.99, 0.125, 0.12],
        [1.02, 0.115, 0.115],
        [1.06, 0.115, 0.115],
    ]
)


def build() -> Model:
    """The whole bottle."""
    front, back = _front_label(), _back_label()
    return build_model(
        [
            Part(_body(), lambda p: _body_paint(p, front, back)),
            Part(_collar(), _collar_paint),
            Part(_head(), _head_paint),
            Part(_trigger(), _trigger_paint),
            Part(_nozzle(), _nozzle_paint),
        ]
    )


# -------------------------------------------------------------------- shape


def _body() -> Mesh:
    rows = meshes.smooth_path(_PROFILE, 90)
    angle = np.linspace(0.0, 2.0 * np.pi, 160, endpoint=False)
    exponent = 2.0 / np.interp(rows[:, 0], [0.75, 1.0], [3.6, 2.0])[:, None]
    sine, cosine = np.sin(angle)[None], np.cos(angle)[None]
    x = rows[:, 1:2] * np.sign(sine) * np.abs(sine) ** exponent
    z = rows[:, 2:3] * np.sign(cosine) * np.abs(cosine) ** exponent
    mesh = meshes.loft(np.stack([x, np.broadcast_to(rows[:, :1], x.shape), z], axis=-1))
    return Mesh(mesh.vertices, mesh.faces, mesh.normals, mesh.vertices)


def _collar() -> Mesh:
    profile = [
        [0.135, 1.02],
        [0.15, 1.03],
        [0.155, 1.05],
        [0.155, 1.15],
        [0.145, 1.165],
        [0.09, 1.17],
        [0.085, 1.24],
    ]
    mesh = meshes.lathe(profile, sides=96)
    return Mesh(mesh.vertices, mesh.faces, mesh.normals, mesh.vertices)


def _head() -> Mesh:
    outline = [
        [-0.19, 1.24], [-0.11, 1.19], [0.08, 1.19], [0.12, 1.27], [0.30, 1.30],
        [0.32, 1.34], [0.32, 1.42], [0.28, 1.46], [0.02, 1.47], [-0.14, 1.43], [-0.22, 1.34],
    ]  # fmt: skip
    block = sdf.extrude(np.array(outline), 0.075, rounding=0.025)
    barrel = sdf.transform(
        sdf.cylinder(0.075, 0.19, 0.02), meshes.translation(0.16, 1.375, 0.0) @ meshes.rotation([0, 0, 1], 90)
    )
    field = sdf.smooth_union([block, barrel], 0.03)
    return meshes.polygonise(field, [-0.3, 1.1, -0.16], [0.42, 1.55, 0.16], 0.0075)


def _trigger() -> Mesh:
    path = meshes.smooth_path(
        [[0.20, 1.32, 0], [0.215, 1.22, 0], [0.20, 1.12, 0], [0.215, 1.02, 0], [0.27, 0.94, 0]], 40
    )
    widths = np.interp(np.linspace(0, 1, 40), [0, 0.2, 0.85, 1], [0.055, 0.06, 0.05, 0.03])
    return meshes.tube(path, np.stack([widths, 0.55 * widths], axis=1), sides=24, side=[0, 0, 1])


def _nozzle() -> Mesh:
    profile = [
        [0.05, 0.0],
        [0.07, 0.01],
        [0.075, 0.02],
        [0.068, 0.10],
        [0.06, 0.115],
        [0.03, 0.115],
        [0.02, 0.10],
    ]
    mesh = meshes.lathe(profile, sides=40)
    return meshes.place(mesh, meshes.translation(0.345, 1.375, 0.0) @ meshes.rotation([0, 0, 1], -90))


# -------------------------------------------------------------------- paint


def _front_label() -> Array:
    canvas = Image.new("RGBA", (560, 520), "#fff6d8")
    draw = ImageDraw.Draw(canvas)
    draw.rectangle([0, 0, 560, 70], fill="#0b3c8c")
    draw.rectangle([0, 440, 560, 520], fill="#1f7a34")
    for i in range(14):
        draw.polygon([(40 * i, 440), (40 * i + 20, 415), (40 * i + 40, 440)], fill="#1f7a34")
    draw.ellipse([330, 250, 540, 430], fill="#c7d8ee", outline="#0b3c8c", width=6)
    draw.polygon([(360, 330), (440, 290), (515, 330), (435, 375)], fill="#ffd94a", outline="#b98a00")
    draw.polygon([(360, 330), (435, 375), (435, 405), (360, 360)], fill="#f2b91d", outline="#b98a00")
    draw.polygon([(435, 375), (515, 330), (515, 360), (435, 405)], fill="#d99a0b", outline="#b98a00")
    for i in range(12):
        a = 2 * np.pi * i / 12
        draw.line(
            [(60 + 16 * np.cos(a), 120 + 16 * np.sin(a)), (60 + 34 * np.cos(a), 120 + 34 * np.sin(a))],
            "#e2571e",
            7,
        )
    draw.ellipse([46, 106, 74, 134], fill="#e2571e")
    text = [
        ("GOLDEN CHURN", 0.5, 0.067, 0.09, "#ffffff"),
        ("Butter", 0.52, 0.36, 0.27, "#b3161b"),
        ("SPRAY", 0.27, 0.60, 0.13, "#0b3c8c"),
        ("0 calories per serving", 0.30, 0.72, 0.05, "#333333"),
        ("made with real cream", 0.30, 0.78, 0.05, "#333333"),
        ("NET 8 FL OZ  (236 ml)", 0.5, 0.925, 0.075, "#ffffff"),
    ]
    return _over(linear_image(canvas), label_image((560, 520), text))


def _back_label() -> Array:
    canvas = Image.new("RGBA", (560, 520), "#f4f1e6")
    draw = ImageDraw.Draw(canvas)
    draw.rectangle([0, 0, 560, 60], fill="#b3161b")
    draw.rectangle([20, 80, 270, 400], outline="#111111", width=5)
    for i in range(9):
        draw.line([20, 130 + 30 * i, 270, 130 + 30 * i], fill="#111111", width=3 if i % 3 else 9)
    bars = hash_unit(np.stack([np.arange(34)] * 3, axis=1), 5)
    for i, bar in enumerate(bars):
        draw.rectangle([310 + 6 * i, 300, 310 + 6 * i + (2 if bar < 0.5 else 4), 400], fill="#000000")
    draw.rectangle([0, 430, 560, 520], fill="#f2b91d")
    text = [
        ("Shake well before use", 0.5, 0.058, 0.075, "#ffffff"),
        ("Nutrition Facts", 0.26, 0.205, 0.07, "#111111"),
        *((f"Item {k}    {7 * k % 11} g", 0.25, 0.285 + 0.0577 * k, 0.042, "#222222") for k in range(8)),
        ("Pan  Grill  Toast", 0.77, 0.20, 0.055, "#0b3c8c"),
        ("Hold upright, press", 0.745, 0.29, 0.046, "#333333"),
        ("the trigger and enjoy", 0.745, 0.35, 0.046, "#333333"),
        ("on vegetables, corn", 0.745, 0.41, 0.046, "#333333"),
        ("and warm bread.", 0.745, 0.47, 0.046, "#333333"),
        ("KEEP REFRIGERATED", 0.5, 0.91, 0.08, "#8c1014"),
    ]
    return _over(linear_image(canvas), label_image((560, 520), text))


def _over(paper: Array, ink: Array) -> Array:
    return ink + paper * (1.0 - ink[..., 3:])


def _body_paint(p: Array, front: Array, back: Array) -> Array:
    x, y, z = p.T
    swirl = np.sin(26.0 * y + 5.0 * np.sin(9.0 * x + 4.0 * z))
    base = mix("#f3c21c", "#e0a30c", 0.5 + 0.5 * swirl) * grain(p, 9.0, 0.12, 3)
    angle = np.arctan2(x, z)
    drip = (
        0.80
        + 0.035 * np.sin(7.0 * angle + 0.8)
        + 0.03 * np.sin(13.0 * angle)
        + 0.02 * np.sin(4.0 * angle + 2.0)
    )
    cream = mix("#ffe7a3", "#f7d271", stripes(y + 0.02 * np.sin(9.0 * angle), 0.045, 0.5))
    base = mix(base, cream, y > drip)
    base = mix(base, "#a9690a", band(y - drip, -0.006, 0.002, 0.002))
    base = mix(base, "#c98608", band(y, 0.045, 0.06, 0.004))
    side = (np.abs(x) > 0.30) & (y > 0.08) & (y < 0.70)
    pattern = checks(y, z, 0.09)
    ribbon = np.where(
        (x > 0)[:, None],
        mix("#0b3c8c", "#f7e9b0", pattern),
        mix("#1f7a34", "#f7e9b0", stripes(y + 0.8 * z, 0.07)),
    )
    base = np.where((side & (np.abs(z) < 0.115))[:, None], ribbon, base)
    rows = (y > 0.10) & (y < 0.69)
    edge = rows & (np.abs(x) < 0.30)
    base = np.where((edge & (np.abs(x) > 0.285))[:, None], mix("#ffffff", "#0b3c8c", stripes(y, 0.03)), base)
    u, v = (x + 0.285) / 0.57, (0.69 - y) / 0.59
    base = stamp(base, front, u, v, z > 0)
    return stamp(base, back, 1.0 - u, v, z < 0)


def _collar_paint(p: Array) -> Array:
    angle = np.arctan2(p[:, 0], p[:, 2])
    ribs = stripes(angle, 2.0 * np.pi / 36, 0.6) * band(p[:, 1], 1.05, 1.15)
    red = stripes(angle, 2.0 * np.pi / 3, 0.33) * band(p[:, 1], 1.05, 1.15)
    return mix(mix("#d8dde6", "#9aa6b8", ribs), mix("#c43a2b", "#e8705f", ribs), red)


def _head_paint(p: Array) -> Array:
    x, y, z = p.T
    base = mix("#1746a8", "#0d2f7d", stripes(y - 0.2 * x, 0.028, 0.45)) * grain(p, 14.0, 0.15, 11)
    base = mix(base, "#f5d24a", band(y, 1.345, 1.405, 0.003) * band(x, -0.16, 0.10, 0.003) * (z > 0.05))
    base = mix(base, "#e8eef8", band(y, 1.345, 1.405, 0.003) * band(x, -0.16, 0.10, 0.003) * (z < -0.05))
    marks = label_image((260, 60), [("PRESS", 0.5, 0.5, 0.85, "#b3161b")])
    base = stamp(base, marks, (x + 0.15) / 0.24, (1.402 - y) / 0.055, z > 0.05)
    arrow = label_image((260, 60), [("ON >> OFF", 0.5, 0.5, 0.8, "#0d2f7d")])
    base = stamp(base, arrow, (0.09 - x) / 0.24, (1.402 - y) / 0.055, z < -0.05)
    return mix(base, "#7fa4f0", stripes(x, 0.035, 0.4) * band(z, -0.05, 0.05, 0.003) * (y > 1.44))


def _trigger_paint(c: Array) -> Array:
    ridges = stripes(c[:, 0], 0.032, 0.55)
    return mix("#d9362b", "#8f1a14", ridges) * (0.85 + 0.15 * np.cos(4.0 * np.pi * c[:, 1:2]))


def _nozzle_paint(c: Array) -> Array:
    knurl = stripes(c[:, 1], 1.0 / 20.0, 0.5) * band(c[:, 0], 0.012, 0.14, 0.001)
    return mix(mix("#f4f4f4", "#b9bec8", knurl), "#d9362b", band(c[:, 1], 0.1, 0.2) + band(c[:, 1], 0.6, 0.7))

"""A mobile robot: four-wheeled base, mast with a stereo camera head, jointed arm whose gripper holds a ball.

Model frame: +y up, front at +z; units are about 50 centimetres.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw

from scripts.demo import meshes, sdf
from scripts.demo.meshes import Mesh, rotation, translation
from scripts.demo.noise import hash_unit
from scripts.demo.rendering import Model, Part, Texture, build_model
from scripts.demo.textures import (
    band,
    checks,
    grain,
    label_image,
    linear_image,
    mix,
    solid,
    speckle,
    stamp,
    stripes,
)

Array = NDArray[np.float64]

__all__ = ["build"]

_HULL = np.array([0.27, 0.115, 0.37])
_DECK = np.array([0.20, 0.07, 0.24])
_HEAD = np.array([0.17, 0.085, 0.09])
_WHITE, _ORANGE, _DARK, _TEAL, _YELLOW = "#eef0ef", "#ef7d1a", "#2f343c", "#159a93", "#f6c90e"


def build() -> Model:
    """The whole robot."""
    return build_model([*_base(), *_wheels(), *_mast(), *_arm()])


# -------------------------------------------------------------------- base


def _base() -> list[Part]:
    hull = meshes.box(_HULL, 0.035, 0.014)
    deck = meshes.polygonise(_deck_field(), -_DECK - 0.03, _DECK + 0.03, 0.012)
    bumper = meshes.box([0.23, 0.05, 0.03], 0.02, 0.01)
    label = _label_images()
    return [
        Part(meshes.place(hull, translation(0.0, 0.23, 0.0)), lambda p: _hull_paint(p, label)),
        Part(meshes.place(deck, translation(0.0, 0.41, -0.06)), lambda p: _deck_paint(p, label)),
        Part(meshes.place(bumper, translation(0.0, 0.17, 0.385)), lambda p: _hazard_paint(p, _YELLOW)),
        Part(meshes.place(bumper, translation(0.0, 0.17, -0.385)), lambda p: _hazard_paint(p, "#f4f4f4")),
        *[_lamp(x, z) for x in (-0.19, 0.19) for z in (-0.372, 0.372)],
    ]


def _deck_field() -> sdf.Sdf:
    slots = sdf.repeat(sdf.box([0.2, 0.03, 0.010]), 2, 0.045, 4)
    return sdf.subtract(
        sdf.box(_DECK, 0.03), sdf.translate(sdf.mirror(sdf.translate(slots, [0.32, 0, 0]), 0), [0, 0, -0.06])
    )


def _lamp(x: float, z: float) -> Part:
    lens = meshes.lathe([[0.034, 0.0], [0.034, 0.02], [0.026, 0.03], [0.0, 0.036]], sides=24)
    turn = rotation([1, 0, 0], 90.0 if z > 0 else -90.0)
    code = "#fff3c4" if z > 0 else "#e23b2e"
    placed = meshes.place(lens, translation(x, 0.28, z) @ turn)
    return Part(placed, lambda c: mix(code, "#8a8f98", band(c[:, 0], -1.0, 0.021)))


def _label_images() -> dict[str, Array]:
    return {
        "left": label_image(
            (300, 110), [("AGS-07", 0.5, 0.36, 0.5, "#12181f"), ("explorer", 0.5, 0.8, 0.26, "#b3421a")]
        ),
        "right": label_image(
            (300, 110), [("ROVER", 0.5, 0.36, 0.48, "#ffffff"), ("unit 3 of 8", 0.5, 0.8, 0.24, "#f6c90e")]
        ),
        "warning": label_image((120, 120), [("!", 0.5, 0.5, 0.8, "#15181f")]),
        "front": label_image((200, 60), [("FRONT", 0.5, 0.5, 0.7, "#ffffff")]),
        "code": _matrix_code(14, 3),
        "screen": _screen(),
    }


def _matrix_code(cells: int, seed: int) -> Array:
    grid = np.stack(np.meshgrid(np.arange(cells), np.arange(cells), [0]), axis=-1).reshape(-1, 3)
    bits = (hash_unit(grid, seed) < 0.5).reshape(cells, cells)
    bits[:4, :4] = bits[:4, -4:] = bits[-4:, :4] = True
    bits[1:3, 1:3] = bits[1:3, -3:-1] = bits[-3:-1, 1:3] = False
    picture = np.kron(np.pad(bits, 1), np.ones((8, 8), dtype=bool))
    return linear_image(Image.fromarray(np.where(picture, 20, 245).astype(np.uint8)))


def _screen() -> Array:
    canvas = Image.new("RGBA", (240, 150), "#0b2230")
    draw = ImageDraw.Draw(canvas)
    for i in range(1, 6):
        draw.line([0, 25 * i, 240, 25 * i], fill="#1d4a5c", width=2)
        draw.line([40 * i, 0, 40 * i, 150], fill="#1d4a5c", width=2)
    curve = [(x, 75 - 40 * np.sin(x / 24.0) * np.exp(-x / 200.0)) for x in range(0, 240, 4)]
    draw.line(curve, fill="#57e389", width=6)
    draw.ellipse([160, 20, 215, 75], outline="#f6c90e", width=5)
    return linear_image(canvas)


def _hull_paint(p: Array, label: dict[str, Array]) -> Array:
    x, y, z = p.T
    base = mix(_WHITE, "#d5dad9", stripes(z + 0.3 * y, 0.05, 0.5)) * grain(p, 12.0, 0.08, 31)
    orange = (z + 0.6 * y < -0.10) & (z + 0.6 * y > -0.22)
    base = mix(base, _ORANGE, orange)
    base = mix(base, _TEAL, (x > 0) & (z > 0.20))
    base = mix(base, _DARK, (x < 0) & (z > 0.16) & (z < 0.30))
    for seam in (-0.24, 0.08, 0.30):
        base = mix(base, "#3c424c", band(z, seam - 0.0035, seam + 0.0035))
    base = mix(base, "#3c424c", band(y, -0.045, -0.039) * (np.abs(x) > 0.2))
    base = mix(base, "#596270", speckle(p, 22.0, 0.22, 6) * (y < -0.045))
    base = _side_stickers(base, p, label)
    ends = np.abs(z) > 0.355
    base = mix(
        base,
        mix("#3a404a", "#aab2bd", stripes(y, 0.025, 0.45)),
        ends * (np.abs(x) < 0.13) * (np.abs(y - 0.03) < 0.05),
    )
    base = stamp(base, label["front"], 0.5 + x / 0.3, (0.095 - y) / 0.055, ends & (z > 0))
    return mix(base, _hazard_paint(p, _TEAL), (y > 0.11) * (np.abs(x) > 0.205))


def _side_stickers(base: Array, p: Array, label: dict[str, Array]) -> Array:
    x, y, z = p.T
    right, left = x > 0.25, x < -0.25
    base = mix(base, "#c6341f", left * band(z, -0.18, 0.10) * band(y, -0.03, 0.09))
    base = stamp(base, label["left"], 0.5 - (z - 0.0) / 0.28, (0.09 - y) / 0.11, right)
    base = stamp(base, label["right"], 0.5 + (z + 0.04) / 0.28, (0.09 - y) / 0.11, left)
    base = mix(base, _YELLOW, band(np.abs(x), 0.25, 1.0) * (np.hypot(z - 0.26, y - 0.03) < 0.042))
    return stamp(
        base,
        label["warning"],
        0.5 - np.sign(x) * (z - 0.26) / 0.08,
        0.5 - (y - 0.03) / 0.08,
        np.abs(x) > 0.25,
    )


def _deck_paint(p: Array, label: dict[str, Array]) -> Array:
    x, y, z = p.T
    base = mix("#f08a2c", "#d96d10", checks(x + z, z - x, 0.07)) * grain(p, 16.0, 0.1, 17)
    base = mix(base, _DARK, band(y, -0.02, 0.0) + band(y, -0.05, -0.043))
    base = mix(
        base,
        "#1f252c",
        (np.abs(x) < 0.195) * (np.abs(z + 0.06) < 0.1) * (np.abs(x) > 0.12) * (np.abs(y) < 0.03),
    )
    top = y > 0.055
    base = np.where(top[:, None], mix("#e7eaea", "#c4caca", stripes(x, 0.04, 0.5)), base)
    base = mix(base, mix(_TEAL, "#0d5f5b", stripes(x + z, 0.03)), top * (x > 0.08) * (z < -0.02))
    base = stamp(base, label["screen"], (x + 0.17) / 0.2, (z + 0.20) / 0.15, top)
    base = stamp(base, label["code"], (0.09 - x) / 0.18, (0.055 - y) / 0.11, z < -0.22)
    base = stamp(base, label["code"], (z - 0.02) / 0.11, (0.055 - y) / 0.11, x < -0.18)
    buttons = np.mod(x / 0.05, 1.0)
    lit = (np.hypot(buttons - 0.5, (y - 0.02) / 0.05) < 0.32) & (z > 0.22)
    return mix(
        base,
        np.where((np.floor(x / 0.05) % 2 > 0)[:, None], solid("#e23b2e", len(x)), solid("#34c759", len(x))),
        lit,
    )


def _hazard_paint(p: Array, code: str) -> Array:
    return mix(code, "#1d2026", stripes(p[:, 0] + p[:, 1] + p[:, 2], 0.08, 0.5))


def _wheels() -> list[Part]:
    profile = [
        [0.035, 0.062], [0.085, 0.058], [0.10, 0.045], [0.115, 0.052], [0.145, 0.05], [0.158, 0.035],
        [0.16, 0.0], [0.158, -0.035], [0.145, -0.05], [0.115, -0.052], [0.10, -0.045], [0.035, -0.05],
    ]  # fmt: skip
    wheel = meshes.lathe(profile, sides=72)
    wheel = Mesh(wheel.vertices, wheel.faces, wheel.normals, wheel.vertices)
    parts = []
    for number, (x, z) in enumerate([(-0.325, 0.23), (-0.325, -0.23), (0.325, 0.23), (0.325, -0.23)]):
        turn = rotation([0, 0, 1], -90.0 if x > 0 else 90.0) @ rotation([0, 1, 0], 23.0 * number)
        parts.append(Part(meshes.place(wheel, translation(x, 0.16, z) @ turn), _wheel_paint(number)))
    return parts


def _wheel_paint(number: int) -> Texture:
    spoke = (_ORANGE, _TEAL, _YELLOW, "#d8dde2")[number]

    def texture(p: Array) -> Array:
        angle, radius = np.arctan2(p[:, 0], p[:, 2]), np.hypot(p[:, 0], p[:, 2])
        lugs = stripes(angle + 6.0 * np.abs(p[:, 1]), 2.0 * np.pi / 22, 0.5)
        base = mix("#2b2d31", "#5a5e66", lugs)
        ring = stripes(angle, 2.0 * np.pi / 9, 0.55)
        base = mix(base, "#e9e9e4", band(radius, 0.118, 0.138) * ring)
        hub = mix("#7d848e", spoke, stripes(angle, 2.0 * np.pi / 5, 0.5))
        return np.where((radius < 0.103)[:, None], mix(hub, "#22262c", radius < 0.03), base)

    return texture


# -------------------------------------------------------------------- mast and head


def _mast() -> list[Part]:
    pole = meshes.lathe(
        [[0.06, 0.46], [0.06, 0.50], [0.038, 0.51], [0.036, 0.84], [0.05, 0.85], [0.05, 0.87]], sides=40
    )
    head = meshes.box(_HEAD, 0.035, 0.008)
    tilt = translation(-0.06, 0.945, -0.14) @ rotation([0, 1, 0], 8) @ rotation([1, 0, 0], 8)
    eye = meshes.lathe(
        [[0.062, 0.0], [0.062, 0.035], [0.052, 0.045], [0.045, 0.035], [0.02, 0.042], [0.0, 0.045]], sides=40
    )
    aim = rotation([1, 0, 0], 90)
    antenna = meshes.tube(
        meshes.smooth_path([[0.12, 0.08, -0.03], [0.13, 0.13, -0.04], [0.12, 0.18, -0.06]], 20),
        0.009,
        sides=10,
    )
    ball = meshes.polygonise(sdf.sphere(0.03), [-0.05] * 3, [0.05] * 3, 0.006)
    ear = meshes.lathe([[0.05, 0.0], [0.05, 0.02], [0.035, 0.03], [0.0, 0.03]], sides=30)
    sides = [(-0.165, 90.0), (0.165, -90.0)]
    return [
        Part(meshes.place(pole, translation(-0.06, 0.0, -0.14)), _pole_paint),
        Part(meshes.place(head, tilt), _head_paint),
        *[
            Part(meshes.place(eye, tilt @ translation(x, 0.0, 0.08) @ aim), _eye_paint)
            for x in (-0.085, 0.085)
        ],
        *[
            Part(meshes.place(ear, tilt @ translation(x, 0.0, 0.0) @ rotation([0, 0, 1], a)), _ear_paint)
            for x, a in sides
        ],
        Part(meshes.place(antenna, tilt), lambda c: mix("#e8e8e8", "#2b2d31", stripes(c[:, 0], 0.04))),
        Part(
            meshes.place(ball, tilt @ translation(0.12, 0.20, -0.06)),
            lambda p: mix("#e23b2e", "#ffd7cf", stripes(p[:, 1], 0.03, 0.3)),
        ),
    ]


def _pole_paint(c: Array) -> Array:
    spiral = stripes(c[:, 0] + 0.12 * c[:, 1], 0.12, 0.5)
    ticks = stripes(c[:, 0], 0.02, 0.25) * band(c[:, 1], 0.4, 0.6)
    return mix(mix("#f2f2ee", _TEAL, spiral), "#15181f", ticks)


def _head_paint(p: Array) -> Array:
    x, y, z = p.T
    base = mix(_YELLOW, "#dba90a", stripes(x + y, 0.05, 0.5)) * grain(p, 18.0, 0.1, 41)
    base = mix(base, "#2a2f37", (z > 0.075) * (np.abs(y) < 0.07))
    base = mix(base, "#15181f", band(z, -0.012, -0.006) + band(z, 0.03, 0.036))
    vents = stripes(x, 0.03, 0.5) * (z < -0.08) * (np.abs(y + 0.02) < 0.03)
    base = mix(base, "#1d2026", vents)
    image = label_image((220, 60), [("CAM  HEAD", 0.5, 0.5, 0.7, "#b3161b")])
    base = stamp(base, image, 0.5 - x / 0.26, (0.07 - y) / 0.055, z < -0.08)
    arrows = label_image((160, 100), [(">>  8", 0.5, 0.5, 0.6, "#12306f")])
    return stamp(base, arrows, 0.5 + x / 0.26, 0.5 + z / 0.15, y > 0.075)


def _eye_paint(c: Array) -> Array:
    length, turn, _ = c.T
    ring = mix("#c9ced6", "#3b414b", stripes(turn, 1.0 / 24.0, 0.5))
    lens = mix("#1d6fd1", "#0a1730", band(length, 0.075, 0.105))
    glint = band(length, 0.07, 0.09) * band(turn, 0.55, 0.68)
    return np.where((length < 0.052)[:, None], ring, mix(lens, "#ffffff", glint))


def _ear_paint(c: Array) -> Array:
    return mix(_ORANGE, "#15181f", stripes(c[:, 1], 0.25, 0.5) * band(c[:, 0], 0.04, 0.2))


# -------------------------------------------------------------------- arm


def _arm() -> list[Part]:
    shoulder, elbow, wrist, grip = (
        np.array(v) for v in ([0.13, 0.52, 0.10], [0.16, 0.82, 0.10], [0.10, 0.74, 0.40], [0.08, 0.66, 0.48])
    )
    base = meshes.lathe([[0.085, 0.0], [0.085, 0.03], [0.065, 0.04], [0.06, 0.07], [0.0, 0.075]], sides=40)
    joint = meshes.lathe(
        [[0.0, -0.075], [0.058, -0.072], [0.062, -0.06], [0.062, 0.06], [0.058, 0.072], [0.0, 0.075]],
        sides=40,
    )
    flat = rotation([0, 0, 1], 90)
    joints = [(shoulder, 1.0), (elbow, 0.9), (wrist, 0.7)]
    ball = meshes.polygonise(sdf.sphere(0.07), [-0.09] * 3, [0.09] * 3, 0.008)
    return [
        Part(meshes.place(base, translation(0.13, 0.465, 0.10)), _base_ring_paint),
        *[
            Part(meshes.place(joint, translation(*p) @ flat @ np.diag([s, s, s, 1.0])), _joint_paint)
            for p, s in joints
        ],
        Part(_link(shoulder, elbow, 0.05, 0.04), lambda c: _link_paint(c, "#eef0ef", "#12306f", "R3")),
        Part(_link(elbow, wrist, 0.042, 0.032), lambda c: _link_paint(c, _ORANGE, "#3a1c05", "ARM")),
        Part(
            _link(wrist, grip, 0.03, 0.045), lambda c: mix("#3b414b", "#b9c0ca", stripes(c[:, 0], 0.03, 0.4))
        ),
        Part(_fingers(grip), lambda c: mix("#5b6470", _YELLOW, stripes(c[:, 0], 0.05, 0.35))),
        Part(meshes.place(ball, translation(*(grip + np.array([-0.005, -0.055, 0.085])))), _ball_paint),
    ]


def _link(start: ArrayLike, end: ArrayLike, first: float, last: float) -> Mesh:
    a, b = np.asarray(start, dtype=np.float64), np.asarray(end, dtype=np.float64)
    t = np.linspace(0.0, 1.0, 30)
    radii = (first + (last - first) * t) * (1.0 - 0.25 * np.sin(np.pi * t))
    return meshes.tube(
        a + t[:, None] * (b - a), np.stack([radii, 1.3 * radii], axis=1), sides=28, side=[1, 0, 0]
    )


def _fingers(grip: Array) -> Mesh:
    shape = np.array([[0.0, 0.0, 0.0], [0.085, -0.01, 0.04], [0.09, -0.05, 0.11], [0.055, -0.08, 0.16]])
    paths = [meshes.smooth_path(grip + shape * [side, 1.0, 1.0], 30) for side in (-1.0, 1.0)]
    return meshes.join(
        [meshes.tube(p, np.tile([0.016, 0.026], (30, 1)), sides=14, side=[1, 0, 0]) for p in paths]
    )


def _base_ring_paint(c: Array) -> Array:
    return mix("#cfd4da", "#e23b2e", stripes(c[:, 1], 1.0 / 12.0, 0.5) * band(c[:, 0], 0.0, 0.03))


def _joint_paint(c: Array) -> Array:
    bolts = (
        np.hypot(np.mod(c[:, 1] * 6, 1.0) - 0.5, (np.minimum(c[:, 0], 0.28 - c[:, 0]) - 0.035) / 0.03) < 0.28
    ) * 1.0
    stripe = stripes(c[:, 1], 1.0 / 16.0, 0.5) * band(c[:, 2], 0.42, 0.58)
    return mix(mix("#48505b", "#f6c90e", stripe), "#e8ebef", bolts)


def _link_paint(c: Array, paint: str, ink: str, text: str) -> Array:
    length, turn, fraction = c.T
    base = mix(paint, ink, band(fraction, 0.14, 0.18) + band(fraction, 0.80, 0.84))
    base = mix(base, ink, 0.35 * stripes(length, 0.016, 0.3) * band(np.mod(turn, 0.5), 0.16, 0.34, 0.01))
    image = label_image((160, 70), [(text, 0.5, 0.5, 0.8, ink)])
    base = stamp(base, image, (0.75 - fraction) / 0.5, 1.0 - np.mod(turn + 0.125, 1.0) / 0.25)
    return stamp(base, image, (fraction - 0.25) / 0.5, np.mod(turn + 0.625, 1.0) / 0.25)


def _ball_paint(p: Array) -> Array:
    sectors = np.floor(np.arctan2(p[:, 0], p[:, 2]) / (np.pi / 3)) % 2
    base = np.where((sectors > 0)[:, None], solid("#e23b2e", len(p)), solid("#f7f4ea", len(p)))
    return mix(base, "#1f5fd0", np.abs(p[:, 1]) > 0.052)

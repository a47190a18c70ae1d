"""Endless things as people photograph them: packages, vessels, tools, shoes, furniture, printed and bare.

Bodies are swept profiles; labels are graphics on an unrolled sheet, on the front, on the back or all around.
Materials are matte or mirror their surroundings. Some lie on their side, and some have taken the shadow on
their table along. Unlike `random_object`, many are symmetric, and some look alike from everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from agsrec.synthetic.paint_kernels import FAMILIES, PAINT_WIDTH
from agsrec.synthetic.random_objects import (
    PROFILE_POINTS,
    ROWS,
    SHAPE_WIDTH,
    SIDES,
    RandomObject,
    assemble_parts,
    random_lights,
)

__all__ = ["GOODS", "random_good"]

Array = NDArray[np.float64]
Chance = np.random.Generator

_TORUS, _LIMB, _SWEPT = 3, 4, 5
_BARE, _LYING, _SHADOW, _DARK, _GLOSSY = 0.3, 0.12, 0.12, 0.15, 0.4  # shares of all
_GRAPHICS = (
    "print",
    "print",
    "emblem",
    "emblem",
    "picture",
    "picture",
    "patches",
    "stripes",
    "checks",
    "speckle",
)
_MATERIALS = ("flat", "flat", "flat", "wood", "marble", "weave")

_EYE = np.eye(3)
_STANDING = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])  # a ring's axis becomes z
_ALONG_X = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])  # a sweep's axis becomes x
_ALONG_Z = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])


@dataclass
class _Parts:
    """Primitives and where they are; the first is the body, on which labels are."""

    shapes: list[Array] = field(default_factory=list)
    frames: list[Array] = field(default_factory=list)

    def sweep(
        self,
        size: tuple[float, float, float],
        profile: tuple[float, ...] = (1.0, 1.0),
        *,
        at: tuple[float, float, float] = (0.0, 0.0, 0.0),
        turn: Array = _EYE,
        section: float = 1.0,
        opening: float = 0.0,
        bend: float = 0.0,
    ) -> None:
        """Add a profile of radii along y; `section` 1 is round and near 0 square."""
        row = np.zeros(SHAPE_WIDTH)
        row[0], row[1:4], row[4], row[7], row[15] = _SWEPT, size, section, bend, opening
        row[16:] = np.interp(np.linspace(0, 1, PROFILE_POINTS), np.linspace(0, 1, len(profile)), profile)
        self._add(row, at, turn)

    def ring(self, radius: float, thickness: float, at: tuple[float, float, float], turn: Array) -> None:
        """Add a torus."""
        row = np.zeros(SHAPE_WIDTH)
        row[0], row[1:4], row[4] = _TORUS, radius, thickness
        self._add(row, at, turn)

    def limb(
        self, size: tuple[float, float, float], at: tuple[float, float, float], turn: Array, curve: float
    ) -> None:
        """Add a curved rod."""
        row = np.zeros(SHAPE_WIDTH)
        row[0], row[1:4], row[11], row[13] = _LIMB, size, curve, -0.4
        self._add(row, at, turn)

    def _add(self, row: Array, at: tuple[float, float, float], turn: Array) -> None:
        self.shapes.append(row)
        self.frames.append(np.concatenate([turn, np.reshape(at, (3, 1))], axis=1))


def random_good(seed: int) -> RandomObject:
    """The thing of a seed; equal seeds give equal things."""
    chance = np.random.default_rng((5, seed))
    kind = GOODS[int(chance.integers(len(GOODS)))]
    parts = _Parts()
    kind(parts, chance)
    shaded = chance.random() < _SHADOW
    if shaded:
        _add_shadow(parts)
    return _painted(parts, chance, shaded=shaded)


# -------------------------------------------------------------------- kinds of things


def _can(parts: _Parts, chance: Chance) -> None:
    radius = chance.uniform(0.25, 0.6)
    parts.sweep((radius, 0.6, radius), (0.9, 1, 1, 1, 1, 1, 1, 0.9))


def _bottle(parts: _Parts, chance: Chance) -> None:
    radius, neck, shoulder = chance.uniform(0.18, 0.35), chance.uniform(0.25, 0.5), chance.uniform(0.7, 1.0)
    section = 1.0 if chance.random() < 0.6 else chance.uniform(0.3, 0.7)
    waist = chance.uniform(0.8, 1.05)
    depth = radius * (1.0 if chance.random() < 0.6 else chance.uniform(0.45, 0.8))
    parts.sweep((radius, 0.6, depth), (0.95, 1, waist, waist, 1, shoulder, neck, neck), section=section)
    if chance.random() < 0.6:
        cap = 1.15 * neck * min(radius, depth)
        parts.sweep((cap, chance.uniform(0.04, 0.1), cap), at=(0.0, 0.62, 0.0))
    if chance.random() < 0.25:  # a sprayer
        parts.sweep((0.05, 0.14, 0.05), (1, 0.8), at=(0.1, 0.75, 0.0), turn=_ALONG_X)


def _jar(parts: _Parts, chance: Chance) -> None:
    radius, height = chance.uniform(0.3, 0.5), chance.uniform(0.3, 0.6)
    parts.sweep((radius, height, radius), (0.92, 1, 1, 1, 1, 1, 0.97, 0.8))
    lid = 0.85 * radius
    parts.sweep((lid, 0.08, lid), at=(0.0, height + 0.06, 0.0))


def _box(parts: _Parts, chance: Chance) -> None:
    width, height, depth = chance.uniform(0.15, 0.7, 3)
    parts.sweep((width, height, depth), section=chance.uniform(0.06, 0.25))


def _mug(parts: _Parts, chance: Chance) -> None:
    radius, height = chance.uniform(0.3, 0.45), chance.uniform(0.3, 0.55)
    foot = chance.uniform(0.6, 1.0)
    parts.sweep((radius, height, radius), (foot, 1, 1, 1), opening=chance.uniform(0.4, 0.9))
    grip = chance.uniform(0.45, 0.75) * height
    parts.ring(grip, chance.uniform(0.1, 0.2), (1.1 * radius, 0.0, 0.0), _STANDING)


def _teapot(parts: _Parts, chance: Chance) -> None:
    radius, height = chance.uniform(0.35, 0.5), chance.uniform(0.25, 0.45)
    parts.sweep((radius, height, radius), (0.6, 0.9, 1, 1, 0.95, 0.8, 0.5, 0.3))
    parts.ring(0.7 * height, 0.13, (1.05 * radius, 0.0, 0.0), _STANDING)
    tilt = np.deg2rad(chance.uniform(35, 60))
    turn = np.array([[np.cos(tilt), -np.sin(tilt), 0.0], [np.sin(tilt), np.cos(tilt), 0.0], [0.0, 0.0, 1.0]])
    parts.sweep((0.11, 0.3, 0.11), (1, 0.7, 0.5), at=(-radius - 0.05, 0.1, 0.0), turn=turn)
    parts.sweep((0.08, 0.08, 0.08), (0.5, 1, 0.5), at=(0.0, height + 0.05, 0.0))


def _vase(parts: _Parts, chance: Chance) -> None:
    profile = tuple(np.clip(chance.uniform(0.3, 1.0, 5), 0.3, 1.0))
    radius = chance.uniform(0.25, 0.45)
    parts.sweep((radius, 0.6, radius), profile, opening=0.3 if chance.random() < 0.6 else 0.0)
    if chance.random() < 0.5:
        for side in (-1.0, 1.0):
            parts.ring(0.16, 0.16, (side * 1.05 * radius, 0.15, 0.0), _STANDING)


def _shoe(parts: _Parts, chance: Chance) -> None:
    width, height = chance.uniform(0.16, 0.24), chance.uniform(0.14, 0.22)
    parts.sweep(
        (width, 0.6, height), (0.75, 0.95, 0.9, 0.8, 0.9, 1.0, 0.9, 0.5), turn=_ALONG_Z, section=0.75,
        bend=chance.uniform(-0.15, 0.15),
    )  # fmt: skip
    ankle = chance.uniform(0.12, 0.4)
    parts.sweep(
        (0.85 * width, ankle, 0.2), (1, 1, 0.9), at=(0.0, 0.6 * height + 0.6 * ankle, 0.36), section=0.8,
        opening=0.5,
    )  # fmt: skip
    parts.sweep(
        (1.05 * width, 0.62, 0.05), (0.7, 1, 0.9, 1, 0.6), at=(0.0, -height, 0.0), turn=_ALONG_Z, section=0.7
    )
    if chance.random() < 0.5:
        parts.sweep((0.1, 0.05, 0.02), at=(0.0, height, -0.1), section=0.3)


def _tool(parts: _Parts, chance: Chance) -> None:
    grip = chance.uniform(0.035, 0.09)
    parts.sweep((grip, 0.5, grip * chance.uniform(0.6, 1.0)), (0.8, 1, 0.85, 1, 0.9, 0.6), turn=_ALONG_X,
                section=chance.uniform(0.4, 1.0), bend=chance.uniform(-0.3, 0.3))  # fmt: skip
    head = int(chance.integers(4))
    end = (0.55, 0.0, 0.0)
    if head == 0:  # a hammer
        parts.sweep((0.09, 0.25, 0.09), (0.8, 1, 1, 0.3), at=end, turn=_ALONG_Z, section=0.5)
    elif head == 1:  # a pan
        radius = chance.uniform(0.3, 0.45)
        parts.sweep((radius, 0.06, radius), (0.85, 1), at=(0.5 + radius, 0.0, 0.0), opening=0.7)
    elif head == 2:  # a spanner
        parts.ring(0.14, 0.25, end, _EYE)
    else:  # a brush
        parts.sweep((0.12, 0.22, 0.06), (0.7, 1, 1, 0.9), at=(0.65, 0.0, 0.0), turn=_ALONG_X, section=0.6)


def _lamp(parts: _Parts, chance: Chance) -> None:
    shade, top = chance.uniform(0.2, 0.4), chance.uniform(0.3, 0.9)
    parts.sweep((shade, 0.2, shade), (1, top), at=(0.0, 0.5, 0.0))
    parts.sweep((0.03, 0.5, 0.03))
    foot = chance.uniform(0.15, 0.3)
    parts.sweep((foot, 0.04, foot), (1, 0.8), at=(0.0, -0.5, 0.0), section=chance.choice([0.2, 1.0]))
    if chance.random() < 0.6:  # an arm that tells its sides apart
        parts.limb((0.03, 0.3, 0.03), (0.15, 0.0, 0.0), _ALONG_X, 0.3)


def _chair(parts: _Parts, chance: Chance) -> None:
    width, seat = chance.uniform(0.28, 0.4), chance.uniform(0.03, 0.1)
    leg = chance.uniform(0.02, 0.045)
    parts.sweep((width, 0.3, chance.uniform(0.02, 0.06)), section=0.2, at=(0.0, 0.35, -width))
    parts.sweep((width, seat, width), section=0.2)
    for x in (-1.0, 1.0):
        for z in (-1.0, 1.0):
            parts.sweep((leg, 0.25, leg), (0.8, 1), at=(0.85 * x * width, -0.25, 0.85 * z * width))
    if chance.random() < 0.5:
        for x in (-1.0, 1.0):
            parts.sweep((0.03, width, 0.03), at=(x * width, 0.2, 0.0), turn=_ALONG_Z)


def _toy(parts: _Parts, chance: Chance) -> None:
    """A vehicle: a hull, a cabin and wheels."""
    length, width, height = chance.uniform(0.45, 0.6), chance.uniform(0.18, 0.26), chance.uniform(0.1, 0.18)
    parts.sweep((height, length, width), (0.8, 1, 1, 1, 0.7), turn=_ALONG_X, section=0.3)
    cabin = chance.uniform(-0.25, 0.25)
    parts.sweep((0.2, 0.12, 0.9 * width), (1, 0.75), at=(cabin, height + 0.08, 0.0), section=0.3)
    wheel = chance.uniform(0.09, 0.15)
    for x in (-0.6, 0.6):
        for z in (-1.0, 1.0):
            at = (x * length, -height, z * width)
            parts.ring(wheel, 0.3, at, _STANDING)


GOODS: tuple[Callable[[_Parts, Chance], None], ...] = (
    _can, _bottle, _bottle, _jar, _box, _box, _mug, _teapot, _vase, _shoe, _tool, _lamp, _chair, _toy,
)  # fmt: skip
"""The kinds, each as likely as the others; those that people photograph most are there twice."""


def _add_shadow(parts: _Parts) -> None:
    """A dark disc under everything, a little wider."""
    reach = np.array([np.abs(f[:, :3]) @ s[1:4] for s, f in zip(parts.shapes, parts.frames, strict=True)])
    places = np.array([f[:, 3] for f in parts.frames])
    low, high = (places - reach).min(0), (places + reach).max(0)
    half = 0.55 * (high - low)
    middle = 0.5 * (high + low)
    parts.sweep((half[0], 0.004, half[2]), at=(middle[0], low[1], middle[2]))


# -------------------------------------------------------------------- what they look like


def _painted(parts: _Parts, chance: Chance, *, shaded: bool) -> RandomObject:
    """The mesh of parts with paints and light."""
    shapes, frames = np.stack(parts.shapes), np.stack(parts.frames)
    if not shaded and chance.random() < _LYING:
        frames = _any_turn(chance) @ frames
    bare = assemble_parts(shapes, frames, chance)
    _, alike = np.unique(shapes, axis=0, return_inverse=True)  # four wheels are of one material
    paints = [_material(chance) for _ in range(alike.max() + 1)]
    if shaded:
        paints[alike[-1]] = _plain(np.full(3, chance.uniform(0.01, 0.08)))
    part_ids, coords = alike[bare.part_ids].astype(np.int32), bare.coords.copy()
    bare_body = chance.random() < _BARE
    if not bare_body:
        coords[: (ROWS + 1) * (SIDES + 1)] = _unrolled(shapes[0])
        for side in _labelled_sides(chance):
            part_ids[_label_faces(chance, side)] = len(paints)
            paints.append(_label(chance, paints[alike[0]]))
    return replace(
        bare,
        coords=coords,
        part_ids=part_ids,
        paints=np.stack(paints),
        lights=random_lights(chance),
        alike=bare_body and _turned(shapes, frames) and all(paint[0] == 0 for paint in paints),
    )


def _turned(shapes: Array, frames: Array) -> bool:
    """Whether all parts are as from a lathe, about one upright axis."""
    round_parts = (shapes[:, 0] == _SWEPT) & (shapes[:, 4] == 1) & (shapes[:, 1] == shapes[:, 3])
    straight = (shapes[:, 7] == 0) & (np.abs(frames[:, :, :3] - _EYE).max((1, 2)) == 0)
    return bool((round_parts & straight & (frames[:, [0, 2], 3] == 0).all(1)).all())


def _any_turn(chance: Chance) -> Array:
    """A rotation [3, 3], any with equal chances."""
    q, r = np.linalg.qr(chance.standard_normal((3, 3)))
    q *= np.sign(np.diag(r))
    return q if np.linalg.det(q) > 0 else q[:, [1, 0, 2]]


def _unrolled(shape: Array) -> Array:
    """Paint coordinates of the body [vertices, 3] as on a sheet of paper: around it, and along it."""
    index = np.arange((ROWS + 1) * (SIDES + 1))
    angle = 2 * np.pi * (index % (SIDES + 1)) / SIDES - np.pi
    along = (index // (SIDES + 1)) / ROWS - 0.5
    girth = 0.5 * (shape[1] + shape[3])
    return np.stack([girth * angle, 2.8 * shape[2] * along, np.zeros_like(angle)], axis=1)


def _labelled_sides(chance: Chance) -> list[tuple[int, int]]:
    """Ranges of the quads around the body that have a label each."""
    half = SIDES // 2
    return {
        0: [(0, SIDES)],
        1: [(half - 4, half + 4)],
        2: [(half - 4, half + 4), (half + 5, half + 13)],
    }[int(chance.choice(3, p=[0.4, 0.25, 0.35]))]


def _label_faces(chance: Chance, sides: tuple[int, int]) -> NDArray[np.int64]:
    """Faces of the body under a label."""
    rows = (
        range(2, ROWS - 2)
        if chance.random() < 0.4
        else range(int(chance.integers(3, 6)), int(chance.integers(8, 12)))
    )
    quads = np.array([row * SIDES + side % SIDES for row in rows for side in range(*sides)])
    return np.concatenate([quads, quads + ROWS * SIDES])


def _plain(color: Array) -> Array:
    row = np.zeros(PAINT_WIDTH)
    row[1:10] = np.tile(color, 3)
    row[10], row[12] = 1.0, 1.0
    return row


def _material(chance: Chance) -> Array:
    """What a part is made of."""
    dark = chance.random() < _DARK
    color = chance.uniform(0.01, 0.06, 3) if dark else chance.uniform(0.05, 0.9, 3)
    color += chance.uniform(0.0, 1.0) * (color.mean() - color)
    row = _plain(color)
    family = str(chance.choice(_MATERIALS))
    if family != "flat":
        row[0] = FAMILIES.index(family)
        row[4:7], row[7:10] = color * chance.uniform(0.5, 0.9), color * chance.uniform(0.6, 1.2)
        row[10], row[11] = chance.uniform(4.0, 12.0), 0.5
        row[12:15] = (0.0, 1.0, 0.0)
        row[15] = chance.integers(0, 1 << 20)
    if chance.random() < _GLOSSY:
        row[17], row[18] = chance.uniform(0.08, 0.6), np.exp(chance.uniform(np.log(8.0), np.log(80.0)))
    return row


def _label(chance: Chance, body: Array) -> Array:
    """Graphics on a sheet, glossy or not as the body is."""
    row = np.zeros(PAINT_WIDTH)
    row[0] = FAMILIES.index(str(chance.choice(_GRAPHICS)))
    light, dark = chance.uniform(0.4, 0.95, 3), chance.uniform(0.02, 0.4, 3)
    if chance.random() < 0.3:
        light, dark = dark, light
    row[1:10] = np.concatenate([light, dark, chance.uniform(0.05, 0.9, 3)])
    row[10] = chance.uniform(4.0, 14.0)
    row[11] = chance.uniform(0.3, 0.7)
    row[12:14] = (1.0, 0.0) if chance.random() < 0.8 else (0.8, 0.6)
    row[15] = chance.integers(0, 1 << 20)
    row[17:19] = 0.5 * body[17], body[18]
    return row

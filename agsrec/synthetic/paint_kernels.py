"""Procedural paint for random objects as one compiled function.

A paint is a row of `PAINT_WIDTH` numbers: family, three linear RGB colours (1-9), features per unit length
(10), a proportion (11), a direction (12-14), a seed (15), the strength of fine grain (16), and of
a glossy surface what it mirrors (17) and how sharply (18, the exponent of a lamp's highlight).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from agsrec.synthetic.noise import cell_noise_at, fbm_at, hash_lattice, value_noise_at

__all__ = ["FAMILIES", "PAINT_WIDTH", "paint_at"]

PAINT_WIDTH = 19

FAMILIES = (
    "flat",
    "stripes",
    "checks",
    "marble",
    "wood",
    "speckle",
    "patches",
    "weave",
    "bands",
    "print",
    "emblem",
    "picture",
)


@njit(cache=True, nogil=True, error_model="numpy")
def _two_axes(paint, x, y, z):
    """Coordinates along the paint's direction d and across it."""
    dx, dy, dz = paint[12], paint[13], paint[14]
    u = dx * x + dy * y + dz * z
    if abs(dy) < 0.8:
        v = dz * x - dx * z  # d x (0, 1, 0), up to sign
    else:
        v = dz * y - dy * z  # d x (1, 0, 0), up to sign
    return u, v


@njit(cache=True, nogil=True, error_model="numpy")
def _stripe(t, duty):
    return 1.0 if t - np.floor(t) < duty else 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def _print_mark(u, v, seed):
    """Rows of glyph-like marks: 3 x 5 random dots per character cell, some cells empty."""
    column, row = np.floor(u), np.floor(v)
    a, b = (u - column) * 4.0, (v - row) * 7.0
    if a >= 3.0 or b >= 5.0 or hash_lattice(int(column), int(row), 1, seed) < 0.2:
        return 0.0
    dot = hash_lattice(int(column) * 4 + int(a), int(row) * 8 + int(b), 2, seed)
    return 1.0 if dot < 0.55 else 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def _emblem(u, v, seed):
    """A large mark in every cell, a disc, ring, bar or wedge, and whether it is in the third colour."""
    column, row = int(np.floor(u)), int(np.floor(v))
    a, b = u - column - 0.5, v - row - 0.5
    kind = int(4.0 * hash_lattice(column, row, 3, seed))
    size = 0.2 + 0.25 * hash_lattice(column, row, 4, seed)
    distance = np.sqrt(a * a + b * b)
    if kind == 0:
        inside = distance < size
    elif kind == 1:
        inside = 0.55 * size < distance < size
    elif kind == 2:
        inside = abs(a) < size and abs(b) < 0.3 * size
    else:
        inside = abs(b) < size and abs(a) < 0.5 * (size - b)
    return (1.0 if inside else 0.0), (1.0 if hash_lattice(column, row, 5, seed) < 0.4 else 0.0)


@njit(cache=True, nogil=True, error_model="numpy")
def _weights(paint, x, y, z):
    """How much of the second and of the third colour shows at a point."""
    family, scale, share, seed = int(paint[0]), paint[10], paint[11], int(paint[15])
    u, v = _two_axes(paint, x, y, z)
    if family == 1:
        return _stripe(scale * u, share), _stripe(0.5 * scale * u + 0.1, 0.15)
    if family == 2:
        return abs(_stripe(scale * u, 0.5) - _stripe(scale * v, 0.5)), _stripe(0.25 * scale * v, 0.06)
    if family == 3:
        t = fbm_at(scale * x, scale * y, scale * z, 3, seed)
        return min(max((t - 0.4) * 6.0, 0.0), 1.0), min(max((t - 0.62) * 10.0, 0.0), 1.0)
    if family == 4:
        wander = value_noise_at(2.0 * x, 2.0 * y, 2.0 * z, seed)
        t = scale * (np.sqrt(u * u + v * v) + 0.35 * wander)
        t -= np.floor(t)
        return t, value_noise_at(30.0 * u, 6.0 * v, 30.0 * z, seed) * 0.3
    if family == 5:
        distance, label = cell_noise_at(scale * x, scale * y, scale * z, seed)
        dot = 1.0 if distance < 0.2 + 0.3 * share else 0.0
        return dot, dot * (1.0 if label < 0.4 else 0.0)
    if family == 6:
        distance, label = cell_noise_at(0.6 * scale * x, 0.6 * scale * y, 0.6 * scale * z, seed)
        return label, 1.0 if label > 0.75 else 0.0
    if family == 7:
        a, b = 2.5 * scale * u, 2.5 * scale * v
        over = np.floor(a) + np.floor(b)
        return abs(np.sin(np.pi * a)) if over % 2.0 == 0.0 else 0.6 * abs(np.sin(np.pi * b)), 0.0
    if family == 8:
        t = value_noise_at(0.4 * scale * u, 0.0, 0.0, seed)
        return min(max(0.5 + 1.5 * u, 0.0), 1.0), 1.0 if t > 0.65 else 0.0
    if family == 9:
        return _print_mark(scale * u, 0.7 * scale * v, seed), _stripe(0.2 * scale * v, 0.1)
    if family == 10:
        mark, other = _emblem(0.35 * scale * u, 0.35 * scale * v, seed)
        return mark, mark * other
    if family == 11:
        t = fbm_at(0.5 * scale * u, 0.5 * scale * v, 0.0, 3, seed)
        w = fbm_at(0.4 * scale * u, 0.4 * scale * v, 0.0, 2, seed + 7)
        return min(max((t - 0.3) * 2.5, 0.0), 1.0), min(max((w - 0.5) * 5.0, 0.0), 1.0)
    return 0.0, 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def paint_at(paints, part, x, y, z):
    """Linear RGB albedo of row `part` of `paints` at a point."""
    paint = paints[part]
    second, third = _weights(paint, x, y, z)
    grain = 1.0
    if paint[16] > 0.0:
        grain += paint[16] * (2.0 * value_noise_at(24.0 * x, 24.0 * y, 24.0 * z, int(paint[15]) + 9) - 1.0)
    r = paint[1] + (paint[4] - paint[1]) * second
    g = paint[2] + (paint[5] - paint[2]) * second
    b = paint[3] + (paint[6] - paint[3]) * second
    r += (paint[7] - r) * third
    g += (paint[8] - g) * third
    b += (paint[9] - b) * third
    return r * grain, g * grain, b * grain

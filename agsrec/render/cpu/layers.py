"""One Gaussian over 16 pixels: its opacity there, and what it leaves of what lies behind."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from agsrec.render.cpu.simd import minus_abs, splat, vmin, where_le

__all__ = ["BLOCK", "CUTOFF", "LANE_X", "LANE_Y", "MAX_ALPHA", "advance", "alpha16", "conic16", "exponent16"]

BLOCK = 4
"""Block edge in pixels; a block's 16 pixels are one vector."""
MAX_ALPHA = np.float32(0.999)
"""Opacity at which a layer is capped."""
_MIN_TRANSMITTANCE = np.float32(1e-4)
CUTOFF = np.float32(math.log(255.0) / 8.0)
# Near-minimax polynomial of exp(-x) on [0, ln(255) / 8]; 6e-7 relative error after the 8th power.
_NODES = (np.cos((np.arange(64) + 0.5) * np.pi / 64) + 1) / 2 * float(CUTOFF)
_E5, _E4, _E3, _E2, _E1, _E0 = (
    np.float32(c) for c in np.polyfit(_NODES, np.exp(-_NODES), 5, w=np.exp(_NODES))
)  # fmt: skip
LANE_X = np.tile(np.arange(BLOCK, dtype=np.float32), BLOCK)
LANE_Y = np.repeat(np.arange(BLOCK, dtype=np.float32), BLOCK)


@njit(cache=True, nogil=True, forceinline=True)
def conic16(records, at):
    """A, B, C and k of the Gaussian whose record begins at `at`, each in all lanes."""
    return splat(records[at + 2]), splat(records[at + 3]), splat(records[at + 4]), splat(records[at + 5])


@njit(cache=True, nogil=True, forceinline=True)
def exponent16(dx, dy, conic):
    """Of a Gaussian at 16 offsets from its centre."""
    a, b, c, k = conic
    return (a * dx + b * dy) * dx + (c * dy * dy + k)


@njit(cache=True, nogil=True, forceinline=True)
def alpha16(x):
    """`exp(-x)^8`, capped, and zero where it would be below 1/255."""
    e = ((((splat(_E5) * x + splat(_E4)) * x + splat(_E3)) * x + splat(_E2)) * x + splat(_E1)) * x + splat(
        _E0
    )
    e = e * e
    e = e * e
    return where_le(x, splat(CUTOFF), vmin(e * e, splat(MAX_ALPHA)), splat(0.0))


@njit(cache=True, nogil=True, forceinline=True)
def advance(t, alpha):
    """Transmittance after a layer and the layer's weight.

    A pixel whose transmittance would fall to 1e-4 is finished: the layer is not drawn, and the transmittance
    is kept with its sign flipped, so that every later layer finds it finished.
    """
    weight = t * alpha
    after = t - weight
    limit = splat(_MIN_TRANSMITTANCE)
    zero = splat(0.0)
    return where_le(after, limit, minus_abs(t), after), where_le(after, limit, zero, weight)

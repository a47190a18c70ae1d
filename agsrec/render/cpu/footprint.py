"""Which blocks of 4x4 pixels, and which tiles of 4x4 blocks, Gaussians touch."""

from __future__ import annotations

import numpy as np
from numba import njit

from agsrec.render.cpu.layers import BLOCK, CUTOFF, LANE_X, LANE_Y
from agsrec.render.cpu.simd import ceil, floor, lanes_le, load, splat, vmax, vmin, where_le

__all__ = ["TILE", "blocks16", "blocks_along", "boxes16", "tiles16"]

TILE = 16
"""Tile edge in pixels."""

_TILE_BLOCKS = TILE // BLOCK
# A tile's blocks lie as a block's pixels do.
_BLOCK_X, _BLOCK_Y = LANE_X * BLOCK, LANE_Y * BLOCK
_SLACK = np.float32(1e-4)  # of rounding, in exponents


@njit(cache=True, nogil=True)
def blocks_along(pixels):
    """Blocks along an edge."""
    return (pixels + BLOCK - 1) // BLOCK


@njit(cache=True, nogil=True, forceinline=True)
def boxes16(mx, my, hx, hy, columns, rows):
    """First and last block column, first and last block row with pixel centres within reach of 16 Gaussians.

    Where there are none, the last is before the first.
    """
    quarter, half, most = splat(1.0 / BLOCK), splat(0.5), splat(BLOCK - 0.5)
    # The numbers of the picture stand second: what is not a number becomes them.
    left = vmax(ceil((mx - hx - most) * quarter), splat(0.0))
    top = vmax(ceil((my - hy - most) * quarter), splat(0.0))
    right = vmin(floor((mx + hx - half) * quarter), splat(columns - 1))
    bottom = vmin(floor((my + hy - half) * quarter), splat(rows - 1))
    return left, right, top, bottom


@njit(cache=True, nogil=True, forceinline=True)
def tiles16(mx, my, hx, hy, columns, rows):
    """First tile column and row, number of tile columns and of tiles that 16 Gaussians may touch.

    For pictures of so many block columns and rows; 0 tiles where nothing is drawn.
    """
    left, right, top, bottom = boxes16(mx, my, hx, hy, columns, rows)
    share, one, zero = splat(1.0 / _TILE_BLOCKS), splat(1.0), splat(0.0)
    x, y = floor(left * share), floor(top * share)
    wide, high = floor(right * share) - x + one, floor(bottom * share) - y + one
    tiles = where_le(left, right, where_le(top, bottom, wide * high, zero), zero)
    return x, y, wide, where_le(hx, zero, zero, tiles)


@njit(cache=True, nogil=True, forceinline=True)
def _clamped(value, low, high):
    return vmin(vmax(value, low), high)


@njit(cache=True, nogil=True, forceinline=True)
def blocks16(x, y, a, b, c, k, slope_x, slope_y):
    """Bits of the blocks of a tile that a Gaussian touches; the tile's first pixel is (x, y) from its centre.

    The exponent grows away from the centre, so that it is least in a block on an edge that faces it. On the
    two lines nearest to the centre, across and down, the least is where the slopes say, or at an end.
    """
    left, top = splat(x) + load(_BLOCK_X, 0), splat(y) + load(_BLOCK_Y, 0)
    right, bottom = left + splat(BLOCK - 1), top + splat(BLOCK - 1)
    zero = splat(0.0)
    x1, y2 = _clamped(zero, left, right), _clamped(zero, top, bottom)
    y1, x2 = _clamped(splat(slope_y) * x1, top, bottom), _clamped(splat(slope_x) * y2, left, right)
    va, vb, vc = splat(a), splat(b), splat(c)
    down = (va * x1 + vb * y1) * x1 + vc * y1 * y1
    across = (va * x2 + vb * y2) * x2 + vc * y2 * y2
    return lanes_le(vmin(down, across), splat(CUTOFF + _SLACK - k))

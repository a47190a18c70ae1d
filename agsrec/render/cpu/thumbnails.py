"""Forward pass alone, for many small pictures: each camera from projection to pixels in one go.

A small picture stays in the processor's cache as a whole, so that Gaussians are drawn one after the other by
depth, without tiles and lists. What is left of the picture is kept as one bit for each block of 4x4 pixels:
a Gaussian behind opaque blocks costs next to nothing.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from agsrec.render.cpu.depth_sort import BUCKETS, sort_by_depth
from agsrec.render.cpu.footprint import blocks_along, boxes16
from agsrec.render.cpu.layers import BLOCK, LANE_X, LANE_Y, advance, alpha16, conic16, exponent16
from agsrec.render.cpu.pixels import write_block
from agsrec.render.cpu.project import color16, project16
from agsrec.render.cpu.simd import (
    LANES,
    any_le,
    load,
    lowest_bit,
    minus_abs,
    prefetch,
    splat,
    store,
    store_transposed,
    vmax,
    where_le,
)

__all__ = ["LARGEST", "draw_thumbnails"]

LARGEST = 128
"""Longest edge of pictures that are drawn like this, pixels."""

# Blocks that are gone through at once: their bits in one number.
_ROWS, _COLUMNS = 4, 8
_X = (LANE_X + BLOCK * np.tile(np.arange(_COLUMNS, dtype=np.float32), _ROWS)[:, None]).ravel()
_Y = (LANE_Y + BLOCK * np.repeat(np.arange(_ROWS, dtype=np.float32), _COLUMNS)[:, None]).ravel()

_BOX = 9
"""Column of a record with the blocks it touches; those before are as in `project`."""
_BLOCK_FLOATS = 4 * LANES
"""Floats of a block in the picture: transmittance, red, green, blue."""
_AHEAD = 6  # Gaussians whose memory is asked for before it is their turn


@njit(cache=True, nogil=True)
def _project(
    n, scene, cam, width, height, near, far, eps2d, antialiased, sh, degree, columns, rows,
    basis, scratch, records, depths, radii,
):  # fmt: skip
    """Records [n, 16], flat, of all Gaussians in one camera, and their depths, -1 where nothing is drawn.

    `radii` [n] receives the larger extent, 0 where it is not seen.
    """
    gone, zero = splat(-1.0), splat(0.0)
    for base in range(0, n, LANES):
        mx, my, a, b, c, k, depth, hx, hy, _, _ = project16(
            n, base, scene, cam, width, height, near, far, eps2d, antialiased, scratch
        )  # fmt: skip
        red, green, blue = color16(n, base, scene, cam, sh, degree, basis)
        left, right, top, bottom = boxes16(mx, my, hx, hy, columns, rows)
        # Four numbers below 64 in the 24 bits that a float has.
        box = (left + splat(64.0) * right) + splat(4096.0) * (top + splat(64.0) * bottom)
        store_transposed(records, base * LANES, (mx, my, a, b, c, k, red, green, blue, box))
        depth = where_le(left, right, where_le(top, bottom, depth, gone), gone)
        store(depths, base, where_le(hx, zero, gone, depth))
        store(radii, base, where_le(hx, zero, zero, vmax(hx, hy)))


@njit(cache=True, nogil=True)
def _by_depth(n, depths, index, keys, index2, keys2, histograms, order):
    """Indices of what is drawn into `order` [n], nearest first; returns their number."""
    bits = depths.view(np.int32)
    count = 0
    nearest, farthest = np.int32(0x7FFFFFFF), np.int32(0)
    for i in range(n):
        key = bits[i]
        index[count], keys[count] = i, key
        if key > 0:
            nearest, farthest = min(nearest, key), max(farthest, key)
            count += 1
    sort_by_depth(count, nearest, farthest, keys, index, keys2, index2, histograms, order)
    return count


@njit(cache=True, nogil=True, forceinline=True)
def _open_blocks(open_rows, x, y, x1, y1):
    """Bits of unfinished blocks in 8 columns from x and 4 rows from y, up to x1 and y1."""
    span = (1 << min(_COLUMNS, x1 - x + 1)) - 1
    mask = (open_rows[y] >> x) & span
    mask |= ((open_rows[y + 1] >> x) & span) << _COLUMNS
    mask |= ((open_rows[y + 2] >> x) & span) << (2 * _COLUMNS)
    mask |= ((open_rows[y + 3] >> x) & span) << (3 * _COLUMNS)
    return mask & ((1 << (_COLUMNS * min(_ROWS, y1 - y + 1))) - 1)


@njit(cache=True, nogil=True, forceinline=True)
def _draw_blocks(mask, x, y, columns, records, at, open_rows, picture):
    """Draw one Gaussian over the blocks of `mask`, counted from block column x and row y."""
    x0 = splat(np.float32(x * BLOCK) + np.float32(0.5) - records[at])
    y0 = splat(np.float32(y * BLOCK) + np.float32(0.5) - records[at + 1])
    conic = conic16(records, at)
    red, green, blue = splat(records[at + 6]), splat(records[at + 7]), splat(records[at + 8])
    while mask:
        bit = lowest_bit(mask)
        mask &= mask - 1
        exponent = exponent16(x0 + load(_X, bit * LANES), y0 + load(_Y, bit * LANES), conic)
        column, row = x + (bit & (_COLUMNS - 1)), y + bit // _COLUMNS
        to = (row * columns + column) * _BLOCK_FLOATS
        t, weight = advance(load(picture, to), alpha16(exponent))
        store(picture, to, t)
        store(picture, to + LANES, load(picture, to + LANES) + weight * red)
        store(picture, to + 2 * LANES, load(picture, to + 2 * LANES) + weight * green)
        store(picture, to + 3 * LANES, load(picture, to + 3 * LANES) + weight * blue)
        if not any_le(splat(0.0), t):
            open_rows[row] &= ~(1 << column)


@njit(cache=True, nogil=True)
def _draw(count, order, records, columns, open_rows, picture):
    """Draw all Gaussians, nearest first."""
    for rank in range(count):
        prefetch(records, order[min(rank + _AHEAD, count - 1)] * LANES)
        at = order[rank] * LANES
        box = int(records[at + _BOX])
        x0, x1, y0, y1 = box & 63, (box >> 6) & 63, (box >> 12) & 63, box >> 18
        for y in range(y0, y1 + 1, _ROWS):
            for x in range(x0, x1 + 1, _COLUMNS):
                mask = _open_blocks(open_rows, x, y, x1, y1)
                _draw_blocks(mask, x, y, columns, records, at, open_rows, picture)


@njit(cache=True, nogil=True)
def _write(cam, width, height, columns, rows, background, picture, rgb, alpha, scratch):
    """Copy the blocks to a camera's planes of flat images, over the background."""
    size = width * height
    for block in range(rows * columns):
        x, y, at = (block % columns) * BLOCK, (block // columns) * BLOCK, block * _BLOCK_FLOATS
        bare = minus_abs(load(picture, at))
        write_block(alpha, cam * size, x, y, width, height, splat(1.0) + bare, scratch)
        for k in range(3):
            color = load(picture, at + (k + 1) * LANES) - bare * splat(background[k])
            write_block(rgb, (3 * cam + k) * size, x, y, width, height, color, scratch)


@njit(cache=True, nogil=True)
def draw_thumbnails(
    start, stop, n, scene, cameras, width, height, near, far, eps2d, antialiased, sh, degree, backgrounds,
    rgb, alpha, radii,
):  # fmt: skip
    """Draw cameras [start, stop): rgb [V, 3, H, W], alpha [V, H, W], radii [V, n].

    Arguments as of `project`, and the same pictures up to rounding as `blend_forward` makes; width and height
    are at most `LARGEST`.
    """
    columns, rows = blocks_along(width), blocks_along(height)
    w, h = np.float32(width), np.float32(height)
    rgb, alpha = rgb.reshape(rgb.size), alpha.reshape(alpha.size)
    basis, scratch = np.empty(16 * LANES, np.float32), np.empty(3 * LANES, np.float32)
    records, depths = np.empty(n * LANES, np.float32), np.empty(n, np.float32)
    index, keys, index2, keys2 = (
        np.empty(n + 1, np.int32), np.empty(n + 1, np.int32), np.empty(n, np.int32), np.empty(n, np.int32),
    )  # fmt: skip
    histograms, order = np.empty((2, BUCKETS), np.int32), np.empty(n, np.int32)
    open_rows = np.empty(rows + _ROWS - 1, np.int64)
    picture = np.empty(rows * columns * _BLOCK_FLOATS, np.float32)
    for cam in range(start, stop):
        _project(
            n, scene, cameras[cam], w, h, near, far, eps2d, antialiased, sh, degree, columns, rows,
            basis, scratch, records, depths, radii[cam],
        )  # fmt: skip
        count = _by_depth(n, depths, index, keys, index2, keys2, histograms, order)
        open_rows[:rows], open_rows[rows:] = (1 << columns) - 1, 0
        for block in range(rows * columns):
            store(picture, block * _BLOCK_FLOATS, splat(1.0))
            for k in range(1, 4):
                store(picture, block * _BLOCK_FLOATS + k * LANES, splat(0.0))
        _draw(count, order, records, columns, open_rows, picture)
        _write(cam, width, height, columns, rows, backgrounds[cam], picture, rgb, alpha, scratch)

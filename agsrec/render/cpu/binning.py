"""Depth sort and assignment of projected Gaussians to 16x16 tiles and the 4x4 blocks inside them."""

from __future__ import annotations

import numpy as np
from numba import njit

from agsrec.render.cpu.depth_sort import BUCKETS, sort_by_depth
from agsrec.render.cpu.layers import BLOCK
from agsrec.render.cpu.project import BLUE, DEPTH, GREEN, HX, HY, KV, MX, MY, RED, SLOPE, WAIST, A, B, C
from agsrec.render.cpu.simd import LANES, ceil, floor, load, splat, sqrt, store_int, vmax, vmin, where_le

__all__ = ["RECORD", "TILE", "bin_tiles", "sort_visible"]

TILE = 16
"""Tile edge in pixels."""

RECORD = 10
"""Floats per record: mx, my, A, B, C, k, red, green, blue, depth."""

_LANE_ROW = np.arange(LANES, dtype=np.float32) * BLOCK


@njit(cache=True, nogil=True)
def _tile_range(center, extent, limit):
    first = max(0, int((center - extent) * np.float32(1.0 / TILE)))
    last = min(limit - 1, int((center + extent) * np.float32(1.0 / TILE)))
    return first, last


@njit(cache=True, nogil=True)
def sort_visible(start, stop, n, n_real, tiles_x, tiles_y, projected, order, n_visible, n_entries):
    """Indices of the visible Gaussians of cameras [start, stop) by depth, into `order` [V, n].

    `n_entries` receives an upper bound on (tile, Gaussian) pairs.
    """
    depth_bits = projected.view(np.int32)
    index, index2 = np.empty(n, np.int32), np.empty(n, np.int32)
    keys, keys2 = np.empty(n, np.int32), np.empty(n, np.int32)
    histograms = np.empty((2, BUCKETS), np.int32)
    for cam in range(start, stop):
        p = projected[cam]
        count, entries = 0, 0
        nearest, farthest = np.int32(0x7FFFFFFF), np.int32(0)
        for i in range(n_real):
            if p[HX * n + i] > 0:
                x0, x1 = _tile_range(p[MX * n + i], p[HX * n + i], tiles_x)
                y0, y1 = _tile_range(p[MY * n + i], p[HY * n + i], tiles_y)
                entries += (x1 - x0 + 1) * (y1 - y0 + 1)
                index[count] = i
                bits = depth_bits[cam, DEPTH * n + i]
                keys[count] = bits
                nearest, farthest = min(nearest, bits), max(farthest, bits)
                count += 1
        sort_by_depth(count, nearest, farthest, keys, index, keys2, index2, histograms, order[cam])
        n_visible[cam] = count
        n_entries[cam] = entries


@njit(cache=True, nogil=True)
def _block_ranges(mx, my, hx, hy, slope, waist, row0, blocks_x, first, last):
    """First and last block column the ellipse touches in the 16 block rows from `row0`, into two buffers.

    Only pixel centres count, and only columns of the image. An empty row gets first > last.
    """
    zero, one = splat(0.0), splat(1.0)
    low = splat(np.float32(row0 * BLOCK) + np.float32(0.5) - my) + load(_LANE_ROW, 0)
    reach = splat(hy)
    top = low + splat(BLOCK - 1)
    low, high = vmax(zero - reach, low), vmin(reach, top)
    # The boundary is concave, so its extreme over a slab is at its own extreme, clamped into the slab.
    peak = splat(slope * hy * hy / hx)
    right_y, left_y = vmin(high, vmax(low, peak)), vmin(high, vmax(low, zero - peak))
    inverse = splat(np.float32(1.0) / (hy * hy))
    width = splat(waist)
    right = splat(slope) * right_y + width * sqrt(vmax(zero, one - right_y * right_y * inverse))
    left = splat(slope) * left_y - width * sqrt(vmax(zero, one - left_y * left_y * inverse))
    quarter = splat(1.0 / BLOCK)
    left = vmax(zero, ceil((splat(mx - np.float32(BLOCK - 0.5)) + left) * quarter))
    right = vmin(splat(blocks_x - 1), floor((splat(mx - np.float32(0.5)) + right) * quarter))
    # Rows the ellipse does not reach at all.
    right = where_le(low, high, right, splat(-1.0))
    store_int(first, 0, left)
    store_int(last, 0, right)


@njit(cache=True, nogil=True)
def _row_bits(first, last, tile_column):
    """The 4 bits of one block row that lie in a tile column, for block columns first..last."""
    low, high = max(0, first - tile_column), min(3, last - tile_column)
    return ((2 << high) - 1) & ~((1 << low) - 1) if low <= high else 0


@njit(cache=True, nogil=True)
def _block_span(center, extent, limit):
    """First and last block along one axis that hold a pixel centre within `extent` of `center`."""
    low = (center - extent - np.float32(BLOCK - 0.5)) * np.float32(1.0 / BLOCK)
    high = (center + extent - np.float32(0.5)) * np.float32(1.0 / BLOCK)
    # Truncation rounds towards zero: shifted by one for a ceiling above -1, and none below zero is kept.
    first = int(low) + (1 if low > np.float32(int(low)) else 0) if low > 0 else 0
    last = min(limit - 1, int(high)) if high >= 0 else -1
    return first, last


@njit(cache=True, nogil=True)
def _append_box(i, left, right, top, bottom, tiles_x, out, count):
    """Append the entries of all blocks in columns left..right and rows top..bottom."""
    for ty in range(top >> 2, (bottom >> 2) + 1):
        rows = _row_bits(top, bottom, ty << 2)
        # One bit per row, spread to four.
        rows = (rows & 1) * 0xF | (rows & 2) * 0x78 | (rows & 4) * 0x3C0 | (rows & 8) * 0x1E00
        for tx in range(left >> 2, (right >> 2) + 1):
            out[count, 0] = ty * tiles_x + tx
            out[count, 1] = i
            out[count, 2] = _row_bits(left, right, tx << 2) * 0x1111 & rows
            count += 1
    return count


@njit(cache=True, nogil=True)
def _append_ellipse(i, mx, my, hx, hy, slope, waist, top, bottom, tiles_x, first, last, out, count):
    """Append the entries of the blocks the ellipse touches, found row by row."""
    ty_first = top >> 2
    for ty in range(ty_first, (bottom >> 2) + 1):
        row = ((ty - ty_first) & 3) << 2
        if row == 0:
            _block_ranges(mx, my, hx, hy, slope, waist, ty << 2, tiles_x << 2, first, last)
        left = min(first[row], first[row + 1], first[row + 2], first[row + 3])
        right = max(last[row], last[row + 1], last[row + 2], last[row + 3])
        for tx in range(left >> 2, (right >> 2) + 1):
            column = tx << 2
            mask = _row_bits(first[row], last[row], column)
            mask |= _row_bits(first[row + 1], last[row + 1], column) << 4
            mask |= _row_bits(first[row + 2], last[row + 2], column) << 8
            mask |= _row_bits(first[row + 3], last[row + 3], column) << 12
            if mask:
                out[count, 0] = ty * tiles_x + tx
                out[count, 1] = i
                out[count, 2] = mask
                count += 1
    return count


@njit(cache=True, nogil=True)
def _append_entries(i, mx, my, hx, hy, slope, waist, tiles_x, tiles_y, first, last, out, count):
    """Append one Gaussian's (tile, index, block mask) triples to `out` [*, 3]; returns the new count."""
    left, right = _block_span(mx, hx, tiles_x << 2)
    top, bottom = _block_span(my, hy, tiles_y << 2)
    if left > right or top > bottom:
        return count
    # An ellipse at most two blocks wide or high touches nearly its whole box.
    if right - left < 2 or bottom - top < 2:
        return _append_box(i, left, right, top, bottom, tiles_x, out, count)
    return _append_ellipse(i, mx, my, hx, hy, slope, waist, top, bottom, tiles_x, first, last, out, count)


@njit(cache=True, nogil=True)
def _fill_record(p, n, i, records):
    at = i * RECORD
    records[at], records[at + 1] = p[MX * n + i], p[MY * n + i]
    records[at + 2], records[at + 3], records[at + 4] = p[A * n + i], p[B * n + i], p[C * n + i]
    records[at + 5] = p[KV * n + i]
    records[at + 6], records[at + 7], records[at + 8] = p[RED * n + i], p[GREEN * n + i], p[BLUE * n + i]
    records[at + 9] = p[DEPTH * n + i]


@njit(cache=True, nogil=True)
def bin_tiles(
    start, stop, n, tiles_x, tiles_y, projected, order, n_visible,
    offsets, records, slots, tile_start, entries,
):  # fmt: skip
    """Per camera: records of the Gaussians, and per tile the entries (Gaussian, block mask, slot) by depth.

    `slots[cam, i]` to `slots[cam, i + 1]` are the gradient slots of Gaussian i, counted from `offsets[cam]`,
    so that one Gaussian's slots are adjacent. `entries` [*, 3]; `tile_start` [V, tiles + 1].
    """
    n_tiles = tiles_x * tiles_y
    first, last = np.empty(LANES, np.int32), np.empty(LANES, np.int32)
    for cam in range(start, stop):
        p, slot = projected[cam], slots[cam]
        base = offsets[cam]
        raw = np.empty((offsets[cam + 1] - base, 3), np.int32)
        count = 0
        # In the order of memory first, which depths are not.
        for i in range(n):
            slot[i] = count
            if p[HX * n + i] > 0:
                _fill_record(p, n, i, records[cam])
                count = _append_entries(
                    i, p[MX * n + i], p[MY * n + i], p[HX * n + i], p[HY * n + i], p[SLOPE * n + i],
                    p[WAIST * n + i], tiles_x, tiles_y, first, last, raw, count,
                )  # fmt: skip
        slot[n] = count
        begin = tile_start[cam]
        begin[:] = 0
        for e in range(count):
            begin[raw[e, 0] + 1] += 1
        for t in range(n_tiles):
            begin[t + 1] += begin[t]
        cursor = begin[:-1].copy()
        for rank in range(n_visible[cam]):
            i = order[cam, rank]
            for e in range(slot[i], slot[i + 1]):
                to = base + cursor[raw[e, 0]]
                cursor[raw[e, 0]] += 1
                entries[to, 0], entries[to, 1], entries[to, 2] = i, raw[e, 2], e

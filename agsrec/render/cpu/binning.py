"""Depth sort and assignment of projected Gaussians to 16x16 tiles and the 4x4 blocks inside them."""

from __future__ import annotations

import numpy as np
from numba import njit

from agsrec.render.cpu.depth_sort import BUCKETS, sort_by_depth
from agsrec.render.cpu.footprint import TILE, blocks16
from agsrec.render.cpu.project import BOX, DEPTH, RECORD, SLOPES, TILES

__all__ = ["bin_tiles", "sort_visible"]


@njit(cache=True, nogil=True)
def sort_visible(start, stop, n, n_real, projected, order, n_visible, n_entries):
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
            tiles = int(p[TILES * n + i])
            if tiles > 0:
                entries += tiles
                index[count] = i
                bits = depth_bits[cam, DEPTH * n + i]
                keys[count] = bits
                nearest, farthest = min(nearest, bits), max(farthest, bits)
                count += 1
        sort_by_depth(count, nearest, farthest, keys, index, keys2, index2, histograms, order[cam])
        n_visible[cam] = count
        n_entries[cam] = entries


@njit(cache=True, nogil=True, forceinline=True)
def _append_tiles(i, records, tiles_x, out, begin, count):
    """Append one Gaussian's (tile, index, block mask) triples to `out` [*, 3]; returns the new count.

    `begin` [tiles + 1] counts the entries of each tile, one place further on.
    """
    at = i * RECORD
    mx, my, a, b, c, k = (
        records[at], records[at + 1], records[at + 2], records[at + 3], records[at + 4], records[at + 5],
    )  # fmt: skip
    slope_x, slope_y = records[at + SLOPES], records[at + SLOPES + 1]
    first, y, wide = int(records[at + BOX]), int(records[at + BOX + 1]), int(records[at + BOX + 2])
    x = first
    for _ in range(int(records[at + BOX + 3])):
        mask = blocks16(
            np.float32(x * TILE) + np.float32(0.5) - mx, np.float32(y * TILE) + np.float32(0.5) - my,
            a, b, c, k, slope_x, slope_y,
        )  # fmt: skip
        tile, touched = y * tiles_x + x, int(mask != 0)
        # Written in any case, and overwritten where it does not count: no branch to be mispredicted.
        out[count, 0], out[count, 1], out[count, 2] = tile, i, mask
        begin[tile + 1] += touched
        count += touched
        x += 1
        if x == first + wide:
            x, y = first, y + 1
    return count


@njit(cache=True, nogil=True)
def bin_tiles(
    start, stop, n, tiles_x, tiles_y, records, order, n_visible, offsets, slots, tile_start, entries
):
    """Per camera and tile the entries (Gaussian, block mask, slot) by depth.

    `slots[cam, i]` to `slots[cam, i + 1]` are the gradient slots of Gaussian i, counted from `offsets[cam]`,
    so that one Gaussian's slots are adjacent. `entries` [*, 3]; `tile_start` [V, tiles + 1].
    """
    n_tiles = tiles_x * tiles_y
    for cam in range(start, stop):
        record, slot, begin = records[cam], slots[cam], tile_start[cam]
        base = offsets[cam]
        raw = np.empty((offsets[cam + 1] - base + 1, 3), np.int32)
        begin[:] = 0
        count = 0
        # In the order of memory first, which depths are not.
        for i in range(n):
            slot[i] = count
            count = _append_tiles(i, record, tiles_x, raw, begin, count)
        slot[n] = count
        for t in range(n_tiles):
            begin[t + 1] += begin[t]
        cursor = begin[:-1].copy()
        for rank in range(n_visible[cam]):
            i = order[cam, rank]
            for e in range(slot[i], slot[i + 1]):
                to = base + cursor[raw[e, 0]]
                cursor[raw[e, 0]] += 1
                entries[to, 0], entries[to, 1], entries[to, 2] = i, raw[e, 2], e

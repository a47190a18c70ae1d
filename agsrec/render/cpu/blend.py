"""Front-to-back alpha blending of tiles, and its analytic backward pass.

A tile is 4x4 blocks of 4x4 pixels; a block is one 16-lane vector. Buffers of a tile are planar: channel
planes of 16 blocks of 16 lanes.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from agsrec.render.cpu.footprint import TILE
from agsrec.render.cpu.layers import BLOCK, LANE_X, LANE_Y, MAX_ALPHA, advance, alpha16, conic16, exponent16
from agsrec.render.cpu.pixels import read_block, write_block
from agsrec.render.cpu.project import RECORD
from agsrec.render.cpu.simd import (
    LANES,
    any_le,
    hsums,
    load,
    lowest_bit,
    minus_abs,
    popcount,
    prefetch,
    splat,
    store,
    store_first,
    where_le,
)

__all__ = ["GRADIENTS", "blend_backward", "blend_forward"]

GRADIENTS = 10
"""Gradient floats per slot: sums of g dx, g dy, g dx^2, g dx dy, g dy^2, g, and red, green, blue, depth."""

_BLOCKS = (TILE // BLOCK) ** 2
_PLANE = TILE * TILE
_AHEAD = 4  # entries whose memory is asked for before it is their turn
# d alpha / d x = -8 alpha, in the sums that go through alpha.
_OUTER = np.repeat(np.array([-8.0, 1.0], np.float32), [6, LANES - 6])


@njit(cache=True, nogil=True)
def _list_blocks(first, last, records, entries, lists, lengths):
    """Per block of a tile the entries that touch it, counted from `first`; flat [16 * (last - first)].

    One block after the other keeps its pixels in registers, and its loop long enough to be predicted.
    """
    count = last - first
    lengths[:] = 0
    for e in range(count):
        prefetch(records, entries[first + min(e + _AHEAD, count - 1), 0] * RECORD)
        mask = entries[first + e, 1]
        while mask:
            block = lowest_bit(mask)
            mask &= mask - 1
            lists[block * count + lengths[block]] = e
            lengths[block] += 1


@njit(cache=True, nogil=True)
def blend_forward(
    start, stop, tiles_x, tiles_y, width, height, planes, records, tile_start, offsets, entries, backgrounds,
    rgb, alpha, depth,
):  # fmt: skip
    """Blend tiles [start, stop) of all cameras; work items run over (camera, tile).

    Outputs rgb [V, 3, H, W], alpha [V, H, W] and, with 5 planes, accumulated depth [V, H, W].
    """
    n_tiles = tiles_x * tiles_y
    rgb, alpha, depth = rgb.reshape(rgb.size), alpha.reshape(alpha.size), depth.reshape(depth.size)
    scratch, size = np.empty(LANES, np.float32), width * height
    lengths, lists = np.empty(_BLOCKS, np.int64), np.empty(0, np.int32)
    for item in range(start, stop):
        cam, tile = item // n_tiles, item % n_tiles
        x0, y0 = (tile % tiles_x) * TILE, (tile // tiles_x) * TILE
        first, last = offsets[cam] + tile_start[cam, tile], offsets[cam] + tile_start[cam, tile + 1]
        count = last - first
        if count * _BLOCKS > lists.size:
            lists = np.empty(count * _BLOCKS * 3 // 2, np.int32)
        rec, bg = records[cam], backgrounds[cam]
        _list_blocks(first, last, rec, entries, lists, lengths)
        for block in range(_BLOCKS):
            x = np.float32(x0 + (block & 3) * BLOCK) + np.float32(0.5)
            y = np.float32(y0 + (block >> 2) * BLOCK) + np.float32(0.5)
            t, red, green, blue, z = splat(1.0), splat(0.0), splat(0.0), splat(0.0), splat(0.0)
            for j in range(block * count, block * count + lengths[block]):
                at = entries[first + lists[j], 0] * RECORD
                dx, dy = splat(x - rec[at]) + load(LANE_X, 0), splat(y - rec[at + 1]) + load(LANE_Y, 0)
                t, weight = advance(t, alpha16(exponent16(dx, dy, conic16(rec, at))))
                red = red + weight * splat(rec[at + 6])
                green = green + weight * splat(rec[at + 7])
                blue = blue + weight * splat(rec[at + 8])
                if planes == 5:
                    z = z + weight * splat(rec[at + 9])
                if not any_le(splat(0.0), t):
                    break
            bx, by = x0 + (block & 3) * BLOCK, y0 + (block >> 2) * BLOCK
            bare = minus_abs(t)
            write_block(alpha, cam * size, bx, by, width, height, splat(1.0) + bare, scratch)
            red, green, blue = (
                red - bare * splat(bg[0]),
                green - bare * splat(bg[1]),
                blue - bare * splat(bg[2]),
            )
            write_block(rgb, 3 * cam * size, bx, by, width, height, red, scratch)
            write_block(rgb, (3 * cam + 1) * size, bx, by, width, height, green, scratch)
            write_block(rgb, (3 * cam + 2) * size, bx, by, width, height, blue, scratch)
            if planes == 5:
                write_block(depth, cam * size, bx, by, width, height, z, scratch)


@njit(cache=True, nogil=True)
def _read_tile(cam, x0, y0, width, height, planes, background, v_rgb, v_alpha, v_depth, grad, scratch):
    """Gather a tile's image gradients into planes: red, green, blue, alpha, (depth), and the value behind."""
    size = width * height
    for block in range(_BLOCKS):
        x, y, at = x0 + (block & 3) * BLOCK, y0 + (block >> 2) * BLOCK, block * LANES
        if x >= width or y >= height:
            for plane in range(planes + 1):
                store(grad, plane * _PLANE + at, splat(0.0))
            continue
        behind = splat(0.0)
        for channel in range(3):
            g = read_block(v_rgb, (3 * cam + channel) * size, x, y, width, height, scratch)
            store(grad, channel * _PLANE + at, g)
            behind = behind + g * splat(background[channel])
        g = read_block(v_alpha, cam * size, x, y, width, height, scratch)
        store(grad, 3 * _PLANE + at, g)
        if planes == 5:
            g = read_block(v_depth, cam * size, x, y, width, height, scratch)
            store(grad, 4 * _PLANE + at, g)
        store(grad, planes * _PLANE + at, behind)


@njit(cache=True, nogil=True)
def _replay(x0, y0, first, last, records, entries, lists, lengths, visits, drawn, scratch):
    """Repeat a tile's forward pass, keeping each layer's alpha and transmittance.

    `visits` receives the place in `scratch` of each entry's first block, `drawn` the blocks in which it was
    drawn.
    """
    count = last - first
    _list_blocks(first, last, records, entries, lists, lengths)
    total = 0
    for e in range(count):
        mask = entries[first + e, 1]
        visits[e], drawn[e] = total, mask
        total += popcount(mask)
    for block in range(_BLOCKS):
        x = np.float32(x0 + (block & 3) * BLOCK) + np.float32(0.5)
        y = np.float32(y0 + (block >> 2) * BLOCK) + np.float32(0.5)
        before = (1 << block) - 1
        t = splat(1.0)
        end = block * count + lengths[block]
        j = block * count
        while j < end:
            e = lists[j]
            j += 1
            at = entries[first + e, 0] * RECORD
            dx, dy = splat(x - records[at]) + load(LANE_X, 0), splat(y - records[at + 1]) + load(LANE_Y, 0)
            alpha = alpha16(exponent16(dx, dy, conic16(records, at)))
            kept = (visits[e] + popcount(entries[first + e, 1] & before)) * 2 * LANES
            store(scratch, kept + LANES, t)
            t, weight = advance(t, alpha)
            # Zero weight marks lanes that were not drawn; their alpha must not act in the reverse sweep.
            store(scratch, kept, where_le(weight, splat(0.0), splat(0.0), alpha))
            if not any_le(splat(0.0), t):
                break
        while j < end:
            drawn[lists[j]] &= ~(1 << block)
            j += 1


@njit(cache=True, nogil=True)
def _sweep_back(x0, y0, first, last, planes, records, entries, visits, drawn, scratch, grad, slots):
    """Back-to-front sweep of one tile: gradients of each entry into its slot."""
    zero = splat(0.0)
    behind = planes * _PLANE
    for e in range(last - first - 1, -1, -1):
        ahead = first + max(e - _AHEAD, 0)
        prefetch(records, entries[ahead, 0] * RECORD)
        prefetch(slots, entries[ahead, 2] * GRADIENTS)
        mask, all_blocks = drawn[e], entries[first + e, 1]
        at_slot = entries[first + e, 2] * GRADIENTS
        if mask == 0:
            slots[at_slot : at_slot + GRADIENTS] = 0.0
            continue
        at = entries[first + e, 0] * RECORD
        dx0 = splat(np.float32(x0) + np.float32(0.5) - records[at]) + load(LANE_X, 0)
        dy0 = splat(np.float32(y0) + np.float32(0.5) - records[at + 1]) + load(LANE_Y, 0)
        red, green, blue = splat(records[at + 6]), splat(records[at + 7]), splat(records[at + 8])
        z = splat(records[at + 9])
        gx, gy, gxx, gxy, gyy, g0 = zero, zero, zero, zero, zero, zero
        g_red, g_green, g_blue, g_z = zero, zero, zero, zero
        while mask:
            block = lowest_bit(mask)
            mask &= mask - 1
            at = block * LANES
            kept = (visits[e] + popcount(all_blocks & ((1 << block) - 1))) * 2 * LANES
            alpha, t = load(scratch, kept), load(scratch, kept + LANES)
            v_red, v_green, v_blue = load(grad, at), load(grad, at + _PLANE), load(grad, at + 2 * _PLANE)
            own = red * v_red + green * v_green + blue * v_blue + load(grad, at + 3 * _PLANE)
            weight = alpha * t
            if planes == 5:
                v_z = load(grad, at + 4 * _PLANE)
                own = own + z * v_z
                g_z = g_z + weight * v_z
            g_red, g_green, g_blue = (
                g_red + weight * v_red,
                g_green + weight * v_green,
                g_blue + weight * v_blue,
            )
            back = load(grad, behind + at)
            difference = own - back
            store(grad, behind + at, back + alpha * difference)
            # Nothing reaches x where alpha is capped.
            g = where_le(splat(MAX_ALPHA), alpha, zero, weight * difference)
            dx = dx0 + splat((block & 3) * BLOCK)
            dy = dy0 + splat((block >> 2) * BLOCK)
            hx, hy = g * dx, g * dy
            gx, gy, g0 = gx + hx, gy + hy, g0 + g
            gxx, gxy, gyy = gxx + hx * dx, gxy + hx * dy, gyy + hy * dy
        sums = hsums((gx, gy, gxx, gxy, gyy, g0, g_red, g_green, g_blue, g_z))
        store_first(slots, at_slot, load(_OUTER, 0) * sums, 10)


@njit(cache=True, nogil=True)
def blend_backward(
    start, stop, tiles_x, tiles_y, width, height, planes, records, tile_start, offsets, entries, backgrounds,
    v_rgb, v_alpha, v_depth, slots,
):  # fmt: skip
    """Gradients of tiles [start, stop) into their entries' slots, flat [entries * GRADIENTS].

    Transmittance and alpha are recomputed front to back into a scratch buffer, then swept back to front with
    `dL/d alpha_i = T_i (own_i - behind_i)`, which needs no division.
    """
    n_tiles = tiles_x * tiles_y
    v_rgb, v_alpha, v_depth = (
        v_rgb.reshape(v_rgb.size),
        v_alpha.reshape(v_alpha.size),
        v_depth.reshape(v_depth.size),
    )
    grad, block_scratch = np.empty((planes + 1) * _PLANE, np.float32), np.empty(LANES, np.float32)
    lengths, lists = np.empty(_BLOCKS, np.int64), np.empty(0, np.int32)
    visits, drawn = np.empty(0, np.int32), np.empty(0, np.int32)
    scratch = np.empty(0, np.float32)
    for item in range(start, stop):
        cam, tile = item // n_tiles, item % n_tiles
        base = offsets[cam]
        first, last = base + tile_start[cam, tile], base + tile_start[cam, tile + 1]
        if first == last:
            continue
        total = 0
        for e in range(first, last):
            total += popcount(entries[e, 1])
        if total * 2 * LANES > scratch.size:
            scratch = np.empty(total * 3 * LANES, np.float32)
        if last - first > visits.size:
            size = (last - first) * 3 // 2
            visits, drawn = np.empty(size, np.int32), np.empty(size, np.int32)
            lists = np.empty(size * _BLOCKS, np.int32)
        x0, y0 = (tile % tiles_x) * TILE, (tile // tiles_x) * TILE
        _read_tile(
            cam, x0, y0, width, height, planes, backgrounds[cam], v_rgb, v_alpha, v_depth, grad, block_scratch
        )  # fmt: skip
        _replay(x0, y0, first, last, records[cam], entries, lists, lengths, visits, drawn, scratch)
        cam_slots = slots[base * GRADIENTS :]
        _sweep_back(
            x0, y0, first, last, planes, records[cam], entries, visits, drawn, scratch, grad, cam_slots
        )

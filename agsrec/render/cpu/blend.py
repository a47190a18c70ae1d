"""Front-to-back alpha blending of tiles, and its analytic backward pass.

A tile is 4x4 blocks of 4x4 pixels; a block is one 16-lane vector. Buffers of a tile are planar: channel
planes of 16 blocks of 16 lanes.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from agsrec.render.cpu.binning import BLOCK, TILE
from agsrec.render.cpu.simd import (
    LANES,
    any_le,
    hsum,
    load,
    lowest_bit,
    popcount,
    splat,
    store,
    vmin,
    where_le,
)

__all__ = ["GRADIENTS", "blend_backward", "blend_forward"]

GRADIENTS = 10
"""Gradient floats per slot: sums of g dx, g dy, g dx^2, g dx dy, g dy^2, g, and red, green, blue, depth."""

_PLANE = TILE * TILE
_MAX_ALPHA = np.float32(0.999)
_MIN_TRANSMITTANCE = np.float32(1e-4)
_CUTOFF = np.float32(math.log(255.0) / 8.0)
# Near-minimax polynomial of exp(-x) on [0, ln(255) / 8]; 6e-7 relative error after the 8th power.
_NODES = (np.cos((np.arange(64) + 0.5) * np.pi / 64) + 1) / 2 * float(_CUTOFF)
_E5, _E4, _E3, _E2, _E1, _E0 = (
    np.float32(c) for c in np.polyfit(_NODES, np.exp(-_NODES), 5, w=np.exp(_NODES))
)  # fmt: skip
_LANE_X = np.tile(np.arange(BLOCK, dtype=np.float32), BLOCK)
_LANE_Y = np.repeat(np.arange(BLOCK, dtype=np.float32), BLOCK)


@njit(cache=True, nogil=True)
def _exponent(dx, dy, a, b, c, k):
    return (a * dx + b * dy) * dx + (c * dy * dy + k)


@njit(cache=True, nogil=True)
def _alpha(x):
    """`exp(-x)^8`, capped, and zero where it would be below 1/255."""
    e = ((((splat(_E5) * x + splat(_E4)) * x + splat(_E3)) * x + splat(_E2)) * x + splat(_E1)) * x + splat(
        _E0
    )
    e = e * e
    e = e * e
    return where_le(x, splat(_CUTOFF), vmin(e * e, splat(_MAX_ALPHA)), splat(0.0))


@njit(cache=True, nogil=True)
def _advance(t, alpha):
    """Transmittance after a layer and the layer's weight.

    A pixel whose transmittance would fall to 1e-4 is finished: the layer is not drawn, and the transmittance
    is kept with its sign flipped, so that every later layer finds it finished.
    """
    weight = t * alpha
    after = t - weight
    limit = splat(_MIN_TRANSMITTANCE)
    zero = splat(0.0)
    kept = vmin(t, zero - t)
    return where_le(after, limit, kept, after), where_le(after, limit, zero, weight)


@njit(cache=True, nogil=True)
def _write_tile(x0, y0, width, height, planes, background, state, rgb, alpha, depth):
    """Copy a tile's planes to the images of one camera, over the background."""
    for y in range(min(TILE, height - y0)):
        for x in range(min(TILE, width - x0)):
            j = ((y >> 2) * BLOCK + (x >> 2)) * LANES + ((y & 3) << 2) + (x & 3)
            t = abs(state[j])
            for channel in range(3):
                rgb[channel, y0 + y, x0 + x] = state[(1 + channel) * _PLANE + j] + t * background[channel]
            alpha[y0 + y, x0 + x] = np.float32(1.0) - t
            if planes == 5:
                depth[y0 + y, x0 + x] = state[4 * _PLANE + j]


@njit(cache=True, nogil=True)
def blend_forward(
    start, stop, tiles_x, tiles_y, width, height, planes, records, tile_start, offsets, entries, backgrounds,
    rgb, alpha, depth,
):  # fmt: skip
    """Blend tiles [start, stop) of all cameras; work items run over (camera, tile).

    Outputs rgb [V, 3, H, W], alpha [V, H, W] and, with 5 planes, accumulated depth [V, H, W].
    """
    n_tiles = tiles_x * tiles_y
    state = np.empty(planes * _PLANE, np.float32)
    for item in range(start, stop):
        cam, tile = item // n_tiles, item % n_tiles
        x0, y0 = (tile % tiles_x) * TILE, (tile // tiles_x) * TILE
        state[:_PLANE] = 1.0
        state[_PLANE:] = 0.0
        live = 0xFFFF
        base = offsets[cam]
        for e in range(base + tile_start[cam, tile], base + tile_start[cam, tile + 1]):
            rec = records[cam, entries[e, 0]]
            mask = entries[e, 1] & live
            a, b, c, k = splat(rec[2]), splat(rec[3]), splat(rec[4]), splat(rec[5])
            dx0 = splat(np.float32(x0) + np.float32(0.5) - rec[0]) + load(_LANE_X, 0)
            dy0 = splat(np.float32(y0) + np.float32(0.5) - rec[1]) + load(_LANE_Y, 0)
            red, green, blue, z = splat(rec[6]), splat(rec[7]), splat(rec[8]), splat(rec[9])
            while mask:
                block = lowest_bit(mask)
                mask &= mask - 1
                dx = dx0 + splat((block & 3) * BLOCK)
                dy = dy0 + splat((block >> 2) * BLOCK)
                at = block * LANES
                t, weight = _advance(load(state, at), _alpha(_exponent(dx, dy, a, b, c, k)))
                store(state, at, t)
                store(state, at + _PLANE, load(state, at + _PLANE) + weight * red)
                store(state, at + 2 * _PLANE, load(state, at + 2 * _PLANE) + weight * green)
                store(state, at + 3 * _PLANE, load(state, at + 3 * _PLANE) + weight * blue)
                if planes == 5:
                    store(state, at + 4 * _PLANE, load(state, at + 4 * _PLANE) + weight * z)
                if not any_le(splat(0.0), t):
                    live &= ~(1 << block)
            if live == 0:
                break
        _write_tile(x0, y0, width, height, planes, backgrounds[cam], state, rgb[cam], alpha[cam], depth[cam])


@njit(cache=True, nogil=True)
def _read_tile(x0, y0, width, height, planes, background, v_rgb, v_alpha, v_depth, grad):
    """Gather a tile's image gradients into planes: red, green, blue, alpha, (depth), and the value behind."""
    grad[:] = 0.0
    behind = planes * _PLANE
    for y in range(min(TILE, height - y0)):
        for x in range(min(TILE, width - x0)):
            j = ((y >> 2) * BLOCK + (x >> 2)) * LANES + ((y & 3) << 2) + (x & 3)
            total = np.float32(0.0)
            for channel in range(3):
                g = v_rgb[channel, y0 + y, x0 + x]
                grad[channel * _PLANE + j] = g
                total += g * background[channel]
            grad[3 * _PLANE + j] = v_alpha[y0 + y, x0 + x]
            if planes == 5:
                grad[4 * _PLANE + j] = v_depth[y0 + y, x0 + x]
            grad[behind + j] = total


@njit(cache=True, nogil=True)
def _replay(x0, y0, first, last, records, entries, state, masks, scratch):
    """Repeat a tile's forward pass, keeping each layer's alpha and transmittance.

    Returns the end of the entries that were drawn and the number of vectors written to `scratch`; `masks`
    receives the blocks each entry really touched.
    """
    state[:_PLANE] = 1.0
    live = 0xFFFF
    visits = 0
    for e in range(first, last):
        rec = records[entries[e, 0]]
        mask = entries[e, 1] & live
        a, b, c, k = splat(rec[2]), splat(rec[3]), splat(rec[4]), splat(rec[5])
        dx0 = splat(np.float32(x0) + np.float32(0.5) - rec[0]) + load(_LANE_X, 0)
        dy0 = splat(np.float32(y0) + np.float32(0.5) - rec[1]) + load(_LANE_Y, 0)
        masks[e - first] = mask
        while mask:
            block = lowest_bit(mask)
            mask &= mask - 1
            dx = dx0 + splat((block & 3) * BLOCK)
            dy = dy0 + splat((block >> 2) * BLOCK)
            before = load(state, block * LANES)
            alpha = _alpha(_exponent(dx, dy, a, b, c, k))
            t, weight = _advance(before, alpha)
            store(state, block * LANES, t)
            # Zero weight marks lanes that were not drawn; their alpha must not act in the reverse sweep.
            store(scratch, visits * 2 * LANES, where_le(weight, splat(0.0), splat(0.0), alpha))
            store(scratch, visits * 2 * LANES + LANES, before)
            visits += 1
            if not any_le(splat(0.0), t):
                live &= ~(1 << block)
        if live == 0:
            return e + 1, visits
    return last, visits


@njit(cache=True, nogil=True)
def _sweep_back(x0, y0, first, end, visits, planes, records, entries, masks, scratch, grad, slots):
    """Back-to-front sweep of one tile: gradients of each entry into its slot."""
    zero = splat(0.0)
    behind = planes * _PLANE
    for e in range(end - 1, first - 1, -1):
        rec = records[entries[e, 0]]
        mask = masks[e - first]
        visits -= popcount(mask)
        dx0 = splat(np.float32(x0) + np.float32(0.5) - rec[0]) + load(_LANE_X, 0)
        dy0 = splat(np.float32(y0) + np.float32(0.5) - rec[1]) + load(_LANE_Y, 0)
        red, green, blue, z = splat(rec[6]), splat(rec[7]), splat(rec[8]), splat(rec[9])
        gx, gy, gxx, gxy, gyy, g0 = zero, zero, zero, zero, zero, zero
        g_red, g_green, g_blue, g_z = zero, zero, zero, zero
        at_scratch = visits * 2 * LANES
        while mask:
            block = lowest_bit(mask)
            mask &= mask - 1
            at = block * LANES
            alpha, t = load(scratch, at_scratch), load(scratch, at_scratch + LANES)
            at_scratch += 2 * LANES
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
            # d alpha / d x = -8 alpha, except where alpha is capped.
            g = where_le(splat(_MAX_ALPHA), alpha, zero, weight * difference)
            dx = dx0 + splat((block & 3) * BLOCK)
            dy = dy0 + splat((block >> 2) * BLOCK)
            hx, hy = g * dx, g * dy
            gx, gy, g0 = gx + hx, gy + hy, g0 + g
            gxx, gxy, gyy = gxx + hx * dx, gxy + hx * dy, gyy + hy * dy
        at = entries[e, 2] * GRADIENTS
        eight = np.float32(-8.0)
        slots[at + 0], slots[at + 1] = eight * hsum(gx), eight * hsum(gy)
        slots[at + 2], slots[at + 3], slots[at + 4] = eight * hsum(gxx), eight * hsum(gxy), eight * hsum(gyy)
        slots[at + 5] = eight * hsum(g0)
        slots[at + 6], slots[at + 7], slots[at + 8] = hsum(g_red), hsum(g_green), hsum(g_blue)
        slots[at + 9] = hsum(g_z)


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
    state = np.empty(_PLANE, np.float32)
    grad = np.empty((planes + 1) * _PLANE, np.float32)
    masks = np.empty(0, np.int32)
    scratch = np.empty(0, np.float32)
    for item in range(start, stop):
        cam, tile = item // n_tiles, item % n_tiles
        base = offsets[cam]
        first, last = base + tile_start[cam, tile], base + tile_start[cam, tile + 1]
        if first == last:
            continue
        visits = 0
        for e in range(first, last):
            visits += popcount(entries[e, 1])
        if visits * 2 * LANES > scratch.size:
            scratch = np.empty(visits * 3 * LANES, np.float32)
        if last - first > masks.size:
            masks = np.empty((last - first) * 3 // 2, np.int32)
        x0, y0 = (tile % tiles_x) * TILE, (tile // tiles_x) * TILE
        _read_tile(
            x0, y0, width, height, planes, backgrounds[cam], v_rgb[cam], v_alpha[cam], v_depth[cam], grad
        )  # fmt: skip
        end, visits = _replay(x0, y0, first, last, records[cam], entries, state, masks, scratch)
        cam_slots = slots[base * GRADIENTS :]
        _sweep_back(
            x0, y0, first, end, visits, planes, records[cam], entries, masks, scratch, grad, cam_slots
        )
        for e in range(end, last):
            at = entries[e, 2] * GRADIENTS
            cam_slots[at : at + GRADIENTS] = 0.0

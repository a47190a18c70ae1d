"""Deterministic lattice noise as compiled functions of one point.

All depend on integer hashes of lattice points only, so equal arguments give equal bits anywhere.
"""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["cell_noise_at", "fbm_at", "hash_lattice", "value_noise_at"]


@njit(cache=True, nogil=True, error_model="numpy")
def _hash_bits(ix, iy, iz, seed):
    """32 well-mixed bits of an integer lattice point (Wang-style avalanche)."""
    h = np.uint32(ix) * np.uint32(0x8DA6B343)
    h ^= np.uint32(iy) * np.uint32(0xD8163841)
    h ^= np.uint32(iz) * np.uint32(0xCB1AB31F)
    h ^= np.uint32(seed) * np.uint32(0x165667B1)
    h = np.uint32((h ^ (h >> np.uint32(16))) * np.uint32(0x7FEB352D))
    h = np.uint32((h ^ (h >> np.uint32(15))) * np.uint32(0x846CA68B))
    return np.uint32(h ^ (h >> np.uint32(16)))


@njit(cache=True, nogil=True, error_model="numpy")
def hash_lattice(ix, iy, iz, seed):
    """Uniform [0, 1) number of an integer lattice point."""
    return np.float64(_hash_bits(ix, iy, iz, seed)) / 4294967296.0


@njit(cache=True, nogil=True, error_model="numpy")
def _fade(t):
    return t * t * (3.0 - 2.0 * t)


@njit(cache=True, nogil=True, error_model="numpy")
def value_noise_at(x, y, z, seed):
    """Smooth noise in [0, 1) with unit lattice spacing at one point."""
    fx, fy, fz = np.floor(x), np.floor(y), np.floor(z)
    ix, iy, iz = np.int64(fx), np.int64(fy), np.int64(fz)
    tx, ty, tz = _fade(x - fx), _fade(y - fy), _fade(z - fz)
    total = 0.0
    for dz in range(2):
        wz = tz if dz else 1.0 - tz
        for dy in range(2):
            wy = ty if dy else 1.0 - ty
            left = hash_lattice(ix, iy + dy, iz + dz, seed)
            right = hash_lattice(ix + 1, iy + dy, iz + dz, seed)
            total += wz * wy * (left + (right - left) * tx)
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def fbm_at(x, y, z, octaves, seed):
    """Sum of `octaves` value noises, each twice as fine and half as strong, in [0, 1)."""
    total, weight, amplitude = 0.0, 0.0, 1.0
    for octave in range(octaves):
        total += amplitude * value_noise_at(x, y, z, seed + octave)
        weight += amplitude
        amplitude *= 0.5
        x, y, z = 2.0 * x + 17.3, 2.0 * y + 5.1, 2.0 * z + 11.7
    return total / weight


@njit(cache=True, nogil=True, error_model="numpy")
def _cell_gap(t, step):
    """Squared distance along one axis from position t of a unit cell to the neighbouring cell `step` away."""
    if step == 0:
        return 0.0
    return t * t if step < 0 else (1.0 - t) * (1.0 - t)


@njit(cache=True, nogil=True, error_model="numpy")
def cell_noise_at(x, y, z, seed):
    """Distance to the nearest of one random point per unit cell, and that cell's own number in [0, 1)."""
    ix, iy, iz = np.int64(np.floor(x)), np.int64(np.floor(y)), np.int64(np.floor(z))
    nearest, bx, by, bz = 1e9, ix, iy, iz
    for dz in (0, -1, 1):
        gap_z = _cell_gap(z - iz, dz)
        if gap_z > nearest:
            continue
        for dy in (0, -1, 1):
            gap_y = gap_z + _cell_gap(y - iy, dy)
            if gap_y > nearest:
                continue
            for dx in (0, -1, 1):
                if gap_y + _cell_gap(x - ix, dx) > nearest:
                    continue
                cx, cy, cz = ix + dx, iy + dy, iz + dz
                bits = _hash_bits(cx, cy, cz, seed)  # ten bits per coordinate
                px = cx + np.float64(bits & np.uint32(1023)) / 1024.0 - x
                py = cy + np.float64((bits >> np.uint32(10)) & np.uint32(1023)) / 1024.0 - y
                pz = cz + np.float64((bits >> np.uint32(20)) & np.uint32(1023)) / 1024.0 - z
                d = px * px + py * py + pz * pz
                if d < nearest:
                    nearest, bx, by, bz = d, cx, cy, cz
    return np.sqrt(nearest), hash_lattice(bx, by, bz, seed + 1)

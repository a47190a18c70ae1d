"""Radix sort of Gaussians by depth."""

from __future__ import annotations

from numba import njit

__all__ = ["BUCKETS", "sort_by_depth"]

_RADIX_BITS = 12
BUCKETS = 1 << _RADIX_BITS
"""Width of the two histograms that sorting needs."""


@njit(cache=True, nogil=True)
def _scatter(count, keys, order, shift, keys_out, order_out, cursor):
    """One pass: bucket by bucket, those of one bucket in the order in which they come."""
    total = 0
    for bucket in range(BUCKETS):
        size = cursor[bucket]
        cursor[bucket] = total
        total += size
    for i in range(count):
        bucket = (keys[i] >> shift) & (BUCKETS - 1)
        slot = cursor[bucket]
        cursor[bucket] = slot + 1
        keys_out[slot] = keys[i]
        order_out[slot] = order[i]


@njit(cache=True, nogil=True)
def sort_by_depth(count, nearest, farthest, keys, index, keys2, index2, histograms, order):
    """Copy the first `count` of `index` to `order`, sorted by their `keys`; all buffers are overwritten.

    Keys are bit patterns of positive float32 depths, which sort like the depths, counted from the nearest:
    two radix passes where the farthest is within 24 bits of it (a factor of four in depth), else three.
    `histograms` [2, BUCKETS].
    """
    low, high = histograms[0], histograms[1]
    low[:], high[:] = 0, 0
    for j in range(count):
        key = keys[j] - nearest
        keys[j] = key
        low[key & (BUCKETS - 1)] += 1
        high[(key >> _RADIX_BITS) & (BUCKETS - 1)] += 1
    _scatter(count, keys, index, 0, keys2, index2, low)
    _scatter(count, keys2, index2, _RADIX_BITS, keys, order, high)
    if count and (farthest - nearest) >> (2 * _RADIX_BITS):
        low[:] = 0
        for j in range(count):
            low[keys[j] >> (2 * _RADIX_BITS)] += 1
        _scatter(count, keys, order, 2 * _RADIX_BITS, keys2, index2, low)
        order[:count] = index2[:count]

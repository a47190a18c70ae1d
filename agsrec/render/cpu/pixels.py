"""Blocks of 4x4 pixels to and from pictures, which are flat planes [H * W] one behind the other."""

from __future__ import annotations

from numba import njit

from agsrec.render.cpu.layers import BLOCK
from agsrec.render.cpu.simd import load, load_rows, splat, store, store_rows

__all__ = ["read_block", "write_block"]


@njit(cache=True, nogil=True, forceinline=True)
def write_block(picture, at, x, y, width, height, value, scratch):
    """Write what of a block with its first pixel at (x, y) lies within the plane that begins at `at`.

    `scratch` [16] may be overwritten.
    """
    to = at + y * width + x
    if x + BLOCK <= width and y + BLOCK <= height:
        store_rows(picture, to, width, value)
        return
    store(scratch, 0, value)
    for row in range(min(BLOCK, height - y)):
        for column in range(min(BLOCK, width - x)):
            picture[to + row * width + column] = scratch[row * BLOCK + column]


@njit(cache=True, nogil=True, forceinline=True)
def read_block(picture, at, x, y, width, height, scratch):
    """The pixels of a block with its first at (x, y) in the plane that begins at `at`, 0 beyond the picture.

    `scratch` [16] may be overwritten.
    """
    begin = at + y * width + x
    if x + BLOCK <= width and y + BLOCK <= height:
        return load_rows(picture, begin, width)
    store(scratch, 0, splat(0.0))
    for row in range(min(BLOCK, height - y)):
        for column in range(min(BLOCK, width - x)):
            scratch[row * BLOCK + column] = picture[begin + row * width + column]
    return load(scratch, 0)

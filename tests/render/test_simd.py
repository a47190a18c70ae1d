from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numba import njit
from numba.core.errors import TypingError

from agsrec.render.cpu.simd import (
    LANES,
    any_le,
    ceil,
    floor,
    hsum,
    hsums,
    lanes_le,
    load,
    load_rows,
    lowest_bit,
    minus_abs,
    padded,
    popcount,
    prefetch,
    splat,
    sqrt,
    store,
    store_first,
    store_rows,
    store_transposed,
    vmax,
    vmin,
    where_le,
)

OPERATIONS = (
    "add",
    "sub",
    "mul",
    "div",
    "min",
    "max",
    "where",
    "floor",
    "ceil",
    "sqrt",
    "splat",
    "minus_abs",
)


# Not cached: a cache would not notice a change of the intrinsics.
@njit
def every_operation(a, b, out, sums):
    """`a` and `b` are read at an odd offset, `out` [operations * 16] is written lane by lane."""
    x, y = load(a, 3), load(b, 5)
    store(out, 0 * LANES, x + y)
    store(out, 1 * LANES, x - y)
    store(out, 2 * LANES, x * y)
    store(out, 3 * LANES, x / y)
    store(out, 4 * LANES, vmin(x, y))
    store(out, 5 * LANES, vmax(x, y))
    store(out, 6 * LANES, where_le(x, y, splat(1.5), y))
    store(out, 7 * LANES, floor(x))
    store(out, 8 * LANES, ceil(x))
    store(out, 9 * LANES, sqrt(x * x))
    store(out, 10 * LANES, splat(7))
    store(out, 11 * LANES, minus_abs(x))
    sums[0] = hsum(x)
    return any_le(x, y), any_le(splat(2.0), splat(1.0))


@njit
def sums_of_rows(rows, out):
    """Of eleven rows of 16, the first ten of whose sums are written from the third place on."""
    prefetch(rows, 10_000_000)
    sums = hsums((
        load(rows, 0), load(rows, 16), load(rows, 32), load(rows, 48), load(rows, 64), load(rows, 80),
        load(rows, 96), load(rows, 112), load(rows, 128), load(rows, 144), load(rows, 160),
    ))  # fmt: skip
    store_first(out, 2, sums, 10)


def test_sums_of_several_vectors_at_once() -> None:
    rows = np.random.default_rng(0).standard_normal((11, LANES)).astype(np.float32)
    out = np.full(14, 9, np.float32)
    sums_of_rows(rows.ravel(), out)
    np.testing.assert_allclose(out[2:12], rows.sum(1)[:10], rtol=1e-5, atol=1e-5)
    assert (out[[0, 1, 12, 13]] == 9).all()


@njit
def transposed(rows, out):
    """Of three rows of 16, from the second place on."""
    store_transposed(out, 1, (load(rows, 0), load(rows, 16), load(rows, 32)))


def test_rows_become_columns() -> None:
    rows = np.arange(3 * LANES, dtype=np.float32)
    out = np.full(LANES * LANES + 2, -1, np.float32)
    transposed(rows, out)
    np.testing.assert_array_equal(out[1:-1].reshape(LANES, LANES)[:, :3], rows.reshape(3, LANES).T)
    assert out[0] == -1 and out[-1] == -1


@njit
def copied_rows(source, out):
    store_rows(out, 3, 5, load_rows(source, 2, 7))


def test_rows_of_four() -> None:
    source, out = np.arange(30, dtype=np.float32), np.full(25, -1, np.float32)
    copied_rows(source, out)
    want = np.full(25, -1, np.float32)
    for row in range(4):
        want[3 + 5 * row : 7 + 5 * row] = source[2 + 7 * row : 6 + 7 * row]
    np.testing.assert_array_equal(out, want)


@njit
def which_le(a, b):
    return lanes_le(load(a, 0), load(b, 0))


def test_lanes_are_bits() -> None:
    a, b = np.random.default_rng(1).standard_normal((2, LANES)).astype(np.float32)
    a[3], b[5] = b[3], np.nan
    assert which_le(a, b) == sum(1 << lane for lane in range(LANES) if a[lane] <= b[lane])
    assert which_le(a, a) == 0xFFFF


@njit
def bits(value):
    return lowest_bit(value), popcount(value)


def run(a: np.ndarray, b: np.ndarray) -> tuple[dict[str, np.ndarray], np.float32, Any]:
    buffers = [np.full(n, 9, np.float32) for n in (30, 30)]
    buffers[0][3 : 3 + LANES], buffers[1][5 : 5 + LANES] = a, b
    out = np.zeros(len(OPERATIONS) * LANES, np.float32)
    sums = np.zeros(1, np.float32)
    answers = every_operation(buffers[0], buffers[1], out, sums)
    return dict(zip(OPERATIONS, out.reshape(-1, LANES), strict=True)), sums[0], answers


def test_lanes_match_numpy() -> None:
    rng = np.random.default_rng(0)
    a, b = (4 * rng.standard_normal((2, LANES))).astype(np.float32)
    a[:3], b[:3] = (2.0, -3.0, 0.0), (2.0, 1.0, 0.5)
    got, total, answers = run(a, b)
    want = {
        "add": a + b,
        "sub": a - b,
        "mul": a * b,
        "div": a / b,
        "min": np.minimum(a, b),
        "max": np.maximum(a, b),
        "where": np.where(a <= b, np.float32(1.5), b),
        "floor": np.floor(a),
        "ceil": np.ceil(a),
        "sqrt": np.abs(a),
        "splat": np.full(LANES, 7, np.float32),
        "minus_abs": -np.abs(a),
    }
    for name in OPERATIONS:
        np.testing.assert_allclose(got[name], want[name], rtol=1e-6, atol=1e-7, err_msg=name)
    np.testing.assert_allclose(total, a.sum(dtype=np.float64), rtol=1e-5)
    assert answers == (True, False)


def test_a_single_lane_decides_any_le() -> None:
    for lane in (0, 7, LANES - 1):
        b = np.zeros(LANES, np.float32)
        b[lane] = 1.0
        assert run(np.ones(LANES, np.float32), b)[2][0]
    assert not run(np.ones(LANES, np.float32), np.zeros(LANES, np.float32))[2][0]


def test_nan_is_not_below_anything() -> None:
    nan, ones = np.full(LANES, np.nan, np.float32), np.ones(LANES, np.float32)
    got, _, (below, _) = run(nan, ones)
    assert not below
    np.testing.assert_array_equal(got["where"], ones)


@pytest.mark.parametrize("value", [1, 2, 3, 0b1010_0000, 0x8000, 0x10000, 2**31 - 1, 0])
def test_bits(value: int) -> None:
    lowest = (value & -value).bit_length() - 1 if value else 32
    assert bits(value) == (lowest, value.bit_count())


def test_only_flat_float32_arrays() -> None:
    @njit
    def lanes(array):
        return hsum(load(array, 0))

    for wrong in (np.zeros(16), np.zeros((4, 4), np.float32), np.zeros(32, np.float32)[::2]):
        with pytest.raises((TypingError, TypeError), match="flat float32 array"):
            lanes(wrong)


@pytest.mark.parametrize(("n", "want"), [(0, 0), (1, 16), (16, 16), (17, 32)])
def test_padded(n: int, want: int) -> None:
    assert padded(n) == want

"""Real spherical harmonics up to degree 3 and their derivatives, 16 directions at a time.

Order and signs are those of 3D Gaussian Splatting: bands (l, m) with m = -l..l.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from agsrec.render.cpu.simd import LANES, splat, store

__all__ = ["sh_basis", "sh_basis_grad"]

_C0 = np.float32(0.28209479177387814)
_C1 = np.float32(0.4886025119029199)
_C2A = np.float32(1.0925484305920792)
_C2B = np.float32(0.31539156525252005)
_C2C = np.float32(0.5462742152960396)
_C3A = np.float32(0.5900435899266435)
_C3B = np.float32(2.890611442640554)
_C3C = np.float32(0.4570457994644658)
_C3D = np.float32(0.3731763325901154)
_C3E = np.float32(1.445305721320277)
_L = LANES


@njit(cache=True, nogil=True)
def sh_basis(x, y, z, degree, out):
    """Basis values of unit directions (x, y, z) into `out`, flat [16 bases * 16 lanes]."""
    store(out, 0, splat(_C0))
    if degree > 0:
        store(out, 1 * _L, splat(-_C1) * y)
        store(out, 2 * _L, splat(_C1) * z)
        store(out, 3 * _L, splat(-_C1) * x)
    if degree > 1:
        xx, yy, zz = x * x, y * y, z * z
        store(out, 4 * _L, splat(_C2A) * x * y)
        store(out, 5 * _L, splat(-_C2A) * y * z)
        store(out, 6 * _L, splat(_C2B) * (zz + zz - xx - yy))
        store(out, 7 * _L, splat(-_C2A) * x * z)
        store(out, 8 * _L, splat(_C2C) * (xx - yy))
        if degree > 2:
            three, four, two = splat(3.0), splat(4.0), splat(2.0)
            store(out, 9 * _L, splat(-_C3A) * y * (three * xx - yy))
            store(out, 10 * _L, splat(_C3B) * x * y * z)
            store(out, 11 * _L, splat(-_C3C) * y * (four * zz - xx - yy))
            store(out, 12 * _L, splat(_C3D) * z * (two * zz - three * xx - three * yy))
            store(out, 13 * _L, splat(-_C3C) * x * (four * zz - xx - yy))
            store(out, 14 * _L, splat(_C3E) * z * (xx - yy))
            store(out, 15 * _L, splat(-_C3A) * x * (xx - three * yy))


@njit(cache=True, nogil=True)
def _store3(out, base, dx, dy, dz):
    store(out, (3 * base + 0) * _L, dx)
    store(out, (3 * base + 1) * _L, dy)
    store(out, (3 * base + 2) * _L, dz)


@njit(cache=True, nogil=True)
def sh_basis_grad(x, y, z, degree, out):
    """Derivatives of the basis by (x, y, z) into `out`, flat [16 bases * 3 * 16 lanes]."""
    zero = splat(0.0)
    _store3(out, 0, zero, zero, zero)
    if degree > 0:
        _store3(out, 1, zero, splat(-_C1), zero)
        _store3(out, 2, zero, zero, splat(_C1))
        _store3(out, 3, splat(-_C1), zero, zero)
    if degree > 1:
        two, four = splat(2.0), splat(4.0)
        a, b, c = splat(_C2A), splat(_C2B), splat(_C2C)
        _store3(out, 4, a * y, a * x, zero)
        _store3(out, 5, zero, zero - a * z, zero - a * y)
        _store3(out, 6, zero - two * b * x, zero - two * b * y, four * b * z)
        _store3(out, 7, zero - a * z, zero, zero - a * x)
        _store3(out, 8, two * c * x, zero - two * c * y, zero)
        if degree > 2:
            three, six, eight = splat(3.0), splat(6.0), splat(8.0)
            xx, yy, zz = x * x, y * y, z * z
            a, b, c = splat(_C3A), splat(_C3B), splat(_C3C)
            d, e = splat(_C3D), splat(_C3E)
            _store3(out, 9, zero - six * a * x * y, three * a * (yy - xx), zero)
            _store3(out, 10, b * y * z, b * x * z, b * x * y)
            _store3(out, 11, two * c * x * y, c * (xx + three * yy - four * zz), zero - eight * c * y * z)
            _store3(out, 12, zero - six * d * x * z, zero - six * d * y * z, three * d * (two * zz - xx - yy))
            _store3(out, 13, c * (three * xx + yy - four * zz), two * c * x * y, zero - eight * c * x * z)
            _store3(out, 14, two * e * x * z, zero - two * e * y * z, e * (xx - yy))
            _store3(out, 15, three * a * (yy - xx), six * a * x * y, zero)

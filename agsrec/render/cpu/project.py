"""Projection of 3D Gaussians to 2D (EWA splatting, Zwicker et al. 2002), 16 Gaussians at a time.

Everything is stored as structure of arrays in flat float32 buffers with the Gaussian index running fastest,
padded to a multiple of 16. The exponent of a Gaussian at pixel offset (dx, dy) from its centre is kept
divided by 8, with the opacity folded in: `x = A dx^2 + B dx dy + C dy^2 + k`, `alpha = exp(-x)^8`.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from agsrec.render.cpu.footprint import blocks_along, tiles16
from agsrec.render.cpu.sh import sh_basis
from agsrec.render.cpu.simd import LANES, load, splat, sqrt, store, store_transposed, vmax, vmin, where_le

__all__ = [
    "CAMERA_FLOATS",
    "PROJECTED",
    "RECORD",
    "SCENE",
    "SCENE_FLOATS",
    "color16",
    "project",
    "project16",
    "setup_scene",
]

# Rows of the per-scene buffer [SCENE_FLOATS, Np].
SCENE_FLOATS = 11
X, Y, Z, S00, S01, S02, S11, S12, S22, K, CUT = range(SCENE_FLOATS)
SCENE = (X, Y, Z, S00, S01, S02, S11, S12, S22, K, CUT)

# Rows of the per-camera buffer [PROJECTED, Np]: what the backward pass needs, the extents, and in how many
# tiles it may be.
PROJECTED = 10
A, B, C, DEPTH, HX, HY, TILES, RED, GREEN, BLUE = range(PROJECTED)

RECORD = 16
"""Floats of a Gaussian's record, all that drawing needs in one line of the cache: centre x and y, A, B, C, k,
red, green, blue, depth; then `SLOPES` and `BOX`."""
SLOPES = 10
"""Column of a record with two slopes: the exponent is least where dx = slope * dy in a row, and where
dy = slope * dx in a column."""
BOX = 12
"""Column of a record with its first tile column and row, the number of columns, and of tiles."""

# Columns of the camera parameters [V, CAMERA_FLOATS]: R row-major, t, fx, fy, cx, cy, centre.
CAMERA_FLOATS = 19

MIN_ALPHA = 1.0 / 255.0
# Standard deviations at which an opaque Gaussian falls to that.
_REACH = 3.33
_LOG_255 = math.log(255.0)
_CHUNK = 1024


@njit(cache=True, nogil=True)
def setup_scene(start, stop, means, quats, scales, opacities, scene):
    """Camera-independent quantities of Gaussians [start, stop): covariance, opacity term, cut-off radius.

    `CUT` is the radius in standard deviations at which alpha falls below 1/255, or -1 if it never reaches it.
    """
    for i in range(start, stop):
        w, x, y, z = quats[i, 0], quats[i, 1], quats[i, 2], quats[i, 3]
        n = np.float32(1.0) / max(math.sqrt(w * w + x * x + y * y + z * z), np.float32(1e-12))
        w, x, y, z = w * n, x * n, y * n, z * n
        sx, sy, sz = scales[i, 0], scales[i, 1], scales[i, 2]
        m00, m01, m02 = (1 - 2 * (y * y + z * z)) * sx, 2 * (x * y - w * z) * sy, 2 * (x * z + w * y) * sz
        m10, m11, m12 = 2 * (x * y + w * z) * sx, (1 - 2 * (x * x + z * z)) * sy, 2 * (y * z - w * x) * sz
        m20, m21, m22 = 2 * (x * z - w * y) * sx, 2 * (y * z + w * x) * sy, (1 - 2 * (x * x + y * y)) * sz
        scene[X, i], scene[Y, i], scene[Z, i] = means[i, 0], means[i, 1], means[i, 2]
        scene[S00, i] = m00 * m00 + m01 * m01 + m02 * m02
        scene[S01, i] = m00 * m10 + m01 * m11 + m02 * m12
        scene[S02, i] = m00 * m20 + m01 * m21 + m02 * m22
        scene[S11, i] = m10 * m10 + m11 * m11 + m12 * m12
        scene[S12, i] = m10 * m20 + m11 * m21 + m12 * m22
        scene[S22, i] = m20 * m20 + m21 * m21 + m22 * m22
        o = opacities[i]
        if o > MIN_ALPHA:
            log_o = math.log(o)
            scene[K, i] = -log_o * 0.125
            scene[CUT, i] = min(_REACH, math.sqrt(2.0 * (log_o + _LOG_255)))
        else:
            scene[K, i] = 1.0
            scene[CUT, i] = -1.0


@njit(cache=True, nogil=True)
def _compensate16(kept, k_cut):
    """Opacity terms and cut-off radii of 16 Gaussians that keep their weight under the blur.

    Yu et al. 2024 (Mip-Splatting), 2D Mip filter: opacities are multiplied by the square root of the share
    `kept` [16] that the blur leaves of the footprint's determinant. `k_cut` [2 * 16] is changed in place.
    """
    for lane in range(LANES):
        if k_cut[LANES + lane] <= 0.0:
            continue
        log_o = np.float32(-8.0) * k_cut[lane] + np.float32(0.5) * math.log(max(kept[lane], 1e-30))
        above = log_o + np.float32(_LOG_255)
        k_cut[lane] = np.float32(-0.125) * log_o
        k_cut[LANES + lane] = min(_REACH, math.sqrt(2.0 * above)) if above > 0.0 else -1.0


@njit(cache=True, nogil=True, forceinline=True)
def project16(n, base, scene, cam, width, height, near, far, eps2d, antialiased, scratch):
    """Gaussians [base, base + 16) of n padded ones in one camera.

    Returns centres x and y, A, B, C, k, depths, extents x and y, and two slopes (see `SLOPES`). `scratch`
    [3 * 16] is overwritten.
    """
    one, zero = splat(1.0), splat(0.0)
    x, y, z = load(scene, X * n + base), load(scene, Y * n + base), load(scene, Z * n + base)
    r00, r01, r02 = splat(cam[0]), splat(cam[1]), splat(cam[2])
    r10, r11, r12 = splat(cam[3]), splat(cam[4]), splat(cam[5])
    r20, r21, r22 = splat(cam[6]), splat(cam[7]), splat(cam[8])
    px = r00 * x + r01 * y + r02 * z + splat(cam[9])
    py = r10 * x + r11 * y + r12 * z + splat(cam[10])
    pz = r20 * x + r21 * y + r22 * z + splat(cam[11])
    fx, fy, cx, cy = cam[12], cam[13], cam[14], cam[15]
    # Behind the camera the arithmetic only has to stay finite: those lanes are cut below.
    rz = one / where_le(splat(near), pz, pz, one)
    margin_x, margin_y = np.float32(0.15) * width / fx, np.float32(0.15) * height / fy
    u = vmin(vmax(px * rz, splat(-(cx / fx + margin_x))), splat((width - cx) / fx + margin_x))
    v = vmin(vmax(py * rz, splat(-(cy / fy + margin_y))), splat((height - cy) / fy + margin_y))
    fxz, fyz = splat(fx) * rz, splat(fy) * rz
    t00, t01, t02 = fxz * (r00 - u * r20), fxz * (r01 - u * r21), fxz * (r02 - u * r22)
    t10, t11, t12 = fyz * (r10 - v * r20), fyz * (r11 - v * r21), fyz * (r12 - v * r22)
    s00, s01, s02 = load(scene, S00 * n + base), load(scene, S01 * n + base), load(scene, S02 * n + base)
    s11, s12, s22 = load(scene, S11 * n + base), load(scene, S12 * n + base), load(scene, S22 * n + base)
    q0, q1, q2 = (
        t00 * s00 + t01 * s01 + t02 * s02,
        t00 * s01 + t01 * s11 + t02 * s12,
        t00 * s02 + t01 * s12 + t02 * s22,
    )
    w0, w1, w2 = (
        t10 * s00 + t11 * s01 + t12 * s02,
        t10 * s01 + t11 * s11 + t12 * s12,
        t10 * s02 + t11 * s12 + t12 * s22,
    )
    sharp_a = q0 * t00 + q1 * t01 + q2 * t02
    b = q0 * t10 + q1 * t11 + q2 * t12
    sharp_c = w0 * t10 + w1 * t11 + w2 * t12
    a, c = sharp_a + splat(eps2d), sharp_c + splat(eps2d)
    det = a * c - b * b
    rdet = one / where_le(det, zero, one, det)
    k, cut = load(scene, K * n + base), load(scene, CUT * n + base)
    if antialiased:
        store(scratch, 0, (sharp_a * sharp_c - b * b) * rdet)
        store(scratch, LANES, k)
        store(scratch, 2 * LANES, cut)
        _compensate16(scratch[:LANES], scratch[LANES:])
        k, cut = load(scratch, LANES), load(scratch, 2 * LANES)
    mx, my = fxz * px + splat(cx), fyz * py + splat(cy)
    hx, hy = cut * sqrt(a), cut * sqrt(c)
    # Outside the image, outside (near, far) or degenerate: marked by a negative extent.
    gone = splat(-1.0)
    hx = where_le(mx + hx, zero, gone, where_le(splat(width), mx - hx, gone, hx))
    hx = where_le(my + hy, zero, gone, where_le(splat(height), my - hy, gone, hx))
    hx = where_le(det, zero, gone, where_le(cut, zero, gone, hx))
    hx = where_le(splat(near), pz, where_le(splat(far), pz, gone, hx), gone)
    hx = where_le(zero, hx, hx, gone)  # nor what is not a number
    conic_a, conic_b, conic_c = (
        splat(1.0 / 16.0) * c * rdet,
        splat(-1.0 / 8.0) * b * rdet,
        splat(1.0 / 16.0) * a * rdet,
    )
    return mx, my, conic_a, conic_b, conic_c, k, pz, hx, hy, b / c, b / a


@njit(cache=True, nogil=True, forceinline=True)
def color16(n, base, scene, cam, sh, degree, basis):
    """Red, green and blue of Gaussians [base, base + 16) seen from one camera.

    With `degree >= 0` from the coefficients `sh`, flat [K * 3 * n], clamped at zero; with -1 `sh` has the
    colours themselves, flat [3 * n]. `basis` [16 * 16] is overwritten.
    """
    if degree < 0:
        return load(sh, base), load(sh, n + base), load(sh, 2 * n + base)
    dx = load(scene, X * n + base) - splat(cam[16])
    dy = load(scene, Y * n + base) - splat(cam[17])
    dz = load(scene, Z * n + base) - splat(cam[18])
    r = splat(1.0) / sqrt(vmax(splat(1e-24), dx * dx + dy * dy + dz * dz))
    sh_basis(dx * r, dy * r, dz * r, degree, basis)
    red, green, blue = splat(0.5), splat(0.5), splat(0.5)
    for k in range((degree + 1) * (degree + 1)):
        b, at = load(basis, k * LANES), 3 * k * n + base
        red = red + b * load(sh, at)
        green = green + b * load(sh, at + n)
        blue = blue + b * load(sh, at + 2 * n)
    return vmax(red, splat(0.0)), vmax(green, splat(0.0)), vmax(blue, splat(0.0))


@njit(cache=True, nogil=True)
def project(
    start,
    stop,
    n,
    scene,
    cameras,
    width,
    height,
    near,
    far,
    eps2d,
    antialiased,
    sh,
    degree,
    projected,
    records,
):
    """Project all Gaussians into all cameras; work items are (camera, chunk of 1024 Gaussians).

    `scene` is flat [SCENE_FLOATS * n], `projected` [V, PROJECTED * n], `records` [V, n * RECORD]. `sh` and
    `degree` as in `color16`.
    """
    basis, scratch = np.empty(16 * LANES, np.float32), np.empty(3 * LANES, np.float32)
    w, h = np.float32(width), np.float32(height)
    columns, rows = blocks_along(width), blocks_along(height)
    chunks = (n + _CHUNK - 1) // _CHUNK
    for item in range(start, stop):
        cam, out, record = cameras[item // chunks], projected[item // chunks], records[item // chunks]
        first = (item % chunks) * _CHUNK
        for base in range(first, min(first + _CHUNK, n), LANES):
            mx, my, a, b, c, k, depth, hx, hy, slope_x, slope_y = project16(
                n, base, scene, cam, w, h, near, far, eps2d, antialiased, scratch
            )  # fmt: skip
            red, green, blue = color16(n, base, scene, cam, sh, degree, basis)
            left, top, wide, tiles = tiles16(mx, my, hx, hy, columns, rows)
            shape = (a, b, c, depth, hx, hy, tiles, red, green, blue)
            for row in range(PROJECTED):
                store(out, row * n + base, shape[row])
            store_transposed(
                record, base * RECORD,
                (mx, my, a, b, c, k, red, green, blue, depth, slope_x, slope_y, left, top, wide, tiles),
            )  # fmt: skip


def project_items(n: int, views: int) -> int:
    """Number of work items of `project` for n padded Gaussians."""
    return views * -(-n // _CHUNK)

"""Analytic backward pass of the projection: from 2D gradients to Gaussian parameters and cameras."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from agsrec.render.cpu.blend import GRADIENTS
from agsrec.render.cpu.project import (
    HX,
    RED,
    S00,
    S01,
    S02,
    S11,
    S12,
    S22,
    A,
    B,
    C,
    X,
    Y,
    Z,
)
from agsrec.render.cpu.sh import sh_basis, sh_basis_grad
from agsrec.render.cpu.simd import LANES, hsum, load, splat, sqrt, store, vmax, vmin, where_le

__all__ = ["SCENE_GRADIENTS", "project_backward", "scene_backward", "sum_slots"]

# Rows of the per-scene gradient buffer [SCENE_GRADIENTS, Np]: mean, covariance (off-diagonals once), k.
SCENE_GRADIENTS = 10
_BLOCK = 256

GX, GY, GXX, GXY, GYY, GK, GRED, GGREEN, GBLUE, GDEPTH = range(GRADIENTS)


@njit(cache=True, nogil=True)
def sum_slots(start, stop, n, slot_offsets, offsets, slots, projected, out):
    """Sum each Gaussian's slots for cameras [start, stop) into flat `out` [V, GRADIENTS * n].

    The position sums become gradients of the centre (mx, my) on the way. `slots` is read 16 floats at a
    time: some must follow the last one.
    """
    total = np.empty(LANES, np.float32)
    for cam in range(start, stop):
        p, o = projected[cam], out[cam]
        base = offsets[cam]
        for i in range(n):
            sums = splat(0.0)
            for slot in range(base + slot_offsets[cam, i], base + slot_offsets[cam, i + 1]):
                sums = sums + load(slots, slot * GRADIENTS)
            store(total, 0, sums)
            sum_x, sum_y = total[GX], total[GY]
            total[GX] = -(np.float32(2.0) * p[A * n + i] * sum_x + p[B * n + i] * sum_y)
            total[GY] = -(p[B * n + i] * sum_x + np.float32(2.0) * p[C * n + i] * sum_y)
            for j in range(GRADIENTS):
                o[j * n + i] = total[j]


@njit(cache=True, nogil=True)
def _add(array, at, value):
    store(array, at, load(array, at) + value)


@njit(cache=True, nogil=True)
def _sh_backward16(n, base, scene, cam, sh, degree, p, g, basis, basis_grad, v_sh, v_scene, v_cam):
    """Colour gradients of 16 Gaussians in one camera to coefficients, means and camera centre."""
    dx = load(scene, X * n + base) - splat(cam[16])
    dy = load(scene, Y * n + base) - splat(cam[17])
    dz = load(scene, Z * n + base) - splat(cam[18])
    r = splat(1.0) / sqrt(vmax(splat(1e-24), dx * dx + dy * dy + dz * dz))
    ux, uy, uz = dx * r, dy * r, dz * r
    zero = splat(0.0)
    sh_basis(ux, uy, uz, degree, basis)
    sh_basis_grad(ux, uy, uz, degree, basis_grad)
    vx, vy, vz = zero, zero, zero
    for channel in range(3):
        v = load(g, (GRED + channel) * n + base)
        # The clamp at zero blocks the gradient.
        v = where_le(load(p, (RED + channel) * n + base), zero, zero, v)
        for k in range((degree + 1) * (degree + 1)):
            at = (3 * k + channel) * n + base
            _add(v_sh, at, load(basis, k * LANES) * v)
            s = load(sh, at) * v
            vx = vx + s * load(basis_grad, (3 * k + 0) * LANES)
            vy = vy + s * load(basis_grad, (3 * k + 1) * LANES)
            vz = vz + s * load(basis_grad, (3 * k + 2) * LANES)
    along = vx * ux + vy * uy + vz * uz
    vx, vy, vz = (vx - along * ux) * r, (vy - along * uy) * r, (vz - along * uz) * r
    _add(v_scene, 0 * n + base, vx)
    _add(v_scene, 1 * n + base, vy)
    _add(v_scene, 2 * n + base, vz)
    v_cam[16] -= hsum(vx)
    v_cam[17] -= hsum(vy)
    v_cam[18] -= hsum(vz)


@njit(cache=True, nogil=True)
def _project_backward16(n, base, scene, cam, width, height, eps2d, antialiased, p, g, v_scene, v_cam):
    """Gradients of 16 Gaussians in one camera: the mirror image of `_project16`."""
    one, zero, two = splat(1.0), splat(0.0), splat(2.0)
    seen = load(p, HX * n + base)
    x, y, z = load(scene, X * n + base), load(scene, Y * n + base), load(scene, Z * n + base)
    r00, r01, r02 = splat(cam[0]), splat(cam[1]), splat(cam[2])
    r10, r11, r12 = splat(cam[3]), splat(cam[4]), splat(cam[5])
    r20, r21, r22 = splat(cam[6]), splat(cam[7]), splat(cam[8])
    px = r00 * x + r01 * y + r02 * z + splat(cam[9])
    py = r10 * x + r11 * y + r12 * z + splat(cam[10])
    pz = r20 * x + r21 * y + r22 * z + splat(cam[11])
    fx, fy, cx, cy = cam[12], cam[13], cam[14], cam[15]
    # Unseen lanes have zero gradients; a safe depth keeps 0 * inf out.
    rz = one / where_le(seen, zero, one, pz)
    margin_x, margin_y = np.float32(0.15) * width / fx, np.float32(0.15) * height / fy
    u_raw, v_raw = px * rz, py * rz
    u_low, u_high = splat(-(cx / fx + margin_x)), splat((width - cx) / fx + margin_x)
    v_low, v_high = splat(-(cy / fy + margin_y)), splat((height - cy) / fy + margin_y)
    u, v = vmin(vmax(u_raw, u_low), u_high), vmin(vmax(v_raw, v_low), v_high)
    sfx, sfy = splat(fx), splat(fy)
    fxz, fyz = sfx * rz, sfy * rz
    d00, d01, d02 = r00 - u * r20, r01 - u * r21, r02 - u * r22
    d10, d11, d12 = r10 - v * r20, r11 - v * r21, r12 - v * r22
    t00, t01, t02 = fxz * d00, fxz * d01, fxz * d02
    t10, t11, t12 = fyz * d10, fyz * d11, fyz * d12
    # Conic (A, B, C) to 2D covariance: V = -Q G Q with Q the conic and G its symmetric gradient.
    q00, q01, q11 = (
        splat(16.0) * load(p, A * n + base),
        splat(8.0) * load(p, B * n + base),
        splat(16.0) * load(p, C * n + base),
    )
    g00 = splat(1.0 / 16.0) * load(g, GXX * n + base)
    g01 = splat(0.5 / 8.0) * load(g, GXY * n + base)
    g11 = splat(1.0 / 16.0) * load(g, GYY * n + base)
    h00, h01 = q00 * g00 + q01 * g01, q00 * g01 + q01 * g11
    h10, h11 = q01 * g00 + q11 * g01, q01 * g01 + q11 * g11
    v00 = zero - (h00 * q00 + h01 * q01)
    v01 = zero - (h00 * q01 + h01 * q11)
    v11 = zero - (h10 * q01 + h11 * q11)
    s00, s01, s02 = load(scene, S00 * n + base), load(scene, S01 * n + base), load(scene, S02 * n + base)
    s11, s12, s22 = load(scene, S11 * n + base), load(scene, S12 * n + base), load(scene, S22 * n + base)
    if antialiased:
        # The opacity term holds half the logarithm of det(sharp) / det(blurred), over -8.
        x0, x1 = t00 * s00 + t01 * s01 + t02 * s02, t00 * s01 + t01 * s11 + t02 * s12
        x2, y0 = t00 * s02 + t01 * s12 + t02 * s22, t10 * s00 + t11 * s01 + t12 * s02
        y1, y2 = t10 * s01 + t11 * s11 + t12 * s12, t10 * s02 + t11 * s12 + t12 * s22
        a, b, c = (
            x0 * t00 + x1 * t01 + x2 * t02,
            x0 * t10 + x1 * t11 + x2 * t12,
            y0 * t10 + y1 * t11 + y2 * t12,
        )
        det = a * c - b * b
        share = splat(-1.0 / 16.0) * load(g, GK * n + base)
        sharp = share / where_le(det, zero, one, det)
        v00 = v00 + sharp * c - share * q00
        v01 = v01 - sharp * b - share * q01
        v11 = v11 + sharp * a - share * q11
    # To the 3D covariance: T^T V T, off-diagonals counted once.
    e00, e01, e02 = v00 * t00 + v01 * t10, v00 * t01 + v01 * t11, v00 * t02 + v01 * t12
    e10, e11, e12 = v01 * t00 + v11 * t10, v01 * t01 + v11 * t11, v01 * t02 + v11 * t12
    _add(v_scene, 3 * n + base, t00 * e00 + t10 * e10)
    _add(v_scene, 4 * n + base, two * (t00 * e01 + t10 * e11))
    _add(v_scene, 5 * n + base, two * (t00 * e02 + t10 * e12))
    _add(v_scene, 6 * n + base, t01 * e01 + t11 * e11)
    _add(v_scene, 7 * n + base, two * (t01 * e02 + t11 * e12))
    _add(v_scene, 8 * n + base, t02 * e02 + t12 * e12)
    _add(v_scene, 9 * n + base, load(g, GK * n + base))
    # To T: 2 V T Sigma.
    w00, w01 = two * (e00 * s00 + e01 * s01 + e02 * s02), two * (e00 * s01 + e01 * s11 + e02 * s12)
    w02 = two * (e00 * s02 + e01 * s12 + e02 * s22)
    w10, w11 = two * (e10 * s00 + e11 * s01 + e12 * s02), two * (e10 * s01 + e11 * s11 + e12 * s12)
    w12 = two * (e10 * s02 + e11 * s12 + e12 * s22)
    v_u = zero - fxz * (w00 * r20 + w01 * r21 + w02 * r22)
    v_v = zero - fyz * (w10 * r20 + w11 * r21 + w12 * r22)
    v_u = where_le(u_raw, u_low, zero, where_le(u_high, u_raw, zero, v_u))
    v_v = where_le(v_raw, v_low, zero, where_le(v_high, v_raw, zero, v_v))
    g_mx, g_my = load(g, GX * n + base), load(g, GY * n + base)
    v_rz = sfx * (w00 * d00 + w01 * d01 + w02 * d02) + sfy * (w10 * d10 + w11 * d11 + w12 * d12)
    v_rz = v_rz + v_u * px + v_v * py + sfx * px * g_mx + sfy * py * g_my
    v_px, v_py = v_u * rz + fxz * g_mx, v_v * rz + fyz * g_my
    v_pz = load(g, GDEPTH * n + base) - rz * rz * v_rz
    _add(v_scene, 0 * n + base, r00 * v_px + r10 * v_py + r20 * v_pz)
    _add(v_scene, 1 * n + base, r01 * v_px + r11 * v_py + r21 * v_pz)
    _add(v_scene, 2 * n + base, r02 * v_px + r12 * v_py + r22 * v_pz)
    fxu, fyv = fxz * u, fyz * v
    v_cam[0] += hsum(v_px * x + fxz * w00)
    v_cam[1] += hsum(v_px * y + fxz * w01)
    v_cam[2] += hsum(v_px * z + fxz * w02)
    v_cam[3] += hsum(v_py * x + fyz * w10)
    v_cam[4] += hsum(v_py * y + fyz * w11)
    v_cam[5] += hsum(v_py * z + fyz * w12)
    v_cam[6] += hsum(v_pz * x - fxu * w00 - fyv * w10)
    v_cam[7] += hsum(v_pz * y - fxu * w01 - fyv * w11)
    v_cam[8] += hsum(v_pz * z - fxu * w02 - fyv * w12)
    v_cam[9] += hsum(v_px)
    v_cam[10] += hsum(v_py)
    v_cam[11] += hsum(v_pz)
    # Focal lengths and principal point: centre, and the Jacobian through T.
    v_cam[12] += hsum(u_raw * g_mx + rz * (w00 * d00 + w01 * d01 + w02 * d02))
    v_cam[13] += hsum(v_raw * g_my + rz * (w10 * d10 + w11 * d11 + w12 * d12))
    v_cam[14] += hsum(g_mx)
    v_cam[15] += hsum(g_my)


@njit(cache=True, nogil=True)
def project_backward(
    start, stop, n, scene, cameras, width, height, eps2d, antialiased, sh, degree, projected, gradients,
    v_scene, v_sh, v_cameras,
):  # fmt: skip
    """Gradients of Gaussian blocks [start, stop) of 256, summed over cameras.

    Outputs: `v_scene` flat [SCENE_GRADIENTS * n], `v_sh` flat like `sh`, and per block `v_cameras`
    [blocks, V, CAMERA_FLOATS] for a sequential sum, so that no result depends on the thread count.
    """
    basis, basis_grad = np.empty(16 * LANES, np.float32), np.empty(48 * LANES, np.float32)
    w, h = np.float32(width), np.float32(height)
    for block in range(start, stop):
        for base in range(block * _BLOCK, min((block + 1) * _BLOCK, n), LANES):
            for cam in range(cameras.shape[0]):
                p, g, v_cam = projected[cam], gradients[cam], v_cameras[block, cam]
                if not _any_seen(p, n, base):
                    continue
                _project_backward16(
                    n, base, scene, cameras[cam], w, h, eps2d, antialiased, p, g, v_scene, v_cam
                )
                if degree >= 0:
                    _sh_backward16(
                        n, base, scene, cameras[cam], sh, degree, p, g, basis, basis_grad,
                        v_sh, v_scene, v_cam,
                    )  # fmt: skip
                else:
                    for channel in range(3):
                        _add(v_sh, channel * n + base, load(g, (GRED + channel) * n + base))


@njit(cache=True, nogil=True)
def _any_seen(p, n, base):
    for i in range(base, base + LANES):
        if p[HX * n + i] > 0:
            return True
    return False


@njit(cache=True, nogil=True)
def scene_backward(
    start, stop, n, quats, scales, opacities, v_scene, v_means, v_quats, v_scales, v_opacities
):
    """Covariance gradients of Gaussians [start, stop) to their quaternions and scales, k to opacities."""
    for i in range(start, stop):
        for j in range(3):
            v_means[i, j] = v_scene[j * n + i]
        qw, qx, qy, qz = quats[i, 0], quats[i, 1], quats[i, 2], quats[i, 3]
        norm = max(math.sqrt(qw * qw + qx * qx + qy * qy + qz * qz), np.float32(1e-12))
        w, x, y, z = qw / norm, qx / norm, qy / norm, qz / norm
        sx, sy, sz = scales[i, 0], scales[i, 1], scales[i, 2]
        r00, r01, r02 = 1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)
        r10, r11, r12 = 2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)
        r20, r21, r22 = 2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)
        v00, v01, v02 = v_scene[3 * n + i], v_scene[4 * n + i], v_scene[5 * n + i]
        v11, v12, v22 = v_scene[6 * n + i], v_scene[7 * n + i], v_scene[8 * n + i]
        # With M = R S and Sigma = M M^T: dL/dM = 2 V M, V symmetric; off-diagonals came doubled.
        m00, m10, m20 = (
            2 * v00 * r00 + v01 * r10 + v02 * r20,
            v01 * r00 + 2 * v11 * r10 + v12 * r20,
            v02 * r00 + v12 * r10 + 2 * v22 * r20,
        )
        m01, m11, m21 = (
            2 * v00 * r01 + v01 * r11 + v02 * r21,
            v01 * r01 + 2 * v11 * r11 + v12 * r21,
            v02 * r01 + v12 * r11 + 2 * v22 * r21,
        )
        m02, m12, m22 = (
            2 * v00 * r02 + v01 * r12 + v02 * r22,
            v01 * r02 + 2 * v11 * r12 + v12 * r22,
            v02 * r02 + v12 * r12 + 2 * v22 * r22,
        )
        # Above is 2 V R; a column times its scale is dL/dM, times it again dL/dR.
        v_scales[i, 0] = sx * (m00 * r00 + m10 * r10 + m20 * r20)
        v_scales[i, 1] = sy * (m01 * r01 + m11 * r11 + m21 * r21)
        v_scales[i, 2] = sz * (m02 * r02 + m12 * r12 + m22 * r22)
        xx, yy, zz = sx * sx, sy * sy, sz * sz
        a00, a10, a20 = xx * m00, xx * m10, xx * m20
        a01, a11, a21 = yy * m01, yy * m11, yy * m21
        a02, a12, a22 = zz * m02, zz * m12, zz * m22
        gw = 2 * (x * (a21 - a12) + y * (a02 - a20) + z * (a10 - a01))
        gx = 2 * (w * (a21 - a12) + y * (a10 + a01) + z * (a20 + a02) - 2 * x * (a11 + a22))
        gy = 2 * (w * (a02 - a20) + x * (a10 + a01) + z * (a21 + a12) - 2 * y * (a00 + a22))
        gz = 2 * (w * (a10 - a01) + x * (a20 + a02) + y * (a21 + a12) - 2 * z * (a00 + a11))
        along = gw * w + gx * x + gy * y + gz * z
        v_quats[i, 0], v_quats[i, 1] = (gw - along * w) / norm, (gx - along * x) / norm
        v_quats[i, 2], v_quats[i, 3] = (gy - along * y) / norm, (gz - along * z) / norm
        v_opacities[i] = np.float32(-0.125) * v_scene[9 * n + i] / max(opacities[i], np.float32(1e-12))


def backward_blocks(n: int) -> int:
    """Number of work items of `project_backward` for n padded Gaussians."""
    return -(-n // _BLOCK)

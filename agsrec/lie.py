"""Exponential and logarithm of SO(3) and SE(3), used for every pose update.

Tangent vectors are ordered `xi = (v, omega)`: translation part first, rotation part (axis times angle in
radians) second. Updates are left-multiplied, `viewmat = se3_exp(xi) @ viewmat0`, so `xi` lives in the
camera frame. Formulas: Barfoot, State Estimation for Robotics, section 8.1.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["se3_exp", "se3_log", "skew", "so3_exp", "so3_log"]


def skew(omega: Tensor) -> Tensor:
    """Cross-product matrices [..., 3, 3] of vectors [..., 3]."""
    x, y, z = omega.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))


def _small(theta_sq: Tensor) -> Tensor:
    # Below this the three-term Taylor branch is exact to rounding; above it the closed form cancels little.
    return theta_sq < (1e-3 if theta_sq.dtype == torch.float64 else 0.25)


def _exp_coefficients(theta_sq: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`sin t / t`, `(1 - cos t) / t^2`, `(t - sin t) / t^3` of `t^2`, with finite gradients at zero."""
    small = _small(theta_sq)
    # The unsafe denominator is replaced before the division, so that neither branch's gradient is NaN.
    safe_sq = torch.where(small, torch.ones_like(theta_sq), theta_sq)
    theta = safe_sq.sqrt()
    s = theta_sq
    a = torch.where(small, 1 - s / 6 * (1 - s / 20 * (1 - s / 42)), theta.sin() / theta)
    b = torch.where(small, 0.5 - s / 24 * (1 - s / 30 * (1 - s / 56)), (1 - theta.cos()) / safe_sq)
    c = torch.where(
        small, 1 / 6 - s / 120 * (1 - s / 42 * (1 - s / 72)), (theta - theta.sin()) / (theta * safe_sq)
    )
    return a, b, c


def so3_exp(omega: Tensor) -> Tensor:
    """Rotation matrices [..., 3, 3] of rotation vectors [..., 3] in radians (Rodrigues)."""
    a, b, _ = _exp_coefficients((omega * omega).sum(-1))
    k = skew(omega)
    eye = torch.eye(3, dtype=omega.dtype, device=omega.device)
    return eye + a[..., None, None] * k + b[..., None, None] * (k @ k)


def se3_exp(xi: Tensor) -> Tensor:
    """Rigid transforms [..., 4, 4] of tangent vectors [..., 6], ordered (translation, rotation)."""
    v, omega = xi[..., :3], xi[..., 3:]
    a, b, c = (x[..., None, None] for x in _exp_coefficients((omega * omega).sum(-1)))
    k = skew(omega)
    k2 = k @ k
    eye = torch.eye(3, dtype=xi.dtype, device=xi.device)
    rotation = eye + a * k + b * k2
    translation = (eye + b * k + c * k2) @ v[..., None]
    top = torch.cat([rotation, translation], dim=-1)
    bottom = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=xi.dtype, device=xi.device)
    return torch.cat([top, bottom.expand(*top.shape[:-2], 1, 4)], dim=-2)


def so3_log(rotation: Tensor) -> Tensor:
    """Rotation vectors [..., 3] in radians, of length at most pi, of rotation matrices [..., 3, 3].

    Goes through the unit quaternion, which stays accurate near 0 and near pi. At exactly pi the axis' sign
    is arbitrary.
    """
    r = rotation
    m00, m11, m22 = r[..., 0, 0], r[..., 1, 1], r[..., 2, 2]
    # Rows: 4 * q_i * q for i = w, x, y, z (Shepperd); the row with the largest pivot is well conditioned.
    rows = torch.stack(
        [
            torch.stack([1 + m00 + m11 + m22, r[..., 2, 1] - r[..., 1, 2], r[..., 0, 2] - r[..., 2, 0],
                         r[..., 1, 0] - r[..., 0, 1]], -1),
            torch.stack([r[..., 2, 1] - r[..., 1, 2], 1 + m00 - m11 - m22, r[..., 0, 1] + r[..., 1, 0],
                         r[..., 0, 2] + r[..., 2, 0]], -1),
            torch.stack([r[..., 0, 2] - r[..., 2, 0], r[..., 0, 1] + r[..., 1, 0], 1 - m00 + m11 - m22,
                         r[..., 1, 2] + r[..., 2, 1]], -1),
            torch.stack([r[..., 1, 0] - r[..., 0, 1], r[..., 0, 2] + r[..., 2, 0],
                         r[..., 1, 2] + r[..., 2, 1], 1 - m00 - m11 + m22], -1),
        ],
        dim=-2,
    )  # [..., 4, 4]  # fmt: skip
    pivot = torch.diagonal(rows, dim1=-2, dim2=-1).argmax(-1)
    q = torch.take_along_dim(rows, pivot[..., None, None], dim=-2)[..., 0, :]
    q = torch.nn.functional.normalize(q, dim=-1)
    q = torch.where(q[..., :1] < 0, -q, q)
    w, xyz = q[..., 0], q[..., 1:]
    n_sq = (xyz * xyz).sum(-1)
    small = n_sq < 1e-12
    n = torch.where(small, torch.ones_like(n_sq), n_sq).sqrt()
    factor = torch.where(small, 2 / w.clamp_min(0.5), 2 * torch.atan2(n, w) / n)
    return factor[..., None] * xyz


def se3_log(transform: Tensor) -> Tensor:
    """Tangent vectors [..., 6] of rigid transforms [..., 4, 4]; inverse of `se3_exp`."""
    omega = so3_log(transform[..., :3, :3])
    _, b, c = (x[..., None, None] for x in _exp_coefficients((omega * omega).sum(-1)))
    k = skew(omega)
    eye = torch.eye(3, dtype=omega.dtype, device=omega.device)
    v = torch.linalg.solve(eye + b * k + c * (k @ k), transform[..., :3, 3:])[..., 0]
    return torch.cat([v, omega], dim=-1)

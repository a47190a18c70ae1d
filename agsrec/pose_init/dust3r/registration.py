"""Similarities between point sets, and the raw parameters in which DUSt3R optimises poses."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = [
    "apply_similarity",
    "quaternion_to_rotation",
    "register",
    "rotation_to_quaternion",
    "signed_expm1",
    "signed_log1p",
]

_CHUNK = 2**18  # points registered at a time, so that the double-precision copies stay small


def register(
    source: Tensor,  # [B, N, 3]
    target: Tensor,  # [B, N, 3]
    weights: Tensor,  # [B, N]
) -> tuple[Tensor, Tensor, Tensor]:
    """Scales [B], rotations [B, 3, 3] and translations [B, 3] that take the sources to the targets.

    Minimises the weighted sum of squares of `scale * R @ source + t - target` (Umeyama 1991). Where there is
    too little to register, the scale is tiny or the rotation arbitrary, but all numbers are finite.
    """
    size = max(1, _CHUNK // max(source.shape[1], 1))
    parts = [
        _register(*batch)
        for batch in zip(source.split(size), target.split(size), weights.split(size), strict=True)
    ]
    scale, rotation, translation = (torch.cat(p).to(source) for p in zip(*parts, strict=True))
    return scale, rotation, translation


def _register(source: Tensor, target: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    x, y = source.double(), target.double()
    w = weights.double()
    w = (w / w.sum(-1, keepdim=True).clamp_min(1e-30))[..., None]
    x_mean, y_mean = (w * x).sum(1), (w * y).sum(1)
    x, y = x - x_mean[:, None], y - y_mean[:, None]
    u, s, vh = torch.linalg.svd((y * w).mT @ x)
    sign = torch.ones_like(s)
    sign[:, 2] = torch.linalg.det(u @ vh).sign()
    rotation = (u * sign[:, None]) @ vh
    scale = (s * sign).sum(-1) / (w * x * x).sum((1, 2)).clamp_min(1e-30)
    scale = scale.clamp_min(1e-12)
    translation = y_mean - scale[:, None] * (rotation @ x_mean[..., None])[..., 0]
    return scale, rotation, translation


def apply_similarity(similarity: tuple[Tensor, Tensor, Tensor], points: Tensor) -> Tensor:
    """`scale * R @ x + t` of points [B, N, 3]."""
    scale, rotation, translation = similarity
    return scale[:, None, None] * points @ rotation.mT + translation[:, None]


def quaternion_to_rotation(quaternion: Tensor) -> Tensor:
    """Rotations [..., 3, 3] of quaternions [..., 4], ordered x y z w, of any non-zero length."""
    x, y, z, w = torch.nn.functional.normalize(quaternion, dim=-1).unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w),
        2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w),
        2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def rotation_to_quaternion(rotation: Tensor) -> Tensor:
    """Unit quaternions [..., 4], ordered x y z w, of rotations [..., 3, 3] (Shepperd)."""
    r = [[rotation[..., i, j] for j in range(3)] for i in range(3)]
    xx, yy, zz = r[0][0], r[1][1], r[2][2]
    xy, yz, zx = r[0][1] + r[1][0], r[1][2] + r[2][1], r[2][0] + r[0][2]
    xw, yw, zw = r[2][1] - r[1][2], r[0][2] - r[2][0], r[1][0] - r[0][1]
    # Row i is 4 q_i q; the row with the largest pivot is well conditioned.
    rows = torch.stack(
        [
            torch.stack([1 + xx - yy - zz, xy, zx, xw], -1),
            torch.stack([xy, 1 - xx + yy - zz, yz, yw], -1),
            torch.stack([zx, yz, 1 - xx - yy + zz, zw], -1),
            torch.stack([xw, yw, zw, 1 + xx + yy + zz], -1),
        ],
        dim=-2,
    )
    pivot = torch.diagonal(rows, dim1=-2, dim2=-1).argmax(-1)
    row = torch.take_along_dim(rows, pivot[..., None, None], dim=-2)[..., 0, :]
    return torch.nn.functional.normalize(row, dim=-1)


def signed_log1p(x: Tensor) -> Tensor:
    """`sign(x) log(1 + |x|)`: nearly linear for small, logarithmic for large values."""
    return x.sign() * x.abs().log1p()


def signed_expm1(x: Tensor) -> Tensor:
    """Inverse of `signed_log1p`."""
    return x.sign() * x.abs().expm1()

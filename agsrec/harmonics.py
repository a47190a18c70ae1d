"""Real spherical harmonics as colours use them: their values, and how coefficients turn with the world."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["harmonics", "turned_harmonics"]

_DIRECTIONS = 64  # more than there are harmonics of degree 3, spread evenly: the system is well conditioned


def harmonics(directions: Tensor, degree: int) -> Tensor:
    """Values [..., K] of the K = (degree + 1)^2 harmonics up to a degree of at most 3.

    Order and signs are those of 3D Gaussian Splatting (Kerbl et al. 2023): bands (l, m) with m = -l..l.

    Args:
        directions: Unit vectors [..., 3] from the camera to what is coloured.
        degree: Highest degree, 0 to 3.
    """
    assert 0 <= degree <= 3, degree
    x, y, z = directions.unbind(-1)
    xx, yy, zz = x * x, y * y, z * z
    values = [
        0.28209479177387814 * torch.ones_like(x),
        -0.4886025119029199 * y,
        0.4886025119029199 * z,
        -0.4886025119029199 * x,
        1.0925484305920792 * x * y,
        -1.0925484305920792 * y * z,
        0.31539156525252005 * (2 * zz - xx - yy),
        -1.0925484305920792 * x * z,
        0.5462742152960396 * (xx - yy),
        -0.5900435899266435 * y * (3 * xx - yy),
        2.890611442640554 * x * y * z,
        -0.4570457994644658 * y * (4 * zz - xx - yy),
        0.3731763325901154 * z * (2 * zz - 3 * xx - 3 * yy),
        -0.4570457994644658 * x * (4 * zz - xx - yy),
        1.445305721320277 * z * (xx - yy),
        -0.5900435899266435 * x * (xx - 3 * yy),
    ]
    return torch.stack(values[: (degree + 1) ** 2], -1)


def turned_harmonics(sh: Tensor, rotation: Tensor) -> Tensor:
    """Coefficients [N, K, 3] of colours that have turned with the world by `rotation` [3, 3].

    Harmonics of a degree turn into harmonics of the same degree, so that the colours are exactly the old
    ones seen from the turned directions. The matrix that does so is found from enough directions.
    """
    degree = round(sh.shape[1] ** 0.5) - 1
    if degree == 0:
        return sh
    directions = _spread(_DIRECTIONS)
    new = harmonics(directions, degree)
    old = harmonics(directions @ rotation.to("cpu", torch.float64), degree)
    turn = torch.linalg.lstsq(new, old).solution
    return torch.einsum("kl,nlc->nkc", turn.to(sh), sh)


def _spread(count: int) -> Tensor:
    """Unit vectors [count, 3] (float64) spread evenly: a spiral from pole to pole by the golden angle."""
    index = torch.arange(count, dtype=torch.float64) + 0.5
    z = 1 - 2 * index / count
    angle = index * torch.pi * (3 - 5**0.5)
    radius = (1 - z * z).sqrt()
    return torch.stack([radius * angle.cos(), radius * angle.sin(), z], -1)

"""Rotary position embedding of image patches in two dimensions (CroCo v2, Weinzaepfel et al. 2023).

The first half of a head's channels turns with the patch's row, the second with its column. Within a half,
channel k pairs with the one a quarter of the head further on; both turn by an angle of
`position * base ** (-k / quarter)`.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["Rotation", "grid_positions", "patch_rotation", "rotate"]

Rotation = tuple[Tensor, Tensor]
"""Cosines and sines [N, 2, Q] by patch, axis and frequency."""


def grid_positions(rows: int, columns: int, device: torch.device | None = None) -> Tensor:  # [N, 2]
    """Row and column of every patch of a grid, row by row."""
    return torch.cartesian_prod(
        torch.arange(rows, device=device), torch.arange(columns, device=device)
    ).reshape(-1, 2)


def patch_rotation(positions: Tensor, head_width: int, base: float) -> Rotation:
    """Rotations of patches at integer positions [N, 2] (row, column) for heads of a width divisible by 4."""
    quarter = head_width // 4
    exponents = torch.arange(quarter, device=positions.device, dtype=torch.float32) / quarter
    angles = positions[..., None].float() * base**-exponents  # [N, 2, Q]
    return angles.cos(), angles.sin()


def rotate(tokens: Tensor, rotation: Rotation) -> Tensor:  # [B, heads, N, D]
    """Queries or keys [B, heads, N, D], turned by their patches' rotations."""
    cos, sin = rotation
    x, y = tokens.unflatten(-1, (2, 2, -1)).unbind(-2)  # [B, heads, N, 2, Q] each
    return torch.stack([x * cos - y * sin, y * cos + x * sin], dim=-2).flatten(-3).to(tokens.dtype)

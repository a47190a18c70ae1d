"""Cameras on a ring and discs for photos."""

from __future__ import annotations

import torch

from agsrec.cameras import Cameras


def ring(count: int) -> Cameras:
    index = torch.arange(count, dtype=torch.float64)
    Ks = Cameras.intrinsics(torch.full((count,), 60.0, dtype=torch.float64), 48, 48)
    return Cameras.orbit(-15.0, index * 360 / count, 1.8, Ks=Ks, width=48, height=48)


def discs(count: int, size: int = 48) -> torch.Tensor:
    """White images [V, H, W, 3] with a disc each."""
    axis = torch.linspace(-1, 1, size)
    inside = axis[:, None] ** 2 + axis[None] ** 2 < 0.4
    color = torch.rand(count, 1, 1, 3, generator=torch.Generator().manual_seed(0))
    return torch.where(inside[None, ..., None], color, torch.ones(()))

"""The scene for viewers in browsers, most of which take +y for down and know no view-dependent colour."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from agsrec.gaussians import Gaussians

__all__ = ["turned_for_viewers"]


def turned_for_viewers(gaussians: Gaussians) -> Gaussians:
    """The scene turned by half a turn about +x, with the constant part of its colours alone."""
    w, x, y, z = gaussians.quats.unbind(-1)
    return replace(
        gaussians.with_sh_degree(0),
        means=gaussians.means * torch.tensor([1.0, -1.0, -1.0]).to(gaussians.means),
        quats=torch.stack([-x, w, -z, y], dim=-1),  # (0, 1, 0, 0) times the rotation, wxyz
    )

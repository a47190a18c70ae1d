"""From pixels to the points that they show, by the depth of a scene."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from agsrec.render import render_scene

if TYPE_CHECKING:
    from agsrec.cameras import Cameras
    from agsrec.gaussians import Gaussians

__all__ = ["lifted", "scene_depths"]

_SOLID = 0.5  # opacity from which there is a surface


@torch.no_grad()
def scene_depths(gaussians: Gaussians, cameras: Cameras, fitted_size: float | None) -> Tensor:
    """z [V, H, W] of a scene in V cameras, NaN where there is next to nothing; one view at a time."""
    parts = []
    for k in range(len(cameras)):
        seen = render_scene(gaussians, cameras[k].to(gaussians.means.device), fitted_size=fitted_size)
        assert seen.depth is not None
        parts.append(torch.where(seen.alpha > _SOLID, seen.depth, torch.nan))
    return torch.cat(parts)


def lifted(pixels: Tensor, depth: Tensor, viewmat: Tensor, K: Tensor) -> Tensor:
    """World points [N, 3], float64, of pixels [N, 2] of a picture whose depth is [S, S]; not finite without.

    Args:
        pixels: Where.
        depth: z, world units; between pixels it is that of the pixels around.
        viewmat: World to camera [4, 4].
        K: Intrinsics [3, 3], pixels.
    """
    seen, z = pixels.double(), depth.double().to(pixels.device)
    size = torch.tensor([depth.shape[1], depth.shape[0]], device=pixels.device)
    place = (2 * seen / size - 1)[None, None]
    z = F.grid_sample(z[None, None], place, align_corners=False)[0, 0, 0]
    rays = torch.cat([seen, torch.ones_like(seen[:, :1])], 1) @ torch.linalg.inv(K.double()).mT
    c2w = torch.linalg.inv(viewmat.double())
    return (rays * z[:, None]) @ c2w[:3, :3].mT + c2w[:3, 3]

"""Rays of cameras, and what is seen along them: the volume rendering integral.

In the discrete form of Max (1995) that NeRF uses (Mildenhall et al. 2020, eq. 3): sample i of a ray lets
1 - a_i of the light behind it through, and contributes its value times a_i times what those before it let
through.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["camera_rays", "composited", "pixel_middles"]


def pixel_middles(width: int, height: int, like: Tensor) -> Tensor:
    """Middles [H, W, 2] of all pixels of a picture, in dtype and device of `like`."""
    v, u = torch.meshgrid(
        torch.arange(height).to(like) + 0.5, torch.arange(width).to(like) + 0.5, indexing="ij"
    )
    return torch.stack([u, v], dim=-1)


def camera_rays(
    viewmats: Tensor,  # [B, 4, 4]
    Ks: Tensor,  # [B, 3, 3]
    pixels: Tensor,  # [H, W, 2]
) -> tuple[Tensor, Tensor]:
    """Origins [B, 3] and directions [B, H, W, 3] of the rays through pixels, in the world.

    Directions advance by one along the optical axis: multiples of them are depths.

    Args:
        viewmats: World-to-camera.
        Ks: Intrinsics in pixels.
        pixels: Points of the pictures, pixels.
    """
    x = (pixels[..., 0] - Ks[:, 0, 2, None, None]) / Ks[:, 0, 0, None, None]
    y = (pixels[..., 1] - Ks[:, 1, 2, None, None]) / Ks[:, 1, 1, None, None]
    back = viewmats[:, :3, :3]  # rows times this are camera to world
    rays = torch.stack([x, y, torch.ones_like(x)], dim=-1) @ back[:, None]
    return -(viewmats[:, None, :3, 3] @ back)[:, 0], rays


def composited(values: Tensor, opacities: Tensor, *, dim: int) -> tuple[Tensor, Tensor]:
    """What is seen along rays, and their opacity; both without the dimension of the samples.

    Args:
        values: Colours or features of the samples, nearest first.
        opacities: Of the samples, in [0, 1], broadcastable to the values.
        dim: The samples' dimension.
    """
    through = torch.cumprod(1 - opacities, dim=dim)
    count = opacities.shape[dim]
    before = torch.cat([torch.ones_like(through.narrow(dim, 0, 1)), through.narrow(dim, 0, count - 1)], dim)
    return (values * opacities * before).sum(dim), 1 - through.select(dim, count - 1)

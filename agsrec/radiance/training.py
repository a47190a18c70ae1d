"""A radiance field from posed photos."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from agsrec.radiance.config import RadianceConfig
from agsrec.radiance.field import BallRays, VoxelField, render_rays

if TYPE_CHECKING:
    from agsrec.cameras import Cameras
    from agsrec.fit.target import Target

__all__ = ["train_field"]

_ROUGHNESS_EVERY = 2  # steps: on small processors it costs as much as the rays do


def train_field(
    photos: Target, cameras: Cameras, config: RadianceConfig | None = None, *, seed: int = 0
) -> VoxelField:
    """The field that explains V photos.

    Every step draws rays from all photos, and a background colour for each: opacity is what lets the
    background of a photo be anything. The same seed gives the same field, on the CPU bit by bit.

    Args:
        photos: Cut out, at the size to train with.
        cameras: Of the same size and on the same device, in a world whose unit ball holds the object.
        config: How to train.
        seed: Of the first field, the rays and the backgrounds.
    """
    config = RadianceConfig() if config is None else config
    rays = BallRays.of(cameras)
    device = rays.near.device
    generator = torch.Generator().manual_seed(seed)  # of the CPU: the same draws on every device
    rgb, alpha = photos.rgb.reshape(-1, 3)[rays.pixels], photos.alpha.reshape(-1, 1)[rays.pixels]
    field = VoxelField.noise(config.levels[0].resolution, generator, device)
    for level in config.levels:
        field = field.refined(level.resolution)
        occupied = None if level is config.levels[0] else field.occupied(config.faint)
        grid = field.grid.requires_grad_()
        adam = torch.optim.Adam([grid], lr=config.rate)
        decay = torch.optim.lr_scheduler.ExponentialLR(adam, config.rate_decay ** (1 / max(1, level.steps)))
        for step in range(level.steps):
            some = torch.randint(len(rays), (config.batch,), generator=generator).to(device)
            background = torch.rand(config.batch, 3, generator=generator).to(device)
            shown, opacity = render_rays(field, rays[some], occupied, generator)
            wanted = rgb[some] + background * (1 - alpha[some])
            loss = F.mse_loss(shown + background * (1 - opacity), wanted)
            loss = loss + config.mask * F.mse_loss(opacity, alpha[some])
            if step % _ROUGHNESS_EVERY == 0:
                loss = loss + _ROUGHNESS_EVERY * config.roughness * field.roughness()
            adam.zero_grad(set_to_none=True)
            loss.backward()
            adam.step()
            decay.step()
        field = VoxelField(grid.detach())
    return field

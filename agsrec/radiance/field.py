"""A radiance field on a grid of voxels, and rays through the ball it lives in.

Explicit grids instead of a network, activated after they are interpolated (Sun et al. 2022, DVGO): sharp
surfaces from few voxels, and seconds on a processor. Colours do not depend on the direction: from few photos,
one that does explains wrong poses away.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from agsrec.radiance.integral import camera_rays, composited, pixel_middles

if TYPE_CHECKING:
    from agsrec.cameras import Cameras

__all__ = ["BallRays", "VoxelField", "render_pictures", "render_rays"]

# Density of a raw value x, per radius of the ball, is 20 softplus(x - 3): at first a haze of which a radius
# lets 0.38 of the light through, and opaque within a voxel where it has grown.
_DENSITY_SCALE = 20.0
_DENSITY_BIAS = -3.0

_CHUNK = 8192  # rays of a picture that are rendered at once
_GRAZING = 1e-4  # squared half chord of rays that count as missing the ball


@dataclass(frozen=True)
class VoxelField:
    """Density and colour in the unit ball.

    Attributes:
        grid: Raw values [4, R, R, R] at the corners of a grid over [-1, 1]³, indexed z, y, x: one whose
            softplus is the density, and three whose sigmoid is the colour.
    """

    grid: Tensor  # [4, R, R, R]

    @staticmethod
    def noise(resolution: int, generator: torch.Generator, device: torch.device | str = "cpu") -> VoxelField:
        """A faint grey haze, drawn by a generator of the CPU."""
        shape = (4, resolution, resolution, resolution)
        return VoxelField(0.1 * torch.randn(shape, generator=generator).to(device))

    @property
    def resolution(self) -> int:
        """Corners along the edge of the grid."""
        return self.grid.shape[-1]

    def at(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Densities [N], per radius, and colours [N, 3] at points [N, 3]."""
        raw = F.grid_sample(self.grid[None], points[None, None, None], align_corners=True)[0, :, 0, 0]
        return _density(raw[0]), torch.sigmoid(raw[1:]).mT

    def refined(self, resolution: int) -> VoxelField:
        """The same field on a grid of another resolution."""
        shape = (resolution, resolution, resolution)
        grid = F.interpolate(self.grid[None], size=shape, mode="trilinear", align_corners=True)[0]
        return replace(self, grid=grid)

    def occupied(self, faint: float) -> Tensor:
        """Which corners [R, R, R] have a density above `faint` there or beside them."""
        density = _density(self.grid[:1].detach())
        return F.max_pool3d(density[None], 3, stride=1, padding=1)[0, 0] > faint

    def roughness(self) -> Tensor:
        """Mean squared difference of neighbouring raw values, summed over the axes; a scalar."""
        return torch.stack([self.grid.diff(dim=axis).square().mean() for axis in (1, 2, 3)]).sum()


def _density(raw: Tensor) -> Tensor:
    return _DENSITY_SCALE * F.softplus(raw + _DENSITY_BIAS)


@dataclass(frozen=True)
class BallRays:
    """M rays through the unit ball.

    Attributes:
        origins: [M, 3].
        directions: Of length one [M, 3].
        near: Where they enter the ball, or start in it [M].
        far: Where they leave it [M].
        pixels: Their pixels, counted through all pictures row by row [M].
    """

    origins: Tensor  # [M, 3]
    directions: Tensor  # [M, 3]
    near: Tensor  # [M]
    far: Tensor  # [M]
    pixels: Tensor  # [M] long

    @staticmethod
    def of(cameras: Cameras) -> BallRays:
        """The rays of all pixels, those that miss the ball left out."""
        middles = pixel_middles(cameras.width, cameras.height, cameras.Ks)
        origins, rays = camera_rays(cameras.viewmats, cameras.Ks, middles)
        directions = F.normalize(rays, dim=-1).reshape(-1, 3)
        origins = origins[:, None, None].expand_as(rays).reshape(-1, 3)
        along = -(origins * directions).sum(-1)  # to the point nearest to the middle
        squared = along.square() - origins.square().sum(-1) + 1
        half = squared.clamp_min(0).sqrt()
        kept = ((squared > _GRAZING) & (along + half > 0)).nonzero()[:, 0]
        near, far = (along - half).clamp_min(0), along + half
        return BallRays(origins, directions, near, far, torch.arange(len(near), device=near.device))[kept]

    def __len__(self) -> int:
        return len(self.near)

    def __getitem__(self, index: Tensor) -> BallRays:
        """The selected rays."""
        return BallRays(*(values[index] for values in vars(self).values()))


def render_rays(
    field: VoxelField,
    rays: BallRays,
    occupied: Tensor | None = None,  # [R, R, R]
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Premultiplied colours [M, 3] and opacities [M, 1] of a field along rays.

    Every ray has as many samples as the grid has corners along an edge, one in the middle of each step.

    Args:
        field: What is seen.
        rays: M rays.
        occupied: Corners outside of which nothing is; everywhere by default.
        generator: Of the CPU; moves all samples of a ray by one random share of a step.
    """
    count = field.resolution
    places = torch.arange(count, device=rays.near.device).expand(len(rays), count)
    shift = 0.5 if generator is None else torch.rand(len(rays), 1, generator=generator).to(rays.near)
    step = ((rays.far - rays.near) / count)[:, None]
    depths = rays.near[:, None] + (places + shift) * step
    points = rays.origins[:, None] + rays.directions[:, None] * depths[..., None]  # [M, S, 3]
    if occupied is None:
        occupied = torch.ones(count, count, count, dtype=torch.bool, device=points.device)
    x, y, z = ((points + 1) * (0.5 * (count - 1))).round().long().clamp(0, count - 1).unbind(-1)
    kept = occupied[z, y, x]  # [M, S]
    densities, colors = field.at(points[kept])
    empty = torch.zeros_like(depths)
    opacities = 1 - torch.exp(-empty.masked_scatter(kept, densities) * step)
    shown = torch.zeros_like(points).masked_scatter(kept[..., None], colors)
    return composited(shown, opacities[..., None], dim=1)


@torch.no_grad()
def render_pictures(field: VoxelField, cameras: Cameras, faint: float = 0.0) -> Tensor:
    """Premultiplied colours and opacities [V, H, W, 4] of a field, seen by V cameras.

    Args:
        field: What is seen.
        cameras: In the world whose unit ball the field is.
        faint: See `VoxelField.occupied`.
    """
    rays, occupied = BallRays.of(cameras), field.occupied(faint)
    out = torch.zeros(len(cameras) * cameras.height * cameras.width, 4).to(field.grid)
    for index in torch.arange(len(rays), device=out.device).split(_CHUNK):
        some = rays[index]
        out[some.pixels] = torch.cat(render_rays(field, some, occupied), dim=-1)
    return out.reshape(len(cameras), cameras.height, cameras.width, 4)

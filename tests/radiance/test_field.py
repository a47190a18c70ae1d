"""Fields of voxels, and the rays through their ball."""

from __future__ import annotations

import torch

from agsrec.cameras import Cameras
from agsrec.radiance.field import BallRays, VoxelField, render_pictures


def orbit(distance: float) -> Cameras:
    Ks = Cameras.intrinsics(torch.full((3,), 30.0), 24, 20)
    found = Cameras.orbit(torch.tensor([-60.0, 0.0, 20.0]), 100.0, distance, Ks=Ks, width=24, height=20)
    return found.to(dtype=torch.float32)


def test_rays_end_on_the_ball() -> None:
    rays = BallRays.of(orbit(2.5))
    assert 0 < len(rays) < 3 * 24 * 20
    for depth in (rays.near, rays.far):
        place = (rays.origins + depth[:, None] * rays.directions).norm(dim=-1)
        torch.testing.assert_close(place, torch.ones(len(rays)), atol=1e-4, rtol=0)
    assert bool((rays.near < rays.far).all()) and len(rays.pixels.unique()) == len(rays)


def test_rays_from_inside_and_past_the_ball() -> None:
    inside = BallRays.of(orbit(0.5))
    assert len(inside) == 3 * 24 * 20 and not inside.near.any()
    away = orbit(2.5)
    turned = torch.diag(torch.tensor([-1.0, 1.0, -1.0, 1.0])) @ away.viewmats  # the ball is behind
    assert len(BallRays.of(Cameras(turned, away.Ks, 24, 20))) == 0


def lump(resolution: int) -> VoxelField:
    """A coloured ball of radius one half with soft edges, raw values linear in x beside it."""
    ticks = torch.linspace(-1, 1, resolution)
    z, y, x = torch.meshgrid(ticks, ticks, ticks, indexing="ij")
    radius = torch.stack([x, y, z]).norm(dim=0)
    return VoxelField(torch.stack([20 * (0.5 - radius), 2 * x, y - z, 0 * x]))


def test_values_at_points() -> None:
    points = torch.rand(50, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    _, colors = lump(5).at(points)
    wanted = torch.stack([2 * points[:, 0], points[:, 1] - points[:, 2], 0 * points[:, 0]], -1).sigmoid()
    torch.testing.assert_close(colors, wanted, atol=1e-5, rtol=0)
    torch.testing.assert_close(lump(5).refined(9).at(points)[1], wanted, atol=1e-5, rtol=0)


def test_what_is_empty_need_not_be_looked_at() -> None:
    field, cameras = lump(16), orbit(2.5)
    assert 0.05 < float(field.occupied(0.3).float().mean()) < 0.6
    whole, quick = render_pictures(field, cameras), render_pictures(field, cameras, faint=0.3)
    assert float(whole[..., 3].amax()) > 0.99
    torch.testing.assert_close(whole, quick, atol=0.02, rtol=0)
    assert not torch.equal(whole, quick)


def test_roughness() -> None:
    assert not VoxelField(torch.full((4, 5, 5, 5), 3.0)).roughness()
    slope = torch.arange(5.0).expand(4, 5, 5, 5)
    assert float(VoxelField(slope).roughness()) == 1

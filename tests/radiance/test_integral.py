"""The volume rendering integral against what it is in closed form."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from agsrec.cameras import Cameras
from agsrec.radiance.field import BallRays, VoxelField, render_pictures, render_rays
from agsrec.radiance.integral import camera_rays, composited, pixel_middles


def through_the_ball(offset: float) -> BallRays:
    """One ray that passes the middle of the unit ball at a distance."""
    half = math.sqrt(1 - offset**2)
    values = torch.tensor([[offset, 0.0, -3.0]]), torch.tensor([[0.0, 0.0, 1.0]])
    return BallRays(*values, torch.tensor([3 - half]), torch.tensor([3 + half]), torch.tensor([0]))


def even_field(density: float, resolution: int = 8) -> VoxelField:
    """One density everywhere, and red that rises from 0.25 to 0.75 along z."""
    softplus = density / 20
    raw = math.log(math.expm1(softplus)) + 3
    grid = torch.full((4, resolution, resolution, resolution), 0.0)
    grid[0] = raw
    grid[1] = torch.linspace(0.25, 0.75, resolution).logit()[:, None, None]
    return VoxelField(grid)


@pytest.mark.parametrize("offset", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("density", [0.2, 1.0, 6.0])
def test_opacity_of_an_even_ball(density: float, offset: float) -> None:
    _, opacity = render_rays(even_field(density), through_the_ball(offset))
    chord = 2 * math.sqrt(1 - offset**2)
    assert float(opacity) == pytest.approx(1 - math.exp(-density * chord), abs=1e-5)


def test_picture_of_an_even_ball() -> None:
    Ks = Cameras.intrinsics(torch.tensor([40.0]), 32, 32)
    camera = Cameras.orbit(-20.0, 30.0, 3.0, Ks=Ks, width=32, height=32).to(dtype=torch.float32)
    drawn = render_pictures(even_field(0.8), camera)[0]
    # The ray through a pixel passes the middle at 3 sin(angle to the axis).
    middles = pixel_middles(32, 32, Ks) - 16
    sine = (middles.norm(dim=-1) / 40).atan().sin()
    chord = 2 * (1 - (3 * sine).square()).clamp_min(0).sqrt()
    torch.testing.assert_close(drawn[..., 3], 1 - torch.exp(-0.8 * chord), atol=1e-4, rtol=0)
    assert bool((drawn[0, 0] == 0).all())


def integral(samples: int, density: float, length: float) -> float:
    """Light from a medium that brightens from 0 to 1 along its length."""
    places = (torch.arange(samples, dtype=torch.float64) + 0.5) / samples
    opacity = torch.full((samples,), 1 - math.exp(-density * length / samples), dtype=torch.float64)
    seen, through = composited(places[None, :, None], opacity[None, :, None], dim=1)
    assert float(through) == pytest.approx(1 - math.exp(-density * length), abs=1e-12)
    return float(seen)


def test_light_of_a_brightening_medium() -> None:
    depth = 1.7 * 1.3
    exact = (1 - (1 + depth) * math.exp(-depth)) / depth  # of depth exp(-depth t) t dt from 0 to 1
    errors = [abs(integral(n, 1.7, 1.3) - exact) for n in (16, 32, 64)]
    assert errors[0] < 1e-3
    # Of second order in the spacing.
    assert errors[1] < 0.27 * errors[0] and errors[2] < 0.27 * errors[1]


def test_order_and_dimension_of_samples() -> None:
    g = torch.Generator().manual_seed(0)
    values, opacities = torch.rand(5, 7, 3, generator=g), torch.rand(5, 7, 1, generator=g)
    seen, opacity = composited(values, opacities, dim=1)
    turned, same = composited(values.movedim(1, 2), opacities.movedim(1, 2), dim=2)
    torch.testing.assert_close(seen, turned)
    torch.testing.assert_close(opacity, same)
    opacities[:, 0] = 1  # nothing behind an opaque sample is seen
    seen, opacity = composited(values, opacities, dim=1)
    assert torch.equal(seen, values[:, 0]) and bool((opacity == 1).all())
    seen, opacity = composited(values, torch.zeros_like(opacities), dim=1)
    assert not seen.any() and not opacity.any()


def test_gradients() -> None:
    g = torch.Generator().manual_seed(1)
    values, opacities = (torch.rand(2, 5, k, generator=g, dtype=torch.float64) for k in (3, 1))

    def both(v: Tensor, o: Tensor) -> Tensor:
        return torch.cat(composited(v, o, dim=1), dim=-1)

    inputs = values.requires_grad_(), (0.1 + 0.8 * opacities).requires_grad_()
    assert torch.autograd.gradcheck(both, inputs)


def test_rays_meet_their_pixels(cameras: Cameras) -> None:
    pixels = pixel_middles(cameras.width, cameras.height, cameras.Ks)[::9, ::9]
    origins, rays = camera_rays(cameras.viewmats, cameras.Ks, pixels)
    torch.testing.assert_close(origins, cameras.centers, atol=1e-5, rtol=0)
    for i in range(len(cameras)):
        seen, depth = cameras[i].project((origins[i] + 1.5 * rays[i]).reshape(-1, 3))
        torch.testing.assert_close(seen[0], pixels.reshape(-1, 2), atol=2e-3, rtol=0)
        torch.testing.assert_close(depth[0], torch.full_like(depth[0], 1.5), atol=1e-5, rtol=0)

"""Scenes drawn at other sizes than they were fitted to."""

from __future__ import annotations

import torch

from agsrec.cameras import Cameras
from agsrec.gaussians import Gaussians
from agsrec.pose_search import GaussianRenderer
from agsrec.render import fitted_blur, render_scene

SIZE = 128


def scene() -> tuple[Gaussians, Cameras]:
    """A ball of many small opaque Gaussians, as fits leave them, and two cameras."""
    generator = torch.Generator().manual_seed(0)
    points = torch.nn.functional.normalize(torch.randn(3000, 3, generator=generator), dim=-1) * 0.5
    ball = Gaussians.from_points(points, torch.full((3000, 3), 0.7), torch.full((3000,), 0.012), opacity=0.8)
    Ks = Cameras.intrinsics(torch.full((2,), 1.2 * SIZE), SIZE, SIZE)
    return ball, Cameras.orbit(0.0, torch.tensor([0.0, 90.0]), 1.85, Ks=Ks, width=SIZE, height=SIZE)


def covered(alpha: torch.Tensor) -> float:
    """Share of the picture that is covered."""
    return float(alpha.mean())


def test_size_of_the_fit_is_drawn_as_ever() -> None:
    ball, cameras = scene()
    assert torch.equal(render_scene(ball, cameras, fitted_size=SIZE).rgb, render_scene(ball, cameras).rgb)


def test_smaller_and_larger_pictures_show_it_as_large() -> None:
    ball, cameras = scene()
    true = covered(render_scene(ball, cameras).alpha)
    for size in (32, 64, 256):
        there = cameras.resized(size, size)
        known = covered(render_scene(ball, there, fitted_size=SIZE).alpha)
        classic = covered(render_scene(ball, there).alpha)
        assert abs(known / true - 1) < 0.01
        assert abs(known - true) < abs(classic - true)
    assert covered(render_scene(ball, cameras.resized(32, 32)).alpha) > 1.05 * true


def test_the_search_sees_it_as_it_was_fitted() -> None:
    ball, cameras = scene()
    small = cameras.resized(32, 32)
    focal = float(cameras.Ks[0, 0, 0])
    seen = GaussianRenderer(ball, focal=focal)(small.viewmats, small.Ks[0], 32)
    wanted = render_scene(ball, small, eps2d=fitted_blur(0.25))
    torch.testing.assert_close(seen[..., 3], wanted.alpha, atol=1e-6, rtol=0)

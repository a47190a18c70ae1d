"""The scene for viewers: as thick at any size as it was in the pictures of the fit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from agsrec.cameras import Cameras
from agsrec.export.viewer_splat import thickened_for_viewers
from agsrec.gaussians import Gaussians
from agsrec.render import render_scene
from agsrec.render.rasterize import EPS2D

SIZE = 96
FOCAL = 1.2 * SIZE


def ring(*distances: float, turn: float = 0.0) -> Cameras:
    """Cameras at distances from the origin, a quarter turn apart, with pictures of twice the fit's size."""
    count = len(distances)
    Ks = Cameras.intrinsics(torch.full((count,), 2 * FOCAL), 2 * SIZE, 2 * SIZE)
    azimuths = turn + 90.0 * torch.arange(count)
    each = [
        Cameras.orbit(0.0, azimuths[[k]], distances[k], Ks=Ks[[k]], width=2 * SIZE, height=2 * SIZE)
        for k in range(count)
    ]
    return Cameras.cat(each)


def needles() -> Gaussians:
    """A ball of thin needles, which the blur of the fit's pixels holds together."""
    generator = torch.Generator().manual_seed(0)
    points = torch.nn.functional.normalize(torch.randn(2500, 3, generator=generator), dim=-1) * 0.5
    ball = Gaussians.from_points(points, 0.5 + points.flip(1) * 0.9, torch.full((2500,), 1.0), opacity=0.8)
    scales = torch.tensor([0.035, 0.004, 0.004]).log().expand(2500, 3)
    return replace(ball, log_scales=scales, quats=torch.randn(2500, 4, generator=generator))


def one(mean: tuple[float, float, float] = (0.0, 0.0, 0.0), scale: float = 0.01) -> Gaussians:
    return Gaussians.from_points(torch.tensor([mean]), torch.tensor([[0.9, 0.2, 0.1]]), torch.tensor([scale]))


def grown(gaussians: Gaussians, cameras: Cameras) -> float:
    """By what the variance of a single Gaussian grows, in pixels^2 of the fit at a depth of 1."""
    thick = thickened_for_viewers(gaussians, cameras, SIZE)
    added = thick.scales.double() ** 2 - gaussians.scales.double() ** 2
    assert torch.allclose(added, added[0, 0], rtol=1e-3)
    return float(added[0, 0] * FOCAL**2)


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(-10 * (a - b).square().mean().log10())


def test_magnified_it_looks_as_it_was_fitted() -> None:
    ball, elsewhere = needles(), ring(1.85, turn=40.0)
    thick = thickened_for_viewers(ball, ring(1.85, 1.85, 1.85, 1.85), SIZE)
    for size in (2 * SIZE, 4 * SIZE):
        camera = elsewhere.resized(size, size)
        fitted = render_scene(ball, camera, fitted_size=SIZE).rgb
        before = psnr(render_scene(ball, camera).rgb, fitted)
        now = psnr(render_scene(thick, camera).rgb, fitted)
        assert now > before + 6, (size, before, now)


def test_at_the_size_of_the_fit_it_stays_as_large() -> None:
    ball, camera = needles(), ring(1.85, turn=40.0).resized(SIZE, SIZE)
    thick = thickened_for_viewers(ball, ring(1.85, 1.85, 1.85, 1.85), SIZE)
    as_opaque = replace(thick, opacity_logits=ball.opacity_logits)
    fitted, now, more = (float(render_scene(g, camera).alpha.sum()) for g in (ball, thick, as_opaque))
    assert more > 1.03 * fitted, "blurred twice"
    assert now == pytest.approx(fitted, rel=0.01), "and lighter"


def test_a_footprint_weighs_what_it_did() -> None:
    cameras = ring(2.0)
    camera, small = cameras.resized(SIZE, SIZE), one(scale=0.004)
    thick = thickened_for_viewers(small, cameras, SIZE)
    before, now = (float(render_scene(g, camera).alpha.sum()) for g in (small, thick))
    assert now == pytest.approx(before, rel=0.03)


def test_the_blur_is_that_of_the_nearest_camera_that_sees_it() -> None:
    assert grown(one(), ring(2.0)) == pytest.approx(4 * EPS2D, rel=1e-3)
    assert grown(one(), ring(2.0, 1.0, 3.0)) == pytest.approx(EPS2D, rel=1e-3)
    aside = one((0.0, 0.9, 0.0))  # in sight from a distance of 3, not from 1
    assert grown(aside, ring(1.0, 3.0)) == pytest.approx(9 * EPS2D, rel=1e-3)
    far_aside = one((0.0, 5.0, 0.0))  # in sight of none
    assert grown(far_aside, ring(1.0, 3.0)) == pytest.approx(EPS2D, rel=1e-3)


def test_the_rest_stays_and_extremes_are_numbers() -> None:
    cameras = ring(2.0, 2.0)
    ball = needles()
    thick = thickened_for_viewers(ball, cameras, SIZE)
    assert torch.equal(thick.means, ball.means) and torch.equal(thick.quats, ball.quats)
    assert torch.equal(thick.sh, ball.sh)
    flat = replace(one(), log_scales=torch.tensor([[-torch.inf, -4.0, -4.0]]))
    assert thickened_for_viewers(flat, cameras, SIZE).log_scales.isfinite().all()
    solid = replace(one(), opacity_logits=torch.tensor([torch.inf]))
    assert 0.5 < float(thickened_for_viewers(solid, cameras, SIZE).opacities) < 1
    behind = replace(one((0.0, 0.0, 5.0)), log_scales=torch.full((1, 3), -torch.inf))
    alone = ring(2.0)
    assert float(alone.project(behind.means)[1]) < 0
    same = thickened_for_viewers(behind, alone, SIZE)
    assert torch.equal(same.log_scales, behind.log_scales)
    torch.testing.assert_close(same.opacity_logits, behind.opacity_logits)

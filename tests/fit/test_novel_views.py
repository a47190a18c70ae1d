from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from agsrec.cameras import Cameras
from agsrec.fit.novel_views import novel_cameras, unphotographed
from agsrec.gaussians import Gaussians

SIZE = 96


def blob(center: tuple[float, float, float] = (0.0, 0.0, 0.0), radius: float = 0.4) -> Gaussians:
    generator = torch.Generator().manual_seed(0)
    points = torch.nn.functional.normalize(torch.randn(3000, 3, generator=generator), dim=-1) * radius
    return Gaussians.from_points(
        points + torch.tensor(center), torch.rand(3000, 3), torch.full((3000,), 0.01)
    )


def seen_from(elevation: float, center: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Cameras:
    azimuth = torch.tensor([0.0, 120.0, 240.0])
    Ks = Cameras.intrinsics(torch.full((3,), 100.0), 64, 64)
    cameras = Cameras.orbit(elevation, azimuth, 1.9, Ks=Ks, width=64, height=64)
    return cameras.transformed(1.0, torch.eye(3), torch.tensor(center))


def draw(gaussians: Gaussians, cameras: Cameras, count: int = 64, seed: int = 0) -> Cameras:
    return novel_cameras(gaussians, cameras, count, SIZE, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("center", [(0.0, 0.0, 0.0), (0.3, -0.2, 0.1), (5.0, 3.0, -4.0)])
def test_object_is_centred_and_fills_the_picture(center: tuple[float, float, float]) -> None:
    novel = draw(blob(center), seen_from(-20.0, center))
    pixels, depths = novel.project(blob(center).means)
    low, high = pixels.amin(1), pixels.amax(1)
    assert float(((low + high) / 2 - SIZE / 2).abs().max()) < 0.03 * SIZE
    extent = (high - low).amax(-1) / SIZE
    assert 0.75 < float(extent.min()) and float(extent.max()) < 0.95
    assert float(depths.min()) > 0.5 and (novel.width, novel.height, len(novel)) == (SIZE, SIZE, 64)


def test_strays_and_faint_ones_do_not_count() -> None:
    g = blob()
    means, logits = g.means.clone(), g.opacity_logits.clone()
    means[:30] *= 2.5
    means[30:600] *= 3
    logits[30:600] = -6
    novel, plain = (
        draw(replace(g, means=means, opacity_logits=logits), seen_from(0.0)),
        draw(g, seen_from(0.0)),
    )
    torch.testing.assert_close(novel.focal_lengths, plain.focal_lengths, rtol=0.05, atol=0)


def test_all_faint_still_gives_cameras() -> None:
    g = blob()
    faint = replace(g, opacity_logits=torch.full_like(g.opacity_logits, -9.0))
    assert torch.isfinite(draw(faint, seen_from(0.0)).Ks).all()


@pytest.mark.parametrize("observed", [-75.0, -20.0, 0.0, 60.0])
def test_elevations_reach_beyond_the_observed_but_no_pole(observed: float) -> None:
    elevation, azimuth, radius = draw(blob(), seen_from(observed), count=500).spherical()
    low, high = max(observed - 60, -80), min(observed + 60, 80)
    assert low - 1 <= float(elevation.min()) < low + 5 and high - 5 < float(elevation.max()) <= high + 1
    assert azimuth.remainder(360).histc(6, 0, 360).min() > 40
    torch.testing.assert_close(radius, torch.full((500,), 1.9), atol=0.01, rtol=0)


def test_equal_seeds_equal_cameras() -> None:
    one, same, other = (draw(blob(), seen_from(0.0), 3, seed) for seed in (4, 4, 5))
    assert torch.equal(one.viewmats, same.viewmats) and torch.equal(one.Ks, same.Ks)
    assert not torch.equal(one.viewmats, other.viewmats)


def test_cameras_carry_no_gradient() -> None:
    g = blob()
    novel = draw(replace(g, means=g.means.requires_grad_()), seen_from(0.0), 2)
    assert not novel.Ks.requires_grad and not novel.viewmats.requires_grad


def test_views_near_a_photo_are_judged_more_seldom() -> None:
    shift = torch.tensor([1.0, 2.0, 3.0])

    def ring(*azimuths: float) -> Cameras:
        Ks = Cameras.intrinsics(torch.full((len(azimuths),), 100.0), 64, 64)
        cameras = Cameras.orbit(0.0, torch.tensor(azimuths), 1.9, Ks=Ks, width=64, height=64)
        return cameras.transformed(1.0, torch.eye(3), shift)

    novel, photos = ring(0.0, 15.0, 100.0, 45.0), ring(0.0, 90.0, 220.0)
    generator, times = torch.Generator().manual_seed(0), torch.zeros(4)
    for _ in range(2000):
        times[unphotographed(novel, photos, shift, 30.0, generator)] += 1
    torch.testing.assert_close(times / 2000, torch.tensor([0.0, 0.25, 1 / 9, 1.0]), atol=0.04, rtol=0)
    assert unphotographed(novel, photos, shift, 0.0, generator) == [0, 1, 2, 3]

"""Gaussians from surface points."""

from __future__ import annotations

import torch

from agsrec.config import Stage
from agsrec.fit import fit
from agsrec.fit.seeds import MIN_SEEDS, gaussians_from_points
from agsrec.point_map import PointMap
from tests.tiny import tiny_config, tiny_scene


def sphere(count: int) -> PointMap:
    generator = torch.Generator().manual_seed(0)
    points = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=-1)
    return PointMap(points, torch.full((count, 3), 0.7), torch.linspace(0.1, 1.0, count))


def test_gaussians_lie_on_sure_points_and_touch() -> None:
    points = sphere(1000)
    made = gaussians_from_points(points, 300, torch.Generator().manual_seed(1))
    assert len(made) == 300
    nearest = torch.cdist(made.means, points.points).min(1)
    assert float(nearest.values.max()) < 1e-3
    assert int(nearest.indices.min()) >= 199, "the least sure fifth is left out"
    # 300 points on a unit sphere are some 0.15 to 0.2 apart.
    assert 0.08 < float(made.scales.median()) < 0.3
    torch.testing.assert_close(made.base_colors, torch.full((300, 3), 0.7))


def test_a_stray_point_does_not_become_huge() -> None:
    points = sphere(500)
    points.points[400] = 40.0
    made = gaussians_from_points(points, 500, torch.Generator().manual_seed(1))
    assert float(made.scales.max()) < 0.6


def test_the_first_round_starts_from_points_and_the_hull_stands_in_for_few() -> None:
    views, cameras = tiny_scene()
    points = PointMap(*(t[:500] for t in sphere(500).__dict__.values() if t is not None))
    still = tiny_config(0)
    seeded = fit(views, cameras, still, points=points).gaussians
    assert float((seeded.means.norm(dim=-1) - 1).abs().max()) < 1e-3
    few = PointMap(
        points.points[: MIN_SEEDS - 1], points.colors[: MIN_SEEDS - 1], points.confidence[: MIN_SEEDS - 1]
    )
    hull = fit(views, cameras, still).gaussians
    torch.testing.assert_close(fit(views, cameras, still, points=few).gaussians.means, hull.means)
    assert still.rounds[0].stages == (Stage(48, 0),)

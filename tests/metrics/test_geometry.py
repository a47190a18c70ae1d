"""Surface distances: shifted grids, partial overlap, invariance and bad input."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from agsrec.errors import SceneError, ShapeError
from agsrec.lie import so3_exp
from agsrec.metrics import geometry
from agsrec.metrics.poses import Similarity


def grid(side: int = 5) -> Tensor:
    """A cubic grid of unit spacing."""
    axis = torch.arange(side, dtype=torch.float64)
    return torch.cartesian_prod(axis, axis, axis)


def radius(points: Tensor) -> float:
    return float((points - points.mean(0)).norm(dim=1).max())


def test_a_shifted_grid() -> None:
    points = grid()
    shift = torch.tensor([0.0, 0.3, 0.0], dtype=torch.float64)
    assert geometry.chamfer_distance(points + shift, points) == pytest.approx(0.3 / radius(points))


def test_equal_sets() -> None:
    assert geometry.surface_accuracy(grid(), grid()) == geometry.SurfaceAccuracy(0.0, 1.0, 1.0, 1.0)


def test_half_of_the_surface_is_missing() -> None:
    points = grid(4)
    result = geometry.surface_accuracy(points[:32], points)
    assert (result.precision, result.recall) == (1.0, 0.5)
    assert result.f1 == pytest.approx(2 / 3)


def test_half_of_the_points_are_stray() -> None:
    points = grid(4)
    result = geometry.surface_accuracy(torch.cat([points, points + 100]), points)
    assert (result.precision, result.recall) == (0.5, 1.0)


def test_the_threshold_is_in_object_radii() -> None:
    points = grid()
    shift = torch.tensor([0.019 * radius(points), 0.0, 0.0], dtype=torch.float64)
    assert geometry.surface_accuracy(points + shift, points).f1 == 1.0
    assert geometry.surface_accuracy(points + shift, points, threshold=0.018).f1 == 0.0


def test_size_and_place_do_not_matter() -> None:
    points = grid()
    noisy = points + 0.1 * torch.randn(points.shape, generator=torch.Generator().manual_seed(0)).double()
    move = Similarity(
        0.01, so3_exp(torch.tensor([0.3, -1.0, 0.2]).double()), torch.tensor([5.0, 0.0, -2.0]).double()
    )
    expected = geometry.chamfer_distance(noisy, points)
    assert geometry.chamfer_distance(move.points(noisy), move.points(points)) == pytest.approx(expected)


def test_named_errors() -> None:
    points = grid()
    with pytest.raises(SceneError, match="no estimated points"):
        geometry.surface_accuracy(points[:0], points)
    with pytest.raises(SceneError, match="true points coincide"):
        geometry.chamfer_distance(points, points[:1])
    with pytest.raises(SceneError, match="not finite"):
        geometry.chamfer_distance(points * float("nan"), points)
    with pytest.raises(ShapeError, match="estimated points must be"):
        geometry.chamfer_distance(points[:, :2], points)

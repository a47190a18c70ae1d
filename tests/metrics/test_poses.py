"""Pose metrics: known angles, gauge invariance, robustness and degenerate inputs."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from agsrec.cameras import Cameras
from agsrec.errors import CameraError, ShapeError
from agsrec.lie import so3_exp
from agsrec.metrics import poses


def ring(count: int = 8, dtype: torch.dtype = torch.float64) -> Cameras:
    """Cameras around the object at alternating elevations."""
    index = torch.arange(count, dtype=dtype)
    Ks = Cameras.intrinsics(torch.full((count,), 300.0, dtype=dtype), 256, 256)
    elevation = -20 + 15 * (index % 3)
    return Cameras.orbit(
        elevation, index * 360 / count, 1.8 + 0.1 * (index % 2), Ks=Ks, width=256, height=256
    )


def random_similarity(seed: int) -> poses.Similarity:
    generator = torch.Generator().manual_seed(seed)
    omega = 2 * torch.randn(3, generator=generator, dtype=torch.float64)
    scale = float(torch.rand(1, generator=generator)) * 4 + 0.1
    return poses.Similarity(scale, so3_exp(omega), torch.randn(3, generator=generator, dtype=torch.float64))


def turned(cameras: Cameras, view: int, degrees: float, axis: tuple[float, float, float]) -> Cameras:
    """One camera turned about the object."""
    omega = torch.tensor(axis, dtype=cameras.viewmats.dtype)
    omega = omega / omega.norm() * math.radians(degrees)
    viewmats = cameras.viewmats.clone()
    viewmats[view, :3, :3] = viewmats[view, :3, :3] @ so3_exp(omega)
    return replace(cameras, viewmats=viewmats)


def assert_same(a: Tensor, b: Tensor, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


@pytest.mark.parametrize("degrees", [0.0, 1e-6, 1e-3, 30.0, 90.0, 179.999, 180 - 1e-6, 180.0])
def test_rotation_angle_is_accurate_at_both_ends(degrees: float) -> None:
    omega = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    angle = poses.rotation_angles(so3_exp(omega / omega.norm() * math.radians(degrees)))
    assert angle.item() == pytest.approx(degrees, abs=1e-11)


def test_pairwise_errors_of_one_turned_view() -> None:
    truth = ring(4)
    errors = poses.pairwise_rotation_errors(turned(truth, 1, 90, (0, 1, 0)), truth)
    # Pairs in the order 01 02 03 12 13 23: those with view 1 are off by the whole turn.
    assert_same(errors, torch.tensor([90.0, 0, 0, 90, 90, 0], dtype=torch.float64))


@pytest.mark.parametrize("seed", range(5))
def test_errors_do_not_depend_on_the_world(seed: int) -> None:
    truth = ring()
    estimated = truth.perturbed(12, torch.Generator().manual_seed(seed))
    moved = random_similarity(seed).cameras(estimated)
    for metric in (poses.pairwise_rotation_errors, poses.rotation_errors_after_alignment):
        assert_same(metric(moved, truth), metric(estimated, truth), 1e-6)
    assert poses.camera_center_accuracy(moved, truth) == poses.camera_center_accuracy(estimated, truth)


@pytest.mark.parametrize("count", [2, 3, 8])
def test_alignment_recovers_a_similarity(count: int) -> None:
    truth, moved = ring(count), random_similarity(count)
    found = poses.align_cameras(moved.inverse().cameras(truth), truth)
    assert found.scale == pytest.approx(moved.scale, rel=1e-9)
    assert_same(found.rotation, moved.rotation)
    assert_same(found.translation, moved.translation)
    points = torch.randn(20, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert_same(found.inverse().points(found.points(points)), points)


def test_alignment_keeps_pixels() -> None:
    truth, moved = ring(5), random_similarity(3)
    points = torch.randn(20, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 0.3
    assert_same(moved.cameras(truth).project(moved.points(points))[0], truth.project(points)[0], 1e-8)


@pytest.mark.parametrize("count", [3, 4, 8])
@pytest.mark.parametrize("degrees", [40.0, 120.0, 180.0])
def test_an_outlier_drags_nobody(count: int, degrees: float) -> None:
    truth, moved = ring(count), random_similarity(7)
    estimated = moved.inverse().cameras(turned(truth, 2, degrees, (0.2, 1, 0.1)))
    errors = poses.rotation_errors_after_alignment(estimated, truth)
    expected = torch.zeros(count, dtype=torch.float64)
    expected[2] = degrees
    assert_same(errors, expected, 1e-5)
    found = poses.align_cameras(estimated, truth)
    assert found.scale == pytest.approx(moved.scale, rel=1e-4)
    assert_same(found.translation, moved.translation, 1e-4)


def test_noise_and_an_outlier() -> None:
    truth = ring(8)
    noisy = truth.perturbed(5, torch.Generator().manual_seed(1))
    errors = poses.rotation_errors_after_alignment(turned(noisy, 6, 150, (1, 0.3, 0)), truth)
    clean = torch.cat([errors[:6], errors[7:]])
    alone = poses.rotation_errors_after_alignment(noisy[[0, 1, 2, 3, 4, 5, 7]], truth[[0, 1, 2, 3, 4, 5, 7]])
    assert_same(clean, alone, 0.3)
    assert errors[6] > 130


def test_noise_is_shared_by_all_views() -> None:
    truth = ring(8)
    errors = poses.rotation_errors_after_alignment(
        truth.perturbed(8, torch.Generator().manual_seed(0)), truth
    )
    assert errors.min() > 0.5
    assert errors.square().mean().sqrt() < 8


def test_two_views_share_the_error() -> None:
    truth = ring(2)
    errors = poses.rotation_errors_after_alignment(turned(truth, 1, 30, (0, 1, 0)), truth)
    assert_same(errors, torch.tensor([15.0, 15.0], dtype=torch.float64))


def test_float32_cameras_are_accurate() -> None:
    truth = ring(6, torch.float32)
    errors = poses.rotation_errors_after_alignment(random_similarity(2).cameras(truth), truth)
    assert errors.max() < 1e-4


def test_summary() -> None:
    summary = poses.summarize_rotations(torch.tensor([1.0, 5.0, 10.0, 20.0, 40.0]))
    assert summary == poses.RotationSummary(10.0, 0.4, 0.6, 0.8)
    assert math.isnan(poses.summarize_rotations(torch.empty(0)).median_deg)


def test_center_accuracy_counts_the_displaced_view() -> None:
    truth = ring(8)
    viewmats = truth.viewmats.clone()
    viewmats[0, :3, 3] += torch.tensor([1.5, 0.0, 0.0], dtype=torch.float64)
    displaced = replace(truth, viewmats=viewmats)
    assert poses.camera_center_accuracy(truth, truth) == 1.0
    assert poses.camera_center_accuracy(displaced, truth, threshold=0.3) == 7 / 8


def test_where_a_cut_out_has_its_principal_point_is_no_error() -> None:
    truth = ring(8)
    Ks = truth.Ks.clone()
    Ks[:, 0, 2] += 60 * torch.tensor([1.0, -1.0], dtype=Ks.dtype).repeat(4)
    truth = replace(truth, Ks=Ks)
    found = truth.centred()
    assert poses.pairwise_rotation_errors(found, truth).max() > 15
    for estimated in (found, truth):
        assert poses.pose_accuracy(estimated, truth).view_errors_deg.max() < 1e-6


@pytest.mark.parametrize("count", [1, 2])
def test_few_cameras(count: int) -> None:
    truth = ring(count)
    accuracy = poses.pose_accuracy(random_similarity(1).cameras(truth), truth)
    assert accuracy.view_errors_deg.max() < 1e-9
    assert math.isnan(accuracy.pairs.median_deg) == (count == 1)


def test_coincident_centers() -> None:
    truth = ring(4)
    viewmats = truth.viewmats.clone()
    viewmats[:, :3, 3] = 0
    collapsed = replace(truth, viewmats=viewmats)
    assert poses.align_cameras(collapsed, truth).scale == 1.0
    assert math.isfinite(poses.camera_center_accuracy(collapsed, truth))
    assert math.isnan(poses.camera_center_accuracy(truth, collapsed))


def test_alignment_never_mirrors() -> None:
    truth = ring(4)
    viewmats = truth.viewmats.clone()
    viewmats[:, :3, 3] *= -1  # centres on the wrong side of the object, rotations right
    found = poses.align_cameras(replace(truth, viewmats=viewmats), truth)
    assert found.scale > 0
    assert_same(torch.linalg.det(found.rotation), torch.tensor(1.0, dtype=torch.float64))


def test_umeyama_of_mirrored_points_is_a_rotation() -> None:
    points = torch.randn(10, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = poses.umeyama(points, points * torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64))
    assert torch.linalg.det(found.rotation).item() == pytest.approx(1)
    assert found.scale > 0


def test_named_errors() -> None:
    truth = ring(3)
    with pytest.raises(ShapeError, match="2 estimated with 3 true"):
        poses.pose_accuracy(truth[[0, 1]], truth)
    viewmats = truth.viewmats.clone()
    viewmats[1, 0, 0] = float("nan")
    with pytest.raises(CameraError, match="estimated camera 1 is not finite"):
        poses.align_cameras(replace(truth, viewmats=viewmats), truth)
    with pytest.raises(ShapeError, match="points must be"):
        poses.umeyama(torch.zeros(0, 3), torch.zeros(0, 3))

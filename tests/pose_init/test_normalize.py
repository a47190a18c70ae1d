"""Estimated cameras in the usual world."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from agsrec.cameras import CAMERA_DISTANCE, Cameras, optical_axis_intersection
from agsrec.errors import CameraError
from agsrec.lie import so3_exp
from agsrec.metrics.poses import pairwise_rotation_errors
from agsrec.pose_init import Alternative, PointMap, PoseEstimate
from agsrec.pose_init.normalize import normalize_estimate, normalize_with_up, with_focals


def ring(azimuths: list[float], elevation: float = -20.0, focal: float = 300.0) -> Cameras:
    azimuth = torch.tensor(azimuths, dtype=torch.float64)
    Ks = Cameras.intrinsics(torch.full((len(azimuths),), focal, dtype=torch.float64), 256, 256)
    return Cameras.orbit(elevation, azimuth, CAMERA_DISTANCE, Ks=Ks, width=256, height=256)


def tumbled(cameras: Cameras) -> Cameras:
    """The cameras in another world: turned, shifted and scaled."""
    turn = so3_exp(torch.tensor([0.9, -0.4, 1.3], dtype=torch.float64))
    return cameras.transformed(0.3, turn, torch.tensor([2.0, -1.0, 5.0], dtype=torch.float64))


def up(cameras: Cameras) -> Tensor:
    """Elevations [V] of the cameras, which say where up is."""
    return cameras.spherical()[0]


@pytest.mark.parametrize("scene", ["jordan", "ring"])
def test_parity(shared_dir: Path, scene: str) -> None:
    data = load_file(shared_dir / "parity" / "sparseags_normalize_up.safetensors")
    focal, center = data[f"in.{scene}.focal_length"][:, 0], data[f"in.{scene}.principal_point"]
    Ks = Cameras.intrinsics(focal, 256, 256, center)
    before = Cameras.from_pytorch3d_params(data[f"in.{scene}.R"], data[f"in.{scene}.T"], Ks, 256, 256)
    expected = Cameras.from_pytorch3d_params(data[f"out.{scene}.R"], data[f"out.{scene}.T"], Ks, 256, 256)
    normal, _ = normalize_with_up(before)
    half_turn = torch.diag(torch.tensor([-1.0, 1.0, -1.0]))
    candidates = [normal, normal.transformed(1.0, half_turn, torch.zeros(3))]
    assert min((c.viewmats - expected.viewmats).abs().max().item() for c in candidates) < 1e-4


@pytest.mark.parametrize("azimuths", [[0, 60, 130, 220], [0, 70], [0, 90, 180], [0, 3, 6], [10, 12]])
def test_the_world_is_found_again(azimuths: list[float]) -> None:
    true = ring(azimuths)
    before = tumbled(true)
    normal, carried = normalize_with_up(before)
    assert pairwise_rotation_errors(normal, true).max() < 1e-4
    torch.testing.assert_close(up(normal), up(true), atol=0.05 if len(azimuths) > 2 else 2.0, rtol=0)
    assert float(normal.centers.norm(dim=-1).mean()) == pytest.approx(CAMERA_DISTANCE)
    assert optical_axis_intersection(normal).norm() < 1e-5
    torch.testing.assert_close(carried.points(before.centers), normal.centers, atol=1e-6, rtol=0)
    torch.testing.assert_close(carried.cameras(before).viewmats, normal.viewmats, atol=1e-6, rtol=0)


def test_two_views_rolled_alike_keep_the_mean_up() -> None:
    rolled = ring([0, 40])
    roll = so3_exp(torch.tensor([0.0, 0.0, 0.1], dtype=torch.float64))
    viewmats = rolled.viewmats.clone()
    viewmats[:, :3] = roll @ viewmats[:, :3]
    normal, _ = normalize_with_up(Cameras(viewmats, rolled.Ks, 256, 256))
    assert (up(normal) + 20).abs().max() < 8


def test_points_and_alternatives_come_along() -> None:
    true = ring([0, 80, 200])
    before = tumbled(true)
    points = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 0.1
    pixels, _ = before.project(points)
    estimate = PoseEstimate(
        before,
        torch.ones(3, dtype=torch.bool),
        torch.ones(3),
        PointMap(points, torch.zeros(5, 3), torch.ones(5)),
        (Alternative(tumbled(ring([0, 10, 90])), 0.5),),
    )
    normal = normalize_estimate(estimate)
    assert normal.points is not None
    again, _ = normal.cameras.project(normal.points.points)
    torch.testing.assert_close(again, pixels, atol=1e-6, rtol=1e-6)
    assert float(normal.alternatives[0].cameras.centers.norm(dim=-1).mean()) == pytest.approx(CAMERA_DISTANCE)


def test_parallel_cameras_are_refused() -> None:
    cameras = ring([0, 0, 0])
    with pytest.raises(CameraError, match="one direction"):
        normalize_with_up(cameras)


def test_parallel_cameras_with_a_centre() -> None:
    """Cameras side by side: the object is where its points are, and up where it is in the pictures."""
    one = ring([0, 0, 0])
    viewmats = one.viewmats.clone()
    viewmats[:, 0, 3] += torch.tensor([-0.3, 0.0, 0.3])
    before = tumbled(replace(one, viewmats=viewmats))
    _, to_tumbled = normalize_with_up(tumbled(ring([0, 80, 200])))
    surface = torch.randn(9, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 0.01
    points = PointMap(to_tumbled.inverse().points(surface), torch.zeros(9, 3), torch.ones(9))
    estimate = PoseEstimate(before, torch.ones(3, dtype=torch.bool), torch.ones(3), points)
    normal = normalize_estimate(estimate)
    assert float(normal.cameras.centers.norm(dim=-1).mean()) == pytest.approx(CAMERA_DISTANCE)
    assert normal.points is not None and float(normal.points.points.median(0).values.norm()) < 0.02
    assert pairwise_rotation_errors(normal.cameras, one).max() < 1e-4
    assert (normal.cameras.rotations[:, 0, 1].abs() < 1e-6).all()  # not rolled
    pixels = [c.project(p.points)[0] for c, p in ((before, points), (normal.cameras, normal.points))]
    torch.testing.assert_close(pixels[1], pixels[0], atol=1e-6, rtol=1e-6)


def test_known_focals_keep_the_size_of_the_object() -> None:
    cameras = ring([0, 90, 200])
    zoomed = with_focals(cameras, [300.0, 450.0, 300.0])
    assert zoomed.focal_lengths.tolist() == [[300.0] * 2, [450.0] * 2, [300.0] * 2]
    size = zoomed.focal_lengths[:, 0] / zoomed.centers.norm(dim=-1)
    assert float(size.max() / size.min()) == pytest.approx(1)
    assert float(zoomed.centers.norm(dim=-1).mean()) == pytest.approx(CAMERA_DISTANCE)
    assert pairwise_rotation_errors(zoomed, cameras).max() < 1e-6
    assert with_focals(cameras, [300.0] * 3) is cameras

"""Coarse scenes tell right guesses from wrong ones, turn views around, and better the poses."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from agsrec.cameras import Cameras
from agsrec.config import Stage
from agsrec.fit.coarse import coarse_schedule
from agsrec.metrics.poses import pairwise_rotation_errors
from agsrec.pose_init import Alternative, PointMap, PoseEstimate, refine
from agsrec.pose_init.refine import refine_estimate
from agsrec.synthetic import make_scene
from agsrec.views import Views


@pytest.fixture(scope="module")
def scene() -> tuple[Views, Cameras]:
    images, cameras, _ = make_scene(5, 6, 48)
    return Views(images, tuple(f"{v:03d}" for v in range(6))), cameras


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fits long enough to choose by, too short to better poses much."""
    monkeypatch.setattr(refine, "_TRIAL", coarse_schedule(Stage(24, 50), warmup=20))
    monkeypatch.setattr(refine, "_FINAL", coarse_schedule(Stage(32, 60), warmup=20))


def rough(cameras: Cameras) -> Cameras:
    return cameras.perturbed(8.0, torch.Generator().manual_seed(1))


def from_behind(cameras: Cameras, view: int) -> Cameras:
    about_up = torch.diag(torch.tensor([-1.0, 1.0, -1.0, 1.0])).to(cameras.viewmats)
    viewmats = cameras.viewmats.clone()
    viewmats[view] = viewmats[view] @ about_up
    return replace(cameras, viewmats=viewmats)


def estimate(cameras: Cameras, *others: Cameras) -> PoseEstimate:
    alternatives = tuple(Alternative(c, -1.0 - k) for k, c in enumerate(others))
    count = len(cameras)
    return PoseEstimate(
        cameras, torch.ones(count, dtype=torch.bool), torch.full((count,), 0.5), alternatives=alternatives
    )


def median(found: PoseEstimate, truth: Cameras) -> float:
    return float(pairwise_rotation_errors(found.cameras, truth).median())


def test_poses_get_better_and_a_view_from_behind_is_turned(scene: tuple[Views, Cameras]) -> None:
    views, truth = scene
    wrong = estimate(from_behind(rough(truth), 2))
    assert median(estimate(rough(truth)), truth) > 8
    found = refine_estimate(views, wrong)
    errors = pairwise_rotation_errors(found.cameras, truth)
    assert float(errors.median()) < 7 and float(errors.max()) < 16
    assert found.alternatives and all(a.score < found.score for a in found.alternatives)
    assert torch.equal(found.placed, wrong.placed) and torch.equal(found.confidence, wrong.confidence)


@pytest.mark.usefixtures("short")
def test_the_guess_that_explains_the_photos_wins(scene: tuple[Views, Cameras]) -> None:
    views, truth = scene
    swapped = rough(truth)[[1, 0, 3, 2, 5, 4]]
    assert median(estimate(swapped), truth) > 60
    assert median(refine_estimate(views, estimate(swapped, rough(truth))), truth) < 20


@pytest.mark.usefixtures("short")
def test_what_the_initialiser_rules_out_is_not_chosen(scene: tuple[Views, Cameras]) -> None:
    views, truth = scene
    wrong = from_behind(rough(truth), 2)

    def certain(cameras: Cameras) -> float:
        return 0.0 if torch.equal(cameras.viewmats, wrong.viewmats) else -100.0

    found = refine_estimate(views, estimate(wrong), certain)
    assert float(pairwise_rotation_errors(found.cameras, truth).max()) > 90


@pytest.mark.usefixtures("short")
def test_equal_seeds_equal_poses(scene: tuple[Views, Cameras]) -> None:
    views, truth = scene
    one, two = (refine_estimate(views[[0, 1, 3]], estimate(rough(truth)[[0, 1, 3]])) for _ in range(2))
    assert torch.equal(one.cameras.viewmats, two.cameras.viewmats) and one.score == two.score


def test_views_without_a_pose_stay_without(scene: tuple[Views, Cameras]) -> None:
    views, truth = scene
    placed = torch.tensor([True, True, False, True, True, True])
    partial = PoseEstimate(rough(truth)[[0, 1, 3, 4, 5]], placed, 0.5 * placed.float())
    found = refine_estimate(views, partial)
    assert torch.equal(found.placed, placed)
    assert median(found, truth[[0, 1, 3, 4, 5]]) < 7


def test_two_views_and_hopeless_poses_are_handed_back(scene: tuple[Views, Cameras]) -> None:
    views, truth = scene
    two = estimate(truth[[0, 1]])
    assert refine_estimate(views[[0, 1]], two) is two
    away = truth.viewmats.clone()
    away[:, 2, 3] *= -1  # the object is behind every camera
    hopeless = estimate(replace(truth, viewmats=away))
    assert refine_estimate(views, hopeless) is hopeless


def test_points_go_with_their_cameras(scene: tuple[Views, Cameras]) -> None:
    _, truth = scene
    generator = torch.Generator().manual_seed(0)
    camera = torch.arange(60) % 6
    points = PointMap(
        0.3 * torch.randn(60, 3, generator=generator).to(truth.viewmats),
        torch.rand(60, 3),
        torch.ones(60),
        camera,
    )
    after = rough(truth)
    moved = points.moved(truth, after)
    before_pixels, before_depth = truth.project(points.points)
    pixels, depth = after.project(moved.points)
    rows = camera, torch.arange(60)
    torch.testing.assert_close(pixels[rows], before_pixels[rows], atol=1e-3, rtol=0)
    torch.testing.assert_close(depth[rows], before_depth[rows])
    assert replace(points, camera=None).moved(truth, after).points is points.points

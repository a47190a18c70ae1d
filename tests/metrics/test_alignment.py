from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache

import pytest
import torch
from scipy.spatial.transform import Rotation

from agsrec.cameras import Cameras
from agsrec.config import PoseConfig
from agsrec.dataset import Scene
from agsrec.fit import FitResult, fit
from agsrec.lie import so3_exp
from agsrec.metrics.alignment import align_scene, scene_starts
from agsrec.metrics.evaluation import novel_quality, rendered_on_white
from agsrec.metrics.poses import Similarity, align_cameras, rotation_angles
from tests.tiny import rough, tiny_config, tiny_scene


@lru_cache(maxsize=2)
def in_the_true_world(fitted: int) -> tuple[Scene, FitResult]:
    """Photos of 128 pixels, and a scene fitted to them at some size with the poses held at the truth."""
    views, cameras = tiny_scene(12, 128, seed=7)
    inputs, tests = list(range(8)), list(range(8, 12))
    scene = Scene("blob", views[inputs], cameras[inputs], cameras[inputs], views[tests], cameras[tests])
    config = tiny_config(80, 160, size=fitted, poses=PoseConfig(optimize=False))
    plan = replace(config.rounds[0], num_points=1500, max_points=2500)
    return scene, fit(scene.views, cameras[inputs], replace(config, rounds=(plan,)))


@lru_cache(maxsize=1)
def true_world() -> FitResult:
    """A scene fitted with the true cameras: it stands where the truth is."""
    views, cameras = tiny_scene()
    return fit(views, cameras, tiny_config(150, poses=PoseConfig(optimize=False)))


def elsewhere(similarity: Similarity) -> tuple[FitResult, Cameras]:
    """The scene, and the true cameras, carried into another world."""
    result = true_world()
    g = result.gaussians
    scalar_last = Rotation.from_quat(g.quats[:, [1, 2, 3, 0]].numpy())
    turned_quats = (Rotation.from_matrix(similarity.rotation.numpy()) * scalar_last).as_quat()
    turned = type(g)(
        similarity.points(g.means),
        torch.from_numpy(turned_quats[:, [3, 0, 1, 2]]).float(),
        g.log_scales + math.log(similarity.scale),
        g.opacity_logits,
        g.sh,
    )
    _, truth = tiny_scene()
    return FitResult(turned, result.cameras, result.fitted_size, [], 0.0), similarity.cameras(truth)


IDENTITY = Similarity(1.0, torch.eye(3).double(), torch.zeros(3).double())
MOVES = [
    IDENTITY,
    Similarity(
        1.7, so3_exp(torch.tensor([0.4, -1.0, 0.3]).double()), torch.tensor([2.0, -1.0, 0.5]).double()
    ),
]


def agreement(similarity: Similarity, result: FitResult) -> float:
    """PSNR of the scene seen through the true cameras, on white."""
    views, truth = tiny_scene()
    seen = rendered_on_white(result.gaussians, similarity.inverse().cameras(truth))
    return float(-10 * (seen - views.composited(torch.ones(3))).square().mean().log10())


@pytest.mark.parametrize("move", MOVES)
def test_known_move_is_undone(move: Similarity) -> None:
    result, cameras = elsewhere(move)
    views, truth = tiny_scene()
    found = align_scene(result.gaussians, align_cameras(cameras, truth), truth, views)
    assert found.scale * move.scale == pytest.approx(1, abs=0.01)
    assert float(rotation_angles(found.rotation @ move.rotation)) < 1
    points = result.gaussians.means
    torch.testing.assert_close(found.points(points), move.inverse().points(points), atol=0.01, rtol=0)


def test_cameras_that_share_an_error_are_seen_through() -> None:
    """All cameras tilted a little: their centres align perfectly, the picture does not."""
    views, truth = tiny_scene()
    result = true_world()
    tilt = torch.eye(4)
    tilt[:3, :3] = so3_exp(torch.tensor([0.03, 0.0, 0.0]))
    tilted = Cameras(tilt @ truth.viewmats, truth.Ks, truth.width, truth.height)
    found = align_scene(result.gaussians, align_cameras(tilted, truth), truth, views)
    assert agreement(found, result) > agreement(IDENTITY, result) - 0.3
    torch.testing.assert_close(
        found.points(result.gaussians.means), result.gaussians.means, atol=0.01, rtol=0
    )


def test_estimates_a_few_degrees_off_are_brought_home() -> None:
    """The scene follows the rough cameras that it was fitted with; the true ones must see it well."""
    views, truth = tiny_scene()
    wrong = fit(views, rough(truth, 4.0), tiny_config(150, poses=PoseConfig(optimize=False)))
    found = align_scene(wrong.gaussians, align_cameras(wrong.cameras, truth), truth, views)
    assert agreement(found, wrong) > agreement(align_cameras(wrong.cameras, truth), wrong) + 0.3


def test_a_wrong_focal_length_does_not_change_the_size_of_the_object() -> None:
    """Cameras that stand 1.6 times as far with lenses as much longer see about the same picture."""
    views, truth = tiny_scene()
    result = true_world()
    viewmats, Ks = truth.viewmats.clone(), truth.Ks.clone()
    viewmats[:, :3, 3] *= 1.6
    Ks[:, :2, :2] *= 1.6
    afar = replace(truth, viewmats=viewmats, Ks=Ks)
    centres, sight = scene_starts(result.gaussians, afar, truth)
    assert centres.scale == pytest.approx(1 / 1.6, abs=0.01) and sight.scale == pytest.approx(1, abs=0.02)
    found = align_scene(result.gaussians, (centres, sight), truth, views)
    assert agreement(found, result) > agreement(IDENTITY, result) - 0.3
    exact = scene_starts(result.gaussians, truth, truth)[1]
    assert exact.scale == pytest.approx(1, abs=1e-3)
    torch.testing.assert_close(exact.translation, torch.zeros(3).double(), atol=1e-3, rtol=0)


def test_gaussians_are_left_alone_and_results_repeat() -> None:
    views, truth = tiny_scene()
    result = true_world()
    before = result.gaussians.means.clone()
    one, two = (align_scene(result.gaussians, IDENTITY, truth, views) for _ in range(2))
    assert torch.equal(result.gaussians.means, before) and not result.gaussians.means.requires_grad
    assert one.scale == two.scale and torch.equal(one.rotation, two.rotation)


@pytest.mark.parametrize(("fitted", "degrees"), [(128, 0.05), (64, 0.1)])
def test_a_scene_in_the_true_world_stays_there(fitted: int, degrees: float) -> None:
    """Also from a start that is off, and where the photos are larger than what was fitted: then the scene
    itself says no better where it stands."""
    scene, result = in_the_true_world(fitted)
    assert scene.truth is not None and result.fitted_size == fitted
    true = novel_quality(result.gaussians, IDENTITY, scene, fitted_size=fitted)
    assert true is not None and true.means()["psnr"] > 20
    shift = torch.tensor([0.004, -0.006, 0.005]).double()
    off = Similarity(1.01, so3_exp(torch.tensor([0.01, -0.006, 0.008]).double()), shift)
    for start in (IDENTITY, off):
        found = align_scene(result.gaussians, start, scene.truth, scene.views, fitted_size=fitted)
        assert found.scale == pytest.approx(1.0, abs=1e-3)
        assert float(rotation_angles(found.rotation)) < degrees
        quality = novel_quality(result.gaussians, found, scene, fitted_size=fitted)
        assert quality is not None
        assert quality.means()["psnr"] == pytest.approx(true.means()["psnr"], abs=0.05)


def test_compared_as_if_fitted_to_small_pictures_it_would_shrink() -> None:
    """What knowing the size of the fit is for: under the blur of large pixels the scene looks too fat."""
    scene, result = in_the_true_world(128)
    assert scene.truth is not None
    found = align_scene(result.gaussians, IDENTITY, scene.truth, scene.views, fitted_size=32)
    assert found.scale < 0.98
